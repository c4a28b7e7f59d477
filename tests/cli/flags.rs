//! Flags and values: the text of `--help`, the refused values, and their errors.

use std::net::TcpListener;

use super::run;
use crate::support::Folder;

/// All flags, with their defaults from `--help`.
const FLAGS: &[(&str, &str)] = &[
    ("--module", "built-in"),
    ("--root", "[default: .]"),
    ("--listen", "[default: 127.0.0.1:8080]"),
    ("--unix-mode", "[default: 660]"),
    ("--reuse-port", ""),
    ("--tls-cert", ""),
    ("--tls-key", ""),
    ("--tls-client-ca", ""),
    ("--h2c", ""),
    ("--trusted-proxy", ""),
    ("--proxy-protocol", ""),
    ("--user", ""),
    ("--no-confine", ""),
    ("--mode", "[default: pool]"),
    ("--reuse", ""),
    ("--workers", "[default: "),
    ("--max-requests", "[default: "),
    ("--idle-timeout", "[default: 10s]"),
    ("--queue", "[default: "),
    ("--queue-timeout", "[default: 5s]"),
    ("--request-timeout", "[default: 30s]"),
    ("--memory", "[default: 64MiB]"),
    ("--max-body", "[default: 1MiB]"),
    ("--max-response", "[default: 64MiB]"),
    ("--max-open-files", "[default: 64]"),
    ("--max-connections", "[default: "),
    ("--header-timeout", "[default: 10s]"),
    ("--grace", "[default: 10s]"),
    ("--expose-pid", ""),
    ("--steps", ""),
    ("--slow", ""),
    ("--core-dumps", ""),
    ("--core-dumps-max", "[default: 10]"),
    ("--probe", ""),
    ("--log-file", ""),
    ("--log-format", "[default: text]"),
    ("--log-level", "[default: info]"),
    ("--max-processes", "[default: 4096]"),
    ("--max-children", "[default: 1024]"),
    ("--max-mailbox", "[default: 4096]"),
    ("--max-mailbox-bytes", "[default: 8MiB]"),
    ("--max-message", "[default: 1MiB]"),
    ("--max-names", "[default: 1024]"),
    ("--env", ""),
    ("--env-file", ""),
    ("--arg", ""),
    ("--wasi-root", ""),
    ("--config-value", ""),
    ("--allow-outbound", ""),
    ("--cache", "[default: wasm-pool-host in"),
    ("--no-cache", ""),
    ("--watch", ""),
    ("--config", ""),
    ("--admin", ""),
    ("--admin-allow-remote", ""),
    ("--control", "[default: wasm-pool-host/PID.sock in"),
    ("--max-memory-total", "[default: no limit]"),
    ("--nats", ""),
    ("--cluster", "[default: default]"),
    ("--role", "[default: both]"),
    ("--name", "[default: the machine's host name]"),
    ("--nats-creds", ""),
    ("--nats-ca", "[default: those that the system trusts]"),
    ("--lost-after", "[default: 3s]"),
];

#[test]
fn help_explains_every_flag() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let at = |flag: &str| {
        help.find(&format!("      {flag} "))
            .or(help.find(&format!("      {flag}\n")))
            .unwrap_or_else(|| panic!("{flag} in\n{help}"))
    };
    for (flag, default) in FLAGS {
        let after = &help[at(flag) + 8..];
        let end = after.find("\n      --").unwrap_or(after.len());
        let about = words(&after[..end]);
        assert!(
            about.len() > flag.len() + 20,
            "{flag} is explained: {about}"
        );
        assert!(
            about.contains(&words(default)),
            "{flag} has its default: {about}"
        );
    }
    let count = help
        .lines()
        .filter(|line| line.trim_start().starts_with("--"))
        .count();
    assert_eq!(count, FLAGS.len(), "every flag is tested here\n{help}");
    assert!(
        ["serve", "check", "run", "hosts", "push", "[PATH]"]
            .iter()
            .all(|word| help.contains(word)),
        "{help}"
    );
}

#[test]
fn version() {
    let (code, output, _) = run(&["--version"]);
    assert_eq!(
        (code, output.as_str()),
        (
            0,
            concat!("wasm-pool-host ", env!("CARGO_PKG_VERSION"), "\n")
        )
    );
}

#[test]
fn bad_values_are_refused_before_anything_is_bound() {
    // This port is taken: a program that tried to bind it would report that.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = taken.local_addr().expect("its address").to_string();
    #[rustfmt::skip] // one line per case
    let cases: &[(&str, &str)] = &[
        ("--workers", "--workers 0"),
        ("--workers", "--workers 0..0"),
        ("--workers", "--workers 4..2"),
        ("--workers", "--workers=-1"),
        ("--workers", "--workers many"),
        ("--workers", "--workers 1.."),
        ("--workers", "--workers ..4"),
        ("--workers", "--workers 1..2..3"),
        ("--workers", "--workers 99999999999"),
        ("--workers", "--workers 1000000"),
        ("--workers", "--mode single --workers 1"),
        ("--workers", "--mode single --workers 2"),
        ("--workers", "--mode per-request --workers 2..1"),
        ("--max-requests", "--mode per-request --max-requests 5"),
        ("--idle-timeout", "--mode per-request --idle-timeout 5s"),
        ("--idle-timeout", "--mode single --idle-timeout 5s"),
        ("--max-requests", "--max-requests 0"),
        ("--max-requests", "--max-requests x"),
        ("--mode", "--mode fork"),
        ("K is not set here", "--env K"),
        ("no name before the =", "--env =v"),
        ("no-such-file: ", "--env-file no-such-file"),
        ("give a name and a value", "--config-value K"),
        ("no name before the =", "--config-value =v"),
        ("this is a URL", "--allow-outbound http://example.org"),
        ("this is a URL", "--allow-outbound example.org/path"),
        ("a port is from 1 to 65535", "--allow-outbound example.org:0"),
        ("a port is from 1 to 65535", "--allow-outbound example.org:65536"),
        ("give a host", "--allow-outbound *"),
        ("give a host", "--allow-outbound *.*.org"),
        ("give a host", "--allow-outbound a..org"),
        ("give a host", "--allow-outbound [::1"),
        ("--listen", "--listen nowhere"),
        ("--listen", "--listen 127.0.0.1"),
        ("--listen", "--listen 127.0.0.1:99999"),
        ("--listen", "--listen 65536"),
        ("--listen", "--listen :x"),
        ("--listen", "--listen localhost"),
        ("--listen", "--listen ::1:8080"),
        ("--listen", "--listen 1.2.3:8080"),
        ("--listen", "--listen http://localhost:8080/path"),
        ("--idle-timeout", "--idle-timeout 0s"),
        ("--idle-timeout", "--idle-timeout 0"),
        ("--idle-timeout", "--idle-timeout 5x"),
        ("--idle-timeout", "--idle-timeout 99999999999"),
        ("--idle-timeout", "--idle-timeout soon"),
        ("--idle-timeout", "--idle-timeout 1000years"),
        ("--queue", "--queue=-1"),
        ("--queue", "--queue x"),
        ("--queue-timeout", "--queue-timeout 0s"),
        ("--request-timeout", "--request-timeout 0s"),
        ("--request-timeout", "--request-timeout=-5s"),
        ("--header-timeout", "--header-timeout 0s"),
        ("--grace", "--grace never"),
        ("--memory", "--memory 0"),
        ("--memory", "--memory 1"),
        ("--memory", "--memory 8GiB"),
        ("--memory", "--memory lots"),
        ("--max-body", "--max-body x"),
        ("--max-body", "--max-body 100TiB"),
        ("--max-response", "--max-response=-1"),
        ("--max-response", "--max-response 100TiB"),
        ("--max-open-files", "--max-open-files=-1"),
        ("--max-open-files", "--max-open-files 99999999999"),
        ("--max-connections", "--max-connections 0"),
        ("--max-connections", "--max-connections 999999999999"),
        ("--max-connections", "--max-connections 18446744073709551615"),
        ("--log-format", "--log-format xml"),
        ("--log-level", "--log-level loud"),
        ("--max-processes", "--max-processes 0"),
        ("--max-processes", "--max-processes 20001"),
        ("--max-children", "--max-children=-1"),
        ("--max-mailbox", "--max-mailbox 0"),
        ("--max-mailbox-bytes", "--max-mailbox-bytes 100GiB"),
        ("--max-message", "--max-message x"),
        ("--max-names", "--max-names x"),
        ("--nats", "--nats 127.0.0.1"),
        ("--nats", "--nats http://127.0.0.1"),
        ("--nats", "--nats nats://127.0.0.1,nats://"),
        ("a server of NATS has no path", "--nats nats://127.0.0.1/path"),
        ("a port is from 1 to 65535", "--nats nats://127.0.0.1:0"),
        ("a user and a password", "--nats nats://user@127.0.0.1"),
        ("--cluster", "--nats nats://127.0.0.1 --cluster Two"),
        ("--cluster", "--nats nats://127.0.0.1 --cluster a.b"),
        ("--cluster: needs --nats", "--cluster two"),
        ("--role: needs --nats", "--role front"),
        ("--name: this is the name of a host, and needs --nats", "--name one"),
        ("--nats-creds: needs --nats", "--nats-creds user.creds"),
        ("--nats-ca: needs --nats", "--nats-ca ca.pem"),
        ("--lost-after: needs --nats", "--lost-after 1s"),
        ("must be from 500ms to 60s", "--nats nats://127.0.0.1 --lost-after 499ms"),
        ("must be from 500ms to 60s", "--nats nats://127.0.0.1 --lost-after 61s"),
        ("--role", "--nats nats://127.0.0.1 --role leader"),
        ("--module: a front has no module", "--nats nats://127.0.0.1 --role front --module x.wasm"),
        ("--watch: a front has no module", "--nats nats://127.0.0.1 --role front --watch"),
        ("--listen: a worker listens nowhere", "--nats nats://127.0.0.1 --role worker"),
        ("--nats: give the URL", "hosts"),
        ("give a URL", "hosts --nats 127.0.0.1"),
        ("--no-such-flag", "--no-such-flag"),
        ("--root", ". --root ."),
        ("--root", "serve . --root ."),
        ("--module", "/dev/null --module x.wasm"),
        ("no-such-place: no such file or folder", "no-such-place"),
        ("no-such-place: no such file or folder", "serve no-such-place"),
        ("no-such-place: no such file or folder", "bench no-such-place"),
        ("before all flags", "--mode pool check"),
        ("similar subcommand exists: 'check'", "chekc"),
        ("similar subcommand exists: 'check'", "chekc worker.wasm"),
        ("similar subcommand exists: 'serve'", "server --mode pool"),
        ("similar subcommand exists: 'bench'", "bnech"),
        ("check", "check"),
    ];
    for (named, flags) in cases {
        let mut arguments: Vec<&str> = flags.split_whitespace().collect();
        let is_served = !flags.starts_with("bench") && !flags.starts_with("hosts");
        if !["--listen", "check"].contains(named) && is_served {
            arguments.extend(["--listen", &listen]);
        }
        let (code, output, errors) = run(&arguments);
        assert_eq!(code, 2, "{flags}: {errors}");
        assert_eq!(output, "", "{flags}");
        assert!(
            errors.contains(named) || *named == "check",
            "{flags}: {errors}"
        );
        assert!(!errors.contains("in use"), "{flags}: {errors}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let folder = Folder::new()
        .file("garbage", "this is no wasm")
        .file("core.wasm", b"\0asm\x01\0\0\0");
    let path = |name: &str| folder.root().join(name).display().to_string();
    for (flags, named) in [
        (format!("--root {}", path("missing")), "--root"),
        (format!("--root {}", path("garbage")), "--root"),
        (format!("--module {}", path("missing.wasm")), "missing.wasm"),
        (format!("--module {}", path("garbage")), "garbage"),
        (format!("--module {}", path("core.wasm")), "component"),
        (format!("--module {}", folder.root().display()), "module"),
    ] {
        let arguments: Vec<&str> = flags
            .split_whitespace()
            .chain(["--listen", "127.0.0.1:0"])
            .collect();
        let (code, output, errors) = run(&arguments);
        assert!([1, 2].contains(&code), "{flags}: {code} {errors}");
        assert_eq!(output, "", "{flags}");
        assert!(errors.contains(named), "{flags}: {errors}");
        assert!(!errors.contains("panicked"), "{flags}: {errors}");
    }
}

#[test]
fn a_time_without_a_unit_is_in_seconds() {
    // The longest time is a year. A year in seconds is accepted; one second more is refused.
    let folder = Folder::new();
    let root = folder.root().display().to_string();
    for (seconds, code) in [("31536000", 1), ("31536001", 2)] {
        let arguments = ["--root", &root, "--module", "missing.wasm", "--listen", "0"];
        let (ended, _, errors) = run(&[&arguments[..], &["--grace", seconds]].concat());
        assert_eq!(ended, code, "{seconds}: {errors}");
    }
}
