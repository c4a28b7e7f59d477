//! Requests that guests send to other servers. The other server is one of ours, on this machine.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::Folder;
use crate::support::server::{Server, guest, serve};

/// A server with a page.
fn other() -> Server {
    serve(Folder::new().file("page", "a page"), "--workers 4")
}

/// What the guest gets from this server and path.
fn fetched(server: &Server, authority: &str, path: &str) -> String {
    let reply = server.get(&format!("/fetch?server={authority}&path={path}"));
    assert_eq!(reply.status, 200, "{authority}");
    reply.text()
}

#[test]
fn only_servers_that_are_named_are_asked() {
    let other = other();
    let port = other.address().port();
    let (page, denied) = ("200 a page", "ErrorCode::HttpRequestDenied");
    let prohibited = "ErrorCode::DestinationIpProhibited";
    let next = port.checked_add(1).unwrap_or(1);
    #[rustfmt::skip] // one line per case
    let cases: &[(String, String, &str)] = &[
        (String::new(), format!("127.0.0.1:{port}"), denied),
        (format!("--allow-outbound 127.0.0.1:{port}"), format!("127.0.0.1:{port}"), page),
        (format!("--allow-outbound 127.0.0.1:{port}"), format!("localhost:{port}"), denied),
        (format!("--allow-outbound 127.0.0.1:{next}"), format!("127.0.0.1:{port}"), denied),
        ("--allow-outbound 127.0.0.1".into(), format!("127.0.0.1:{port}"), denied),
        (format!("--allow-outbound localhost:{port}"), format!("localhost:{port}"), page),
        (format!("--allow-outbound LOCALHOST:{port}"), format!("LocalHost:{port}"), page),
        // To the resolver this name is 127.0.0.1, and it is not how that was named.
        (format!("--allow-outbound 0x7f.1:{port}"), format!("0x7f.1:{port}"), prohibited),
        (format!("--allow-outbound *.1:{port}"), format!("127.1:{port}"), prohibited),
        (format!("--allow-outbound *.1:{port} --allow-outbound 127.0.0.1:{port}"), format!("127.1:{port}"), page),
        (format!("--allow-outbound *.0.0.1:{port}"), format!("127.0.0.1:{port}"), denied),
    ];
    for (flags, authority, answer) in cases {
        let server = guest("surroundings", &format!("--workers 1 {flags}"));
        assert_eq!(
            fetched(&server, authority, "/page"),
            *answer,
            "{flags} {authority}"
        );
        if !answer.starts_with("200") {
            server.wait_text("a guest may not ask this server");
        }
    }
}

#[test]
fn a_redirect_is_an_answer() {
    let other = serve(
        Folder::new().file("folder/index.html", "its page"),
        "--workers 1",
    );
    let authority = other.address().to_string();
    let flags = format!("--workers 1 --allow-outbound {authority}");
    let server = guest("surroundings", &flags);
    let answer = fetched(&server, &authority, "/folder");
    assert!(answer.starts_with("30"), "{answer}");
}

#[test]
fn the_requests_own_deadline_bounds_what_it_asks() {
    // It accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let authority = silent.local_addr().expect("its address").to_string();
    let flags = format!("--workers 1 --request-timeout 2s --allow-outbound {authority}");
    let server = guest("surroundings", &flags);
    let started = Instant::now();
    let mut client = server.send(&format!("/fetch?server={authority}&path=/"));
    let (mut connection, _) = silent.accept().expect("the guest's connection");
    assert_eq!(client.reply("GET").expect("a reply").status, 504);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    // The process has ended, and so has its connection.
    let mut sent = Vec::new();
    let _reset = connection.read_to_end(&mut sent);
    assert!(
        sent.starts_with(b"GET / HTTP/1.1\r\n"),
        "{:?}",
        String::from_utf8_lossy(&sent)
    );
}

#[test]
fn what_a_client_has_asked_for_ends_with_it() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let authority = silent.local_addr().expect("its address").to_string();
    let flags = format!("--workers 1 --request-timeout 100s --allow-outbound {authority}");
    let server = guest("surroundings", &flags);
    let client = server.send(&format!("/fetch?server={authority}&path=/"));
    let (mut connection, _) = silent.accept().expect("the guest's connection");
    client.reset();
    // Reads until the connection has ended, which is long before the request's deadline.
    let patience = Some(Duration::from_secs(50));
    connection.set_read_timeout(patience).expect("a timeout");
    let end = connection.read_to_end(&mut Vec::new());
    let is_ended = !matches!(&end, Err(error) if error.kind() == ErrorKind::WouldBlock);
    assert!(is_ended, "{end:?}");
}

/// The server has no certificate: it sees the beginning of a handshake, and nothing of the request.
#[test]
fn https_is_spoken_with_tls_only() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let authority = listener.local_addr().expect("its address").to_string();
    let answering = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut begun = [0; 6];
        connection.read_exact(&mut begun).expect("a handshake");
        connection
            .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
            .expect("an answer");
        begun
    });
    let server = guest(
        "surroundings",
        &format!("--workers 1 --allow-outbound {authority}"),
    );
    let target = format!("/fetch?scheme=https&server={authority}&path=/");
    assert_eq!(server.get(&target).text(), "ErrorCode::TlsProtocolError");
    // A record with a handshake, in it a ClientHello (RFC 8446, sections 4 and 5.1).
    let begun = answering.join().expect("it answered");
    assert_eq!((begun[0], begun[5]), (22, 1));
}

#[test]
fn a_server_that_breaks_off_or_speaks_no_http_is_an_error() {
    for (answer, code) in [
        (&b""[..], "ErrorCode::HttpProtocolError"),
        (b"SSH-2.0\r\n\r\n", "ErrorCode::HttpProtocolError"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let authority = listener.local_addr().expect("its address").to_string();
        let answering = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("a connection");
            let _read = connection.read(&mut [0; 1024]).expect("a request");
            connection.write_all(answer).expect("an answer");
        });
        let flags = format!("--workers 1 --allow-outbound {authority}");
        let server = guest("surroundings", &flags);
        assert_eq!(fetched(&server, &authority, "/"), code);
        answering.join().expect("it answered");
    }
}

#[test]
fn many_at_once_take_turns() {
    let other = other();
    let authority = other.address().to_string();
    let flags = format!("--workers 1 --allow-outbound {authority}");
    let server = guest("surroundings", &flags);
    let answers = |count: usize| {
        let reply = server.get(&format!(
            "/fetch?server={authority}&path=/page&count={count}"
        ));
        assert_eq!(reply.status, 200);
        reply.text()
    };
    assert_eq!(answers(64), ["200 a page"; 64].join("\n"));
    let all = answers(400);
    assert!(all.contains("ErrorCode::ConnectionLimitReached"), "{all}");
    assert_eq!(answers(64), ["200 a page"; 64].join("\n"), "afterwards");
}
