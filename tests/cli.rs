//! The command line: what it explains, what it refuses and how, and `check`.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode};

use crate::support::server::{PROGRAM, component, serve};
use crate::support::wat::{Worker, contract_version, interface, slow, worker};
use crate::support::{Folder, guests, own_address};

/// All flags, with their defaults as `--help` names them.
const FLAGS: &[(&str, &str)] = &[
    ("--module", "built-in"),
    ("--root", "[default: .]"),
    ("--listen", "[default: 127.0.0.1:8080]"),
    ("--mode", "[default: pool]"),
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
    ("--log-format", "[default: text]"),
    ("--log-level", "[default: info]"),
    ("--max-processes", "[default: 4096]"),
    ("--max-children", "[default: 1024]"),
    ("--max-mailbox", "[default: 4096]"),
    ("--max-mailbox-bytes", "[default: 8MiB]"),
    ("--max-message", "[default: 1MiB]"),
    ("--max-names", "[default: 1024]"),
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
        ["serve", "check", "run", "[PATH]"]
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
    // A port that is taken: who tried to bind it would say so.
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
        ("--listen", "--listen nowhere"),
        ("--listen", "--listen 127.0.0.1"),
        ("--listen", "--listen 127.0.0.1:99999"),
        ("--listen", "--listen 65536"),
        ("--listen", "--listen :x"),
        ("--listen", "--listen localhost"),
        ("--listen", "--listen ::1:8080"),
        ("--listen", "--listen 1.2.3:8080"),
        ("--listen", "--listen http://localhost:8080/"),
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
        if !["--listen", "check"].contains(named) && !flags.starts_with("bench") {
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
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address");
    let localhost = format!("localhost:{}", address.port());
    let port = address.port().to_string();
    for listen in [&address.to_string(), &localhost, &port] {
        // The module is not there either, and would be the next to be noticed.
        let (code, output, errors) = run(&["--listen", listen, "--module", "missing.wasm"]);
        assert_eq!((code, output.as_str()), (1, ""), "{listen}: {errors}");
        assert!(errors.contains(&port), "{listen}: {errors}");
        assert!(!errors.contains("missing"), "{listen}: {errors}");
    }
}

#[test]
fn nobody_is_accepted_before_the_module_is_compiled() {
    let module = wat_file(&slow());
    let address = {
        let listener = TcpListener::bind((own_address(), 0)).expect("a free port");
        listener.local_addr().expect("its address")
    };
    let mut child = Command::new(PROGRAM)
        .arg(module.path())
        .args(["--listen", &address.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut errors = BufReader::new(child.stderr.take().expect("standard error is piped"));
    let mut line = String::new();
    errors.read_line(&mut line).expect("a line");
    let refused = TcpStream::connect(address).map_err(|error| error.kind());
    child.kill().and_then(|()| child.wait()).expect("it ends");
    assert!(line.contains("compiling"), "{line}");
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));
}

#[test]
fn words_mean_the_obvious() {
    let folder = Folder::new().file("index.html", "home");
    let root = folder.root().display().to_string();
    let module = guests::path("hello").display().to_string();
    #[rustfmt::skip] // one line per case
    let cases = [
        ("ROOT --listen 0", "module built-in, mode pool, root ROOT"),
        ("serve ROOT --listen 0", "module built-in, root ROOT"),
        ("serve --root ROOT --listen 0", "module built-in, root ROOT"),
        ("MODULE --listen 0", "module MODULE, root ."),
        ("MODULE --root ROOT --listen 0", "module MODULE, root ROOT"),
        ("serve ROOT --module MODULE --listen 0", "module MODULE, root ROOT"),
        ("ROOT --listen :0", "http://127.0.0.1:"),
        ("ROOT --listen localhost:0", "http://127.0.0.1:"),
        ("ROOT --listen 127.0.0.1:0", "http://127.0.0.1:"),
        ("ROOT --listen 0.0.0.0:0", "http://0.0.0.0:"),
        ("ROOT --listen 0 --request-timeout 5 --idle-timeout 5 --grace 1", "module built-in"),
        ("serve MODULE --listen 0 --mode single --memory 33554432", "mode single"),
    ];
    let put = |text: &str| text.replace("ROOT", &root).replace("MODULE", &module);
    for (words, expected) in cases {
        let mut child = Command::new(PROGRAM)
            .args(put(words).split_whitespace())
            .current_dir(folder.outside())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("standard output is piped");
        let read = BufReader::new(output).read_line(&mut line);
        child.kill().and_then(|()| child.wait()).expect("it ends");
        read.expect("a line");
        for part in put(expected).split(", ") {
            assert!(line.contains(part), "{words}: {line}");
        }
    }
}

#[test]
fn a_time_without_a_unit_is_in_seconds() {
    // A year is the most that is taken: what has so many seconds is, and what has one more is not.
    let folder = Folder::new();
    let root = folder.root().display().to_string();
    for (seconds, code) in [("31536000", 1), ("31536001", 2)] {
        let arguments = ["--root", &root, "--module", "missing.wasm", "--listen", "0"];
        let (ended, _, errors) = run(&[&arguments[..], &["--grace", seconds]].concat());
        assert_eq!(ended, code, "{seconds}: {errors}");
    }
}

#[test]
fn a_module_is_a_regular_file() {
    let folder = Folder::new();
    let path = |name: &str| folder.root().join(name);
    rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
    let _socket = UnixListener::bind(path("socket")).expect("a socket");
    let huge = fs::File::create(path("huge")).and_then(|file| file.set_len((1 << 30) + 1));
    huge.expect("a sparse file");
    for (module, named) in [
        (path("fifo"), "this is a FIFO"),
        (path("socket"), "this is a socket"),
        (path("huge"), "1073741825 bytes"),
        (folder.root(), "this is a folder"),
        ("/dev/zero".into(), "this is a device"),
    ] {
        let module = module.display().to_string();
        for command in [
            &["check", &module][..],
            &["run", &module],
            &["serve", "--listen", "0", "--module", &module],
        ] {
            let (code, output, errors) = run(command);
            assert_eq!((code, &*output), (1, ""), "{command:?}: {errors}");
            assert!(errors.contains(named), "{command:?}: {errors}");
        }
    }
}

#[test]
fn what_is_no_wasm_is_called_what_it_is() {
    #[rustfmt::skip] // one line per case
    let cases: &[(&[u8], &str)] = &[
        (b"", "an empty file"),
        (b"\x7fELF\x02\x01\x01\0 and so on", "ELF"),
        (b"\x7fELF\x02\x01\x01\xc8 and so on", ".cwasm"),
        (b"\x1f\x8b\x08\0\0", "gzip"),
        (b"PK\x03\x04\0\0", "ZIP"),
        (b"#!/bin/sh\necho", "a script"),
        (b"\0\x01\x02\x03", "binary data"),
        (b"\xff\xfe\0a", "binary data"),
        (b"import { x } from 'y';", "JavaScript"),
        (b"export default {}", "JavaScript"),
        (b"// a comment\nlet x = 1", "JavaScript"),
        (b"(() => {})()", "JavaScript"),
        (b"import os\n", "Python"),
        (b"def main():\n", "Python"),
        (b"<!doctype html>", "HTML"),
        (b"{\"a\": 1}", "JSON"),
        ("grüezi".as_bytes(), "text of another kind"),
    ];
    for (content, named) in cases {
        let folder = Folder::new().file("module", content);
        let (code, output, errors) = check(&folder.root().join("module"));
        assert_eq!((code, &*output), (1, ""), "{named}: {errors}");
        let said = "this is not WebAssembly: it looks like ";
        assert!(
            errors.contains(said) && errors.contains(named),
            "{named}: {errors}"
        );
    }
}

#[test]
fn a_compiler_s_message_is_short_and_plain() {
    let long = "x".repeat(2 << 20);
    for text in [
        format!("(component {long}"),
        format!("(component ;; \x1b[31m\x07 {long}\n what"),
        "(component (what \x1b[31m\u{202e}))".to_owned(),
        "(component\n (what\n".repeat(10_000),
        "(component (import \"url=<\x1b[31m\u{202e}>\" (func)))".to_owned(),
    ] {
        let (code, output, errors) = check(wat_file(&text).path());
        assert_eq!(code, 1, "{output}{errors}");
        let said = output + &errors;
        assert!(said.len() < 8 << 10, "{} bytes", said.len());
        let plain = |letter: char| letter == '\n' || !(letter.is_control() || letter == '\u{202e}');
        assert!(said.chars().all(plain), "{said:?}");
    }
}

#[test]
fn check_of_a_worker_that_runs() {
    let by_hand = wat_file(&worker(""));
    for module in [guests::path("hello").as_path(), by_hand.path()] {
        let (code, output, errors) = check(module);
        assert_eq!(code, 0, "{output}{errors}");
        for word in ["handle", &interface("http")] {
            assert!(output.contains(word), "{word} in {output}");
        }
    }
    let (_, output, _) = check(by_hand.path());
    for word in [&interface("files"), "wasi:clocks/wall-clock@0.2.0"] {
        assert!(output.contains(word), "{word} in {output}");
    }
}

#[test]
fn check_names_the_import_that_is_missing() {
    let imports = "(import \"acme:billing/ledger@1.0.0\" (instance (export \"charge\" (func))))\n";
    let missing = wat_file(
        &Worker {
            imports,
            ..Worker::default()
        }
        .text(),
    );
    let (code, output, errors) = check(missing.path());
    assert_eq!(code, 1, "{output}{errors}");
    let said = output + &errors;
    assert!(said.contains("acme:billing/ledger@1.0.0"), "{said}");

    let (code, output, errors) = run(&[
        "--module",
        &missing.path().display().to_string(),
        "--listen",
        "127.0.0.1:0",
    ]);
    assert!(code != 0 && output.is_empty(), "{output}");
    assert!(errors.contains("acme:billing/ledger@1.0.0"), "{errors}");
}

#[test]
fn a_module_of_another_contract_is_refused() {
    let version = contract_version();
    for other in ["0.1.0", "0.2.1", "1.0.0"] {
        let text = worker("").replace(&format!("@{version}\""), &format!("@{other}\""));
        let old = wat_file(&text);
        let module = old.path().display().to_string();
        let served = run(&["--module", &module, "--listen", "127.0.0.1:0"]);
        for (code, output, errors) in [check(old.path()), served] {
            assert_ne!(code, 0, "{output}{errors}");
            let said = output + &errors;
            let import = format!("it imports `wasm-pool:worker/files@{other}`");
            let host = format!("this host has {version}");
            for word in [&import, &host, "wasm-pool-guest"] {
                assert!(said.contains(word), "{word} in {said}");
            }
        }
    }
}

#[test]
fn check_names_the_function_that_is_missing() {
    let text = worker("").replace(
        "\"now\" (func (result $datetime))",
        "\"later\" (func (result $datetime))",
    );
    let text = text.replace(
        "(alias export $clock \"now\"",
        "(alias export $clock \"later\"",
    );
    let (code, output, errors) = check(wat_file(&text).path());
    assert_eq!(code, 1, "{output}{errors}");
    assert!((output + &errors).contains("later"));
}

#[test]
fn check_of_what_does_not_handle_requests() {
    for text in [
        "(component)",
        "(component (core module $m (func (export \"handle\"))) (core instance $i (instantiate $m))
           (func (export \"handle\") (canon lift (core func $i \"handle\"))))",
    ] {
        let (code, output, errors) = check(wat_file(text).path());
        assert_eq!(code, 1, "{output}{errors}");
        assert!((output + &errors).contains("handle"), "{text}");
    }
}

#[test]
fn check_of_what_is_no_component() {
    let folder = Folder::new()
        .file("garbage.wasm", b"\x7fELF and so on")
        .file("empty.wasm", "")
        .file("half.wasm", b"\0asm\x0d\0\x01\0\x07")
        .file("core.wasm", b"\0asm\x01\0\0\0")
        .file("core.wat", "(module)")
        .file("broken.wat", "(component (what");
    for name in [
        "garbage.wasm",
        "empty.wasm",
        "half.wasm",
        "core.wasm",
        "core.wat",
        "broken.wat",
        "missing.wasm",
    ] {
        let (code, output, errors) = check(&folder.root().join(name));
        assert_eq!(code, 1, "{name}: {output}{errors}");
        assert!(
            errors.contains(name) || output.contains(name),
            "{name}: {output}{errors}"
        );
        assert!(!errors.contains("panicked"), "{name}: {errors}");
    }
    for name in ["core.wasm", "core.wat"] {
        let (_, output, errors) = check(&folder.root().join(name));
        assert!(
            (output + &errors).contains("component"),
            "{name} is a core module, and says so"
        );
    }
}

#[test]
fn components_as_text() {
    let server = component(
        &worker("(i32.store16 (i32.const 1024) (i32.const 299))"),
        Folder::new(),
        "--workers 1",
    );
    assert_eq!(server.get("/").status, 299);
}

#[test]
fn without_a_module_files_are_served() {
    let server = serve(Folder::new().file("index.html", "home"), "");
    assert_eq!(server.get("/").body, b"home");
    let address = server.address();
    assert!(address.ip().is_loopback());
}

fn check(module: &Path) -> (i32, String, String) {
    run(&["check", module.to_str().expect("a plain path")])
}

/// The exit code, standard output and standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    // In a folder that is empty: nothing is served by mistake.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(PROGRAM)
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A file with this component, as long as the value lives.
fn wat_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new()
        .suffix(".wat")
        .tempfile()
        .expect("a temporary file");
    fs::write(file.path(), text).expect("a component's text");
    file
}
