//! Where clients connect, and what is spoken there: TLS, Unix sockets, sockets that were handed
//! over, and a port that a new host takes over.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::door::Address;
use crate::support::server::{command, guest, guest_with_tls, outcome, serve};
use crate::support::steer::{ask, told};
use crate::support::tls::{Authority, KeyPair};
use crate::support::{Client, Folder, Server, eventually, meanwhile, untested};

/// The output of a program, if it is there and succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        untested(&format!("{program} is missing"));
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    Some(text)
}

/// A server with these certificates.
fn with_tls(pairs: &[&KeyPair], flags: &str) -> Server {
    let flags = pairs.iter().fold(flags.to_owned(), |flags, pair| {
        format!(
            "{flags} --tls-cert {} --tls-key {}",
            pair.certificate(),
            pair.key()
        )
    });
    serve(Folder::new().file("file", "content"), &flags)
}

/// What `openssl s_client` sees of the server.
fn seen(server: &Server, authority: &Authority, name: &str) -> Option<String> {
    let address = server.address().to_string();
    let ca = authority.certificate();
    let arguments = [
        "s_client",
        "-connect",
        &address,
        "-servername",
        name,
        "-CAfile",
        &ca,
        "-verify_return_error",
    ];
    output("openssl", &arguments)
}

#[test]
fn curl_speaks_every_protocol() {
    let authority = Authority::new();
    let pair = authority.certify(&["localhost"]);
    let server = with_tls(&[&pair], "");
    let port = server.address().port();
    let url = format!("https://localhost:{port}/file");
    for (flags, version) in [
        (vec!["--http1.1"], "1.1"),
        (vec!["--http2"], "2"),
        (vec!["--http2", "--tlsv1.3"], "2"),
        (vec!["--http2", "--tls-max", "1.2"], "2"),
    ] {
        let ca = authority.certificate();
        let usual = [
            "-sS",
            "--cacert",
            &ca,
            "-w",
            " %{http_version} %{http_code}",
        ];
        let Some(said) = output("curl", &[&usual[..], &flags, &[&url]].concat()) else {
            return;
        };
        assert_eq!(said, format!("content {version} 200"), "{flags:?}");
    }
    let clear = server.get("/file");
    assert_eq!(clear.status, 400, "{}", clear.text());
    assert!(clear.text().contains("https://"), "{}", clear.text());
}

/// The line of a client that was refused for this reason: what it has to do.
fn detail(server: &Server, reason: &str, client: &Client) -> String {
    let entry = server.wait_entry("request refused", |entry| entry["reason"] == reason);
    assert_eq!(entry["client"], client.local_address().to_string());
    entry["detail"].as_str().expect("a text").to_owned()
}

const PROXY_HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n";

#[test]
fn whoever_speaks_what_is_not_spoken_here_learns_the_flag_at_once() {
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let before = |header: &[u8]| [header, request].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x12\x67\0\x50";
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec();
    for (bytes, flags, named) in [
        (preface, "", "--h2c"),
        (before(PROXY_HEADER), "", "--proxy-protocol"),
        (before(header), "", "--proxy-protocol"),
        (
            before(PROXY_HEADER),
            "--proxy-protocol --trusted-proxy 10.0.0.0/8",
            "--trusted-proxy",
        ),
        (hello.clone(), "", "--tls-cert"),
        (hello, "--h2c", "--tls-cert"),
    ] {
        let flags = format!("--workers 1 --header-timeout 100s {flags}");
        let server = guest("hello", &flags);
        let start = Instant::now();
        let mut client = server.client();
        client.send(&bytes).expect("it is sent");
        let reply = client.reply("GET").expect("an answer");
        assert_eq!(reply.status, 400, "{flags} {bytes:?}");
        assert!(reply.text().contains(named), "{flags}: {}", reply.text());
        assert_eq!(client.rest().expect("an end"), b"", "{flags} {bytes:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{flags}");
        let detail = detail(&server, "not HTTP", &client);
        assert!(detail.contains(named), "{flags}: {detail}");
        assert_eq!(server.get("/").status, 200);
    }
}

#[test]
fn a_header_of_a_proxy_where_tls_is_awaited_names_the_flag() {
    let authority = Authority::new();
    let pair = authority.certify(&["localhost"]);
    let server = with_tls(&[&pair], "");
    let mut client = server.client();
    client.send(PROXY_HEADER).expect("it is sent");
    assert_eq!(client.reply("GET").expect("an answer").status, 400);
    let detail = detail(&server, "its TLS handshake failed", &client);
    assert!(detail.contains("--proxy-protocol"), "{detail}");
}

#[test]
fn certificates_are_chosen_by_name() {
    let authority = Authority::new();
    let one = authority.certify(&["one.example"]);
    let others = authority.certify(&["*.two.example", "two.example"]);
    let server = with_tls(&[&one, &others], "");
    for (name, subject) in [
        ("one.example", "one.example"),
        ("two.example", "*.two.example"),
        ("any.two.example", "*.two.example"),
        ("three.example", "one.example"), // the first is for whoever asks for another
    ] {
        let Some(seen) = seen(&server, &authority, name) else {
            return;
        };
        let seen = seen.replace(' ', "");
        assert!(seen.contains(&format!("CN={subject}")), "{name}: {seen}");
    }
    let old = Command::new("openssl")
        .args([
            "s_client",
            "-tls1_1",
            "-connect",
            &server.address().to_string(),
        ])
        .stdin(Stdio::null())
        .output();
    assert!(
        !old.expect("openssl runs").status.success(),
        "TLS 1.1 is over"
    );
}

#[test]
fn clients_must_show_certificates() {
    let (authority, others) = (Authority::new(), Authority::new());
    let pair = authority.certify(&["localhost"]);
    let flags = format!("--tls-client-ca {}", authority.certificate());
    let server = with_tls(&[&pair], &flags);
    let url = format!("https://localhost:{}/file", server.address().port());
    let asked = |client: Option<&KeyPair>| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert", &authority.certificate(), &url]);
        if let Some(client) = client {
            curl.args(["--cert", &client.certificate(), "--key", &client.key()]);
        }
        let Ok(output) = curl.output() else {
            untested("curl is missing");
            return None;
        };
        Some(output.status.success() && output.stdout == b"content")
    };
    let Some(is_served) = asked(Some(&authority.certify(&["client"]))) else {
        return;
    };
    assert!(is_served);
    assert_eq!(asked(Some(&others.certify(&["client"]))), Some(false));
    assert_eq!(asked(None), Some(false));
}

#[test]
fn bad_pairs_are_refused() {
    let authority = Authority::new();
    let (pair, other) = (authority.certify(&["one"]), authority.certify(&["other"]));
    let folder = Folder::new().file("text", "no PEM");
    let text = folder.root().join("text").display().to_string();
    let empty = folder.outside().join("missing").display().to_string();
    let kept = |name: &str, text: &str| {
        let path = folder.outside().join(name);
        fs::write(&path, text).expect("our own");
        path.display().to_string()
    };
    let read = |path: String| fs::read_to_string(path).expect("our own");
    let turned = read(authority.certificate()) + &read(pair.certificate());
    let turned = kept("turned", &turned);
    let label = "ENCRYPTED PRIVATE KEY";
    let text_of = |label: &str, head: &str| {
        format!("-----BEGIN {label}-----\n{head}AAAA\n-----END {label}-----\n")
    };
    let encrypted = kept("encrypted", &text_of(label, ""));
    let head = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n";
    let old_encrypted = kept("old", &text_of("RSA PRIVATE KEY", head));
    for (certificate, key, culprit, why) in [
        (
            pair.certificate(),
            other.key(),
            other.key(),
            "not the one of",
        ),
        (
            pair.certificate(),
            empty.clone(),
            empty.clone(),
            "No such file",
        ),
        (empty.clone(), pair.key(), empty.clone(), "No such file"),
        (
            text.clone(),
            pair.key(),
            text.clone(),
            "no certificate in PEM",
        ),
        (
            pair.certificate(),
            text.clone(),
            text.clone(),
            "no private key in PEM",
        ),
        (
            pair.key(),
            pair.key(),
            format!("--tls-cert: {}", pair.key()),
            "no certificate in PEM",
        ),
        (
            pair.certificate(),
            pair.certificate(),
            format!("--tls-key: {}", pair.certificate()),
            "no private key in PEM",
        ),
        (
            turned,
            pair.key(),
            pair.key(),
            "not the one of the first certificate in",
        ),
        (
            pair.certificate(),
            encrypted,
            "openssl pkey".to_owned(),
            "the key is encrypted",
        ),
        (
            pair.certificate(),
            old_encrypted,
            "openssl pkey".to_owned(),
            "the key is encrypted",
        ),
        (
            pair.certificate(),
            format!("{} --tls-client-ca {}", pair.key(), pair.key()),
            format!("--tls-client-ca: {}", pair.key()),
            "no certificate in PEM",
        ),
    ] {
        let flags = format!("--tls-cert {certificate} --tls-key {key}");
        let (code, said) = outcome(&mut command(None, &folder.root(), &flags));
        assert_eq!(code, 1, "{flags}: {said}");
        assert!(
            said.contains(&culprit) && said.contains(why),
            "{flags}: {said}"
        );
    }
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    for (flags, said) in [
        ("--tls-cert a", "1 certificate and 0 keys don't match"),
        ("--tls-client-ca a", "needs --tls-cert"),
        ("--listen https://127.0.0.1:0", "needs --tls-cert"),
        ("--proxy-protocol", "needs --trusted-proxy"),
        (
            "--trusted-proxy 10.0.0.0/99",
            "give an address or a network",
        ),
        ("--unix-mode 660", "no --listen unix:PATH"),
        ("--listen unix:/tmp/x --unix-mode 999", "as in chmod"),
        ("--listen ftp://x:1", "is not spoken here"),
        ("--listen unix:", "give the path"),
        ("--listen fd:2", "from 3 up"),
        ("--listen fd:3", "no socket was handed over"),
        (
            "--listen 127.0.0.1:9 --listen 127.0.0.1:9",
            "this is given twice",
        ),
        ("--listen localhost:9 --listen 9", "this is given twice"),
        (
            "--listen 9 --admin localhost:9",
            "--admin localhost:9: this is given twice",
        ),
        (
            "--listen unix:/missing/folder/x",
            "unix:/missing/folder/x: can't listen there",
        ),
    ] {
        let (code, text) = outcome(&mut command(None, &folder.root(), flags));
        assert!(code != 0 && text.contains(said), "{flags}: {code} {text}");
    }
}

/// The common name of the certificate that a new client sees, if `openssl` is there.
fn common_name(server: &Server, authority: &Authority) -> Option<String> {
    let seen = seen(server, authority, "any.example")?;
    let seen = seen.replace(' ', "");
    let name = seen.split("CN=").nth(1)?.lines().next()?;
    Some(name.to_owned())
}

#[test]
fn a_key_of_another_certificate_changes_nothing() {
    let authority = Authority::new();
    let (pair, other) = (
        authority.certify(&["before"]),
        authority.certify(&["other"]),
    );
    let server = with_tls(&[&pair], "");
    let before = common_name(&server, &authority);
    fs::copy(other.key(), pair.key()).expect("a copy");
    let (code, said) = ask(server.folder.path(), "reload");
    assert_eq!(code, 1, "{said}");
    let why = format!(
        "{}: the key is not the one of {}",
        pair.key(),
        pair.certificate()
    );
    assert!(said.contains(&why), "{said}");
    assert_eq!(common_name(&server, &authority), before);
    // Both files of the other one are a pair again.
    other.replace(&pair);
    told(&server, "reload");
    let after = common_name(&server, &authority);
    assert!(after.is_none_or(|name| name.starts_with("other")));
}

#[test]
fn a_port_of_the_system_needs_a_right() {
    let unprivileged = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let unprivileged = unprivileged.expect("the kernel knows it");
    let is_everybodys = unprivileged.trim().parse::<u16>().expect("a number") <= 80;
    if rustix::process::geteuid().is_root() || is_everybodys {
        untested("a port below 1024, as anybody here may bind it");
        return;
    }
    let (code, said) = outcome(&mut command(None, Path::new("."), "--listen 127.0.0.2:80"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("a port below 1024 needs root"), "{said}");
}

#[test]
fn certificates_are_read_again() {
    let authority = Authority::new();
    let pair = authority.certify(&["before"]);
    let server = with_tls(&[&pair], "");
    let name = || common_name(&server, &authority);
    let Some(before) = name() else {
        return;
    };
    assert!(before.starts_with("before"), "{before}");
    let url = format!("https://before:{}", server.address().port());
    let resolve = format!("before:{}:127.0.0.1", server.address().port());
    let kept = pair.copy();
    authority.certify(&["after"]).replace(&pair);
    told(&server, "reload");
    let after = name().expect("it is seen");
    assert!(after.starts_with("after"), "{after}");
    // A bad pair changes nothing.
    fs::write(pair.certificate(), "no PEM").expect("it is written");
    let (code, said) = ask(server.folder.path(), "reload");
    assert!(
        code == 1 && said.contains("no certificate in PEM"),
        "{code} {said}"
    );
    assert!(said.contains(&pair.certificate()), "{said}");
    assert_eq!(name(), Some(after));
    kept.replace(&pair);
    told(&server, "reload");
    let reply = output(
        "curl",
        &[
            "-sS",
            "--cacert",
            &authority.certificate(),
            "--resolve",
            &resolve,
            &format!("{url}/file"),
        ],
    );
    assert_eq!(reply.as_deref(), Some("content"));
}

#[test]
fn a_reload_of_certificates_loses_no_connection() {
    let authority = Authority::new();
    let pair = authority.certify(&["localhost"]);
    let server = with_tls(&[&pair], "");
    let started = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_quiet", "-connect"])
        .arg(server.address().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut client) = started else {
        untested("openssl is missing");
        return;
    };
    let mut input = client.stdin.take().expect("it is piped");
    let mut output = BufReader::new(client.stdout.take().expect("it is piped"));
    let mut ask = || {
        let request = b"GET /file HTTP/1.1\r\nhost: localhost\r\n\r\n";
        input.write_all(request).expect("it is sent");
        let (mut answer, end) = (Vec::new(), b"content");
        while !answer.ends_with(end) {
            let count = output.read_until(b't', &mut answer).expect("an answer");
            assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        }
    };
    ask();
    authority.certify(&["another"]).replace(&pair);
    told(&server, "reload");
    ask();
    drop(input);
    let _ended = client.kill().and_then(|()| client.wait());
}

#[test]
fn reloads_lose_no_stream_and_no_handshake() {
    const CLIENTS: usize = 8;
    const RELOADS: usize = 20;
    let server = guest_with_tls("misbehave", "--workers 8");
    let key = server.folder.path().join("key.pem");
    let good = fs::read(&key).expect("its key");
    let address = Address::Http2(server.tls_address());
    let answered = AtomicU64::new(0);
    let client = |goes_on: &dyn Fn() -> bool| {
        let mut kept = Client::connect(address.clone());
        while goes_on() {
            kept.ask("GET", "/slow?ms=20", b"");
            // Another connection, whose handshake meets reloads as the stream does.
            let mut fresh = Client::connect(address.clone());
            assert_eq!(fresh.get("/ok").status, 200);
            let reply = kept.reply("GET").expect("a reply");
            assert_eq!((reply.status, &*reply.text()), (200, "slept 20 ms\n"));
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    meanwhile(CLIENTS, client, || {
        for reload in 0..RELOADS {
            let before = answered.load(Ordering::Relaxed);
            let is_bad = reload % 4 == 3;
            let text: &[u8] = if is_bad { b"no PEM" } else { &good };
            fs::write(&key, text).expect("our own");
            let (code, said) = ask(server.folder.path(), "reload");
            assert_eq!(code, i32::from(is_bad), "{said}");
            eventually("requests are answered meanwhile", || {
                (answered.load(Ordering::Relaxed) > before + CLIENTS as u64).then_some(())
            });
        }
    });
}

#[test]
fn h2load_finds_nothing_wrong() {
    let authority = Authority::new();
    let pair = authority.certify(&["localhost"]);
    let server = with_tls(
        &[&pair],
        "--workers 4 --listen http://127.0.0.1:0 --listen 127.0.0.1:0 --h2c",
    );
    let url = |scheme: &str| {
        let mut urls = server.start_line.split([' ', ',']);
        let found = urls.find(|word| word.starts_with(&format!("{scheme}://")));
        format!("{}/file", found.expect("the start line names it"))
    };
    let (clear, over_tls) = (url("http"), url("https"));
    for (flags, url) in [
        (vec!["-c8", "-m32"], &over_tls),
        (vec!["-c8", "-m32"], &clear),
        (vec!["--h1", "-c8"], &over_tls),
        (vec!["--h1", "-c8"], &clear),
    ] {
        let Some(said) = output("h2load", &[&flags[..], &["-n4000", url]].concat()) else {
            return;
        };
        assert!(
            said.contains("4000 succeeded, 0 failed, 0 errored"),
            "{flags:?} {url}: {said}"
        );
        assert!(said.contains("4000 2xx"), "{flags:?} {url}: {said}");
    }
}

#[test]
fn handshakes_have_a_deadline_and_count() {
    let authority = Authority::new();
    let pair = authority.certify(&["localhost"]);
    let server = with_tls(&[&pair], "--header-timeout 1s --max-connections 2");
    let mut silent = [server.client(), server.client()];
    silent[1].send(&[22, 3, 1]).expect("half a handshake");
    let mut third = server.client();
    assert_eq!(third.rest().expect("it is closed"), b"");
    server.wait_entry("request refused", |entry| {
        entry["reason"] == "too many connections"
    });
    for mut client in silent {
        assert_eq!(client.rest().expect("it is closed"), b"");
    }
    let slow = server.wait_entry("request refused", |entry| {
        entry["reason"] == "its connection was not ready in time"
    });
    assert_eq!(slow["level"], "WARN");
    let mut garbage = server.client();
    garbage.send(&[22; 600]).expect("no handshake");
    garbage.rest().expect("it is closed");
    server.wait_entry("request refused", |entry| {
        entry["reason"] == "its TLS handshake failed"
    });
}

#[test]
fn a_client_of_a_unix_socket() {
    let folder = Folder::new().file("file", "content");
    let path = folder.path().join("server.sock");
    let flags = format!("--listen unix:{} --unix-mode 600 --h2c", path.display());
    let mut server = serve(folder, &format!("{flags} --listen 127.0.0.1:0"));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(get(&path, "/file"), "content");
    let entry = server.wait_entry("request", |entry| entry["client"] == "unix:");
    assert_eq!(entry["status"], 200);
    let url = "http://localhost/file";
    let socket = path.display().to_string();
    let said = output(
        "curl",
        &[
            "-sS",
            "--http2-prior-knowledge",
            "--unix-socket",
            &socket,
            url,
        ],
    );
    assert!(said.is_none_or(|said| said == "content"));
    // A living socket is refused, a stale one replaced.
    let second = Folder::new();
    let (code, said) = outcome(&mut command(None, &second.root(), &flags));
    assert!(
        code == 1 && said.contains("another host listens there"),
        "{code} {said}"
    );
    server.signal(Signal::KILL);
    server.wait_exit();
    assert!(path.exists(), "nobody has removed it");
    let folder = std::mem::replace(&mut server.folder, Folder::new());
    let mut server = serve(folder, &format!("{flags} --listen 127.0.0.1:0"));
    assert_eq!(get(&path, "/file"), "content");
    server.signal(Signal::TERM);
    assert!(server.wait_exit().success());
    assert!(!path.exists(), "it is removed");
    // What is no socket stays.
    fs::write(&path, "a file").expect("it is written");
    let (code, said) = outcome(&mut command(None, &second.root(), &flags));
    assert!(
        code == 1 && said.contains("something else is there"),
        "{code} {said}"
    );
}

fn mode(path: &Path) -> u32 {
    let found = path.metadata().expect("it is there");
    found.permissions().mode() & 0o777
}

/// The body of an answer over a Unix socket.
fn get(path: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("a connection");
    let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let body = answer.split_once("\r\n\r\n").expect("a head").1;
    body.to_owned()
}

#[test]
fn sockets_that_were_handed_over() {
    let folder = Folder::new().file("file", "content");
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("its address");
    drop(free);
    let path = folder.path().join("handed.sock");
    let mut activate = Command::new("systemd-socket-activate");
    activate.args(["-l", &address.to_string(), "-l"]).arg(&path);
    activate.arg(crate::support::server::PROGRAM);
    activate.args([
        "--listen",
        "fd:3",
        "--listen",
        "fd:4",
        "--control",
        "off",
        "--root",
    ]);
    activate
        .arg(folder.root())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(mut running) = activate.spawn() else {
        untested("systemd-socket-activate is missing: the package systemd has it");
        return;
    };
    // The program starts with the first connection, which waits for it.
    let mut client = eventually("the port is open", || Client::try_connect(address).ok());
    assert_eq!(client.get("/file").text(), "content");
    assert_eq!(get(&path, "/file"), "content");
    let _ended = running.kill();
    let _ended = running.wait();
}

#[test]
fn fifty_hosts_take_over_from_each_other() {
    const HAND_OVERS: usize = 50;
    let mut current = guest("hello", "--workers 2 --reuse-port --listen 127.0.0.1:0");
    let address = current.address();
    let flags = format!("--workers 2 --reuse-port --listen {address}");
    let answered = AtomicU64::new(0);
    let client = |goes_on: &dyn Fn() -> bool| {
        while goes_on() {
            let mut client = Client::connect(address);
            let reply = client.try_request("GET", "/", &[("connection", "close")], b"");
            assert_eq!(reply.expect("an answer").status, 200);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    let hand_over = || {
        for _ in 0..HAND_OVERS {
            let next = guest("hello", &flags);
            let mut last = std::mem::replace(&mut current, next);
            last.signal(Signal::TERM);
            assert!(last.wait_exit().success());
        }
    };
    meanwhile(8, client, hand_over);
    assert!(answered.load(Ordering::Relaxed) > 100 * HAND_OVERS as u64 / 10);
    // Who does not share it is refused.
    let (code, said) = outcome(&mut command(
        None,
        Path::new("."),
        &format!("--listen {address}"),
    ));
    assert!(code == 1 && said.contains("--reuse-port"), "{code} {said}");
}

#[test]
fn several_places_at_once() {
    let authority = Authority::new();
    let pair = authority.certify(&["localhost"]);
    let folder = Folder::new().file("file", "content");
    let path = folder.path().join("server.sock");
    let flags = format!(
        "--listen http://127.0.0.1:0 --listen 127.0.0.1:0 --listen unix:{} --tls-cert {} --tls-key {}",
        path.display(),
        pair.certificate(),
        pair.key()
    );
    let server = serve(folder, &flags);
    let line = &server.start_line;
    assert_eq!(line.matches("http://").count(), 1, "{line}");
    assert_eq!(line.matches("https://").count(), 1, "{line}");
    assert!(line.contains(&format!("unix:{}", path.display())), "{line}");
    assert_eq!(server.get("/file").text(), "content");
    assert_eq!(get(&path, "/file"), "content");
    let taken = UnixListener::bind(&path);
    assert!(taken.is_err(), "the place is taken");
}
