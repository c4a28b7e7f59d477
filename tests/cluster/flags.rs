//! Flags that don't fit together, servers that can't be used, and a host that is in no cluster.

use std::collections::BTreeSet;
use std::fs;

use super::Cluster;
use crate::support::nats::Nats;
use crate::support::server::{guest, outcome, try_serve};
use crate::support::steer::{ask, asking};
use crate::support::{Folder, guests, own_address};

/// Why a host with these flags does not start, and its exit code.
fn refused(flags: &str) -> (i32, String) {
    match try_serve(None, &format!("{flags} --log-format text")) {
        Ok(server) => panic!("{flags}: it started: {}", server.start_line),
        Err((status, text)) => {
            assert!(!text.contains("panicked"), "{flags}: {text}");
            (status.code().unwrap_or(-1), text)
        }
    }
}

#[test]
fn flags_that_dont_fit_together() {
    let module = guests::path("misbehave").display().to_string();
    // Nobody listens there: who tried to connect would say that.
    let nats = "--nats nats://127.0.0.1:1";
    let long = "a".repeat(33);
    #[rustfmt::skip] // one line per case
    let cases = [
        ("--module", format!("{nats} --role front --module {module}")),
        ("--listen", format!("{nats} --role worker --listen 127.0.0.1:0")),
        ("--role", format!("{nats} --role boss")),
        ("--cluster", format!("{nats} --cluster Upper")),
        ("--cluster", format!("{nats} --cluster a.b")),
        ("--cluster", format!("{nats} --cluster *")),
        ("--cluster", format!("{nats} --cluster {long}")),
        ("--lost-after", format!("{nats} --lost-after soon")),
        ("--lost-after", format!("{nats} --lost-after 1ms")),
        ("--nats", "--nats http://127.0.0.1".to_owned()),
        ("--nats", "--nats 127.0.0.1:99999".to_owned()),
        ("--watch", format!("{nats} --module cluster --watch")),
        ("--nats", "--module cluster".to_owned()),
        ("--nats", "--cluster other".to_owned()),
        ("--nats", "--role front".to_owned()),
        ("--nats", "--role worker".to_owned()),
        ("--nats", "--name somebody".to_owned()),
        ("--nats", "--lost-after 3s".to_owned()),
        ("--nats", "--nats-creds file".to_owned()),
        ("--nats", "--nats-ca file".to_owned()),
    ];
    for (named, flags) in cases {
        let (code, text) = refused(&flags);
        assert_eq!(code, 2, "{flags}: {text}");
        assert!(text.contains(named), "{flags}: {text}");
        assert!(!text.contains("no NATS server answers"), "{flags}: {text}");
    }
}

#[test]
fn a_server_that_is_not_there() {
    // Nobody else has this address.
    let flags = format!("--nats nats://{}:4222", own_address());
    let (code, text) = refused(&flags);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("no NATS server answers"), "{text}");
    let folder = Folder::new();
    let (code, text) = ask(folder.path(), &format!("hosts {flags}"));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("no NATS server answers"), "{text}");
}

#[test]
fn a_server_without_jetstream() {
    let nats = Nats::plain("");
    let (code, text) = refused(&format!("--nats nats://{}", nats.address()));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("JetStream"), "{text}");
}

#[test]
fn credentials_that_are_wrong() {
    let nats = Nats::with("authorization { user: \"host\", password: \"secret\" }");
    let address = nats.address();
    let folder = Folder::new().file("empty.creds", "");
    let file = folder.root().join("empty.creds").display().to_string();
    for (named, flags) in [
        ("refuses this host", format!("--nats nats://{address}")),
        (
            "refuses this host",
            format!("--nats nats://host:other-secret@{address}"),
        ),
        (
            "empty.creds",
            format!("--nats nats://{address} --nats-creds {file}"),
        ),
        (
            "missing.creds",
            format!("--nats nats://{address} --nats-creds missing.creds"),
        ),
        (
            "missing.pem",
            format!("--nats tls://{address} --nats-ca missing.pem"),
        ),
    ] {
        let (code, text) = refused(&flags);
        assert!([1, 2].contains(&code), "{flags}: {text}");
        assert!(text.contains(named), "{flags}: {text}");
        assert!(!text.contains("secret"), "{flags}: {text}");
    }
    let flags = format!("--workers 1 --nats nats://host:secret@{address}");
    let host = super::Host::joined(guest("misbehave", &flags));
    assert_eq!(host.get("/ok").status, 200);
    assert!(!host.log_text().contains("secret"));
}

/// What a host may not say or hear, it notices at its start.
#[test]
fn rights_that_are_missing() {
    let without = |publish: &str, subscribe: &str| {
        Nats::with(&format!(
            "authorization {{ users: [ {{ user: \"host\", password: \"secret\", permissions: {{
               publish: {{ deny: [{publish}] }}, subscribe: {{ deny: [{subscribe}] }} }} }} ] }}"
        ))
    };
    for (named, publish, subscribe) in [
        ("wph1.default.beat", "\"wph1.default.beat\"", ""),
        ("wph1.default.beat", "", "\"wph1.default.beat\""),
        ("wph1.default.h.", "\"wph1.default.h.>\"", ""),
        ("wph1.default.h.", "", "\"wph1.default.h.>\""),
        ("JetStream", "\"$JS.API.>\"", ""),
    ] {
        let nats = without(publish, subscribe);
        let (code, text) = refused(&format!("--nats nats://host:secret@{}", nats.address()));
        assert_eq!(code, 1, "without {publish}{subscribe}: {text}");
        assert!(text.contains(named), "without {publish}{subscribe}: {text}");
    }
}

/// A host without `--nats` has no connection that it began, and says nothing of clusters.
#[test]
fn a_host_alone_opens_no_connection() {
    let server = guest("misbehave", "--workers 1 --expose-pid");
    let pid = server.get("/ok").pid();
    assert_eq!(pid >> super::SERIAL_BITS, 0, "{pid}");
    assert!(
        !server.start_line.contains("cluster"),
        "{}",
        server.start_line
    );
    assert!(server.entries("joined the cluster").is_empty());
    let folder = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("descriptors");
    let links = folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let inodes: BTreeSet<String> = links
        .filter_map(|link| {
            let name = link.to_str()?.strip_prefix("socket:[")?;
            Some(name.strip_suffix(']')?.to_owned())
        })
        .collect();
    let port = format!(":{:04X}", server.address().port());
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_clients = fields[1].ends_with(&port);
            assert!(is_clients || !inodes.contains(fields[9]), "{table}: {line}");
        }
    }
}

/// A password in a configuration doesn't get into the journal.
#[test]
fn a_password_in_a_configuration_is_not_shown() {
    let folder = Folder::new();
    let config = folder.path().join("host.toml");
    for (url, why) in [
        ("tls://u:secret@bad host", "no spaces"),
        ("tls://u:secret#more@host", "%23"),
        ("tls://u:secret@host/path", "no path"),
    ] {
        fs::write(&config, format!("nats = [{url:?}]\n")).expect("a configuration");
        let (code, text) = refused(&format!("--config {}", config.display()));
        assert_eq!(code, 2, "{url}: {text}");
        assert!(text.contains(why), "{url}: {text}");
        assert!(!text.contains("secret"), "{url}: {text}");
    }
}

/// Commands that ask the cluster find it as hosts do.
#[test]
fn servers_may_stand_in_variables() {
    let cluster = Cluster::new("");
    let host = cluster.both("hello", "--name house");
    let hosts = |url: &str, name: &str| {
        let mut asking = asking(host.folder.path(), "hosts");
        asking.env("WASM_POOL_HOST_NATS", url);
        outcome(asking.env("WASM_POOL_HOST_CLUSTER", name))
    };
    let address = cluster.nats.address();
    let (code, text) = hosts(&format!("nats://{address}"), "default");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("house"), "{text}");
    for (url, name, variable) in [
        ("http://127.0.0.1", "default", "WASM_POOL_HOST_NATS"),
        ("nats://127.0.0.1", "A B", "WASM_POOL_HOST_CLUSTER"),
    ] {
        let (code, text) = hosts(url, name);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(variable), "{text}");
    }
}

/// A user without rights does not take a cluster for an empty one.
#[test]
fn who_may_not_ask_is_told() {
    let nats = Nats::with(
        "authorization { users: [ { user: \"host\", password: \"secret\", permissions: {
           publish: { deny: [\"wph1.default.>\"] } } } ] }",
    );
    let folder = Folder::new();
    let url = format!("nats://host:secret@{}", nats.address());
    let (code, text) = ask(folder.path(), &format!("hosts --nats {url}"));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("wph1.default.who"), "{text}");
}

#[test]
fn nobody_is_listed_where_nobody_is() {
    let cluster = Cluster::new("");
    let folder = Folder::new();
    let (code, text) = ask(folder.path(), &format!("hosts {} --json", cluster.url()));
    assert_eq!((code, text.trim()), (0, "[]"));
    let (code, text) = ask(folder.path(), &format!("hosts {}", cluster.url()));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("no host"), "{text}");
}
