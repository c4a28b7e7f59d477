//! Bytes that are not HTTP, or that are ambiguous: the server refuses them and closes.

use crate::support::http::request_bytes;
use crate::support::server::guest;
use crate::support::{Reply, Server};

/// Checks the server's answer to bytes that are not a request: it closes, or answers with an error
/// and closes.
fn is_refused(server: &Server, bytes: &[u8]) {
    let mut client = server.client();
    // The server may close before it has read everything.
    let _ = client.send(bytes);
    let _ = client.finish_sending();
    let answer = client.rest().expect("an end");
    let text = String::from_utf8_lossy(&answer);
    let sent = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    assert!(
        answer.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5"),
        "{sent:?}: {text}"
    );
    assert_eq!(
        text.matches("HTTP/1.1 ").count(),
        usize::from(!answer.is_empty()),
        "{sent:?}: {text}"
    );
}

#[test]
fn bytes_that_are_no_request() {
    let server = guest("misbehave", "--workers 1");
    #[rustfmt::skip] // one line per case
    let cases: &[&[u8]] = &[
        b"",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /ok\r\n\r\n",
        b"GET /ok HTTP/9.9\r\nhost: x\r\n\r\n",
        b"GET /ok FTP/1.1\r\nhost: x\r\n\r\n",
        b"GET  /ok HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /o k HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /ok\tHTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\x1b[31m HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"G\x00T /ok HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nhost x\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET /ok HTTP/1.1\r\n host: x\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nhost: x\r\nx-\x00: y\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nhost: x\r\nx: \x00\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nhost: x\r\nx: y\r\n folded\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n",
        b"POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: +4\r\n\r\nbody",
        b"POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: 0x4\r\n\r\nbody",
        b"POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: 4, 5\r\n\r\nbody",
        b"POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nbody!",
        b"POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999999\r\n\r\n",
        b"POST /ok HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\nbody",
        b"POST /ok HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        b"POST /ok HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    ];
    for case in cases {
        is_refused(&server, case);
    }
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn targets_and_hosts() {
    let server = guest("misbehave", "--workers 1");
    // A request line and the lines behind it; the status, and the request that the guest has
    // received.
    #[rustfmt::skip] // one line per case
    let cases: &[(&str, &str, u16, &str)] = &[
        ("GET /echo", "host: a:1", 200, "GET /echo\nhost: a:1\n\n"),
        ("GET /echo?a?b", "host: [::1]:80", 200, "GET /echo?a?b\nhost: [::1]:80\n\n"),
        ("GET /echo", "host:", 200, "GET /echo\nhost: \n\n"),
        ("GET http://b/echo?q", "host: a", 200, "GET /echo?q\nhost: b\n\n"),
        ("GET HTTPS://b:2/echo", "host: a", 200, "GET /echo\nhost: b:2\n\n"),
        ("GET http://b?q", "host: a", 404, ""),
        ("OPTIONS *", "host: a", 404, ""),
        ("GET *", "host: a", 400, ""),
        ("GET index.html", "host: a", 400, ""),
        ("GET .", "host: a", 400, ""),
        ("GET x", "host: a", 400, ""),
        ("GET x:80", "host: a", 400, ""),
        ("GET ?q", "host: a", 400, ""),
        ("GET /echo#b", "host: a", 400, ""),
        ("GET /echo?q#", "host: a", 400, ""),
        ("GET #", "host: a", 400, ""),
        ("GET http://b/echo#c", "host: a", 400, ""),
        ("GET http://b#c", "host: a", 400, ""),
        ("GET ftp://b/echo", "host: a", 400, ""),
        ("GET http:///echo", "host: a", 400, ""),
        ("GET http://:80/echo", "host: a", 400, ""),
        ("GET http://u@b/echo", "host: a", 400, ""),
        ("GET http://b/echo", "", 400, ""),
        ("GET http://b/echo", "host: a b", 400, ""),
        ("GET /echo", "", 400, ""),
        ("GET /echo", "host: a b", 400, ""),
        ("GET /echo", "host: a/b", 400, ""),
        ("GET /echo", "host: u@a", 400, ""),
        ("GET /echo", "host: a:b", 400, ""),
        ("GET /echo", "host: :80", 400, ""),
        ("GET /echo", "host: ::1", 400, ""),
        ("GET /echo", "host: [::1", 400, ""),
        ("GET /echo", "host: a\r\nhost: a", 400, ""),
        ("CONNECT a:80", "host: a:80", 501, ""),
    ];
    for (line, fields, status, seen) in cases {
        let fields = if fields.is_empty() {
            String::new()
        } else {
            format!("{fields}\r\n")
        };
        let mut client = server.client();
        client
            .send(format!("{line} HTTP/1.1\r\n{fields}\r\n").as_bytes())
            .expect("the request is sent");
        let reply = client.reply("GET").expect("a reply");
        assert_eq!(reply.status, *status, "{line} {fields:?}: {reply:?}");
        if !seen.is_empty() {
            assert_eq!(without_trace(&reply), *seen, "{line} {fields:?}");
        }
        if *status == 400 {
            assert_eq!(client.rest().expect("an end"), b"", "{line} {fields:?}");
        }
    }
    let mut client = server.client();
    client
        .send(b"GET http://b/echo HTTP/1.0\r\n\r\n")
        .expect("the request is sent");
    let reply = client.reply("GET").expect("a reply");
    assert_eq!(without_trace(&reply), "GET /echo\nhost: b\n\n");
}

/// What a guest has seen, without the trace context that the host adds.
fn without_trace(reply: &Reply) -> String {
    let text = reply.text();
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| !line.starts_with("traceparent: "))
        .collect()
}

#[test]
fn fragments_are_found_wherever_a_request_begins() {
    let server = guest("misbehave", "--workers 1");
    let fine = request_bytes("GET", "/ok", &[("x-color", "#fff")], b"");
    let with_body = request_bytes("POST", "/echo", &[], b"GET /a#b HTTP/1.1\r\n\r\n");
    let chunked = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
        9;#\r\nGET /a#b \r\n9\r\nHTTP/1.1\n\r\n0\r\nx: #\r\n\r\n";
    let flawed = b"GET /ok#b HTTP/1.1\r\nhost: x\r\n\r\n";
    let all = [
        &fine[..],
        &with_body,
        chunked,
        &fine,
        chunked,
        flawed,
        &fine,
    ]
    .concat();
    for piece in [all.len(), 7, 1] {
        let mut client = server.client();
        for bytes in all.chunks(piece) {
            // The server may close before it has read everything behind the flaw.
            let _ = client.send(bytes);
        }
        let statuses = [(); 6].map(|()| client.reply("GET").expect("a reply").status);
        assert_eq!(
            statuses,
            [200, 200, 200, 200, 200, 400],
            "in pieces of {piece}"
        );
        assert_eq!(client.rest().expect("an end"), b"", "in pieces of {piece}");
    }
}

#[test]
fn lengths_that_no_body_has() {
    let server = guest("misbehave", "--workers 1");
    for (length, status) in [
        ("9223372036854775807", 413),
        ("9223372036854775808", 400),
        ("18446744073709551613", 400),
        ("18446744073709551614", 400),
        ("18446744073709551615", 400),
        ("18446744073709551616", 400),
        ("99999999999999999999999999", 400),
        ("", 400),
        ("x", 400),
    ] {
        let mut client = server.client();
        client
            .send(&request_bytes(
                "GET",
                "/ok",
                &[("Content-Length", length)],
                b"",
            ))
            .expect("the request is sent");
        assert_eq!(
            client.reply("GET").expect("a reply").status,
            status,
            "{length}"
        );
    }
}

#[test]
fn bodies_that_are_broken() {
    let server = guest("misbehave", "--workers 1");
    let head = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    #[rustfmt::skip] // one line per case
    let cases: &[&[u8]] = &[
        b"",
        b"x\r\n",
        b"-1\r\n\r\n",
        b"4\r\nbod",
        b"4\r\nbody5\r\n",
        b"4\r\nbody\r\n",
        b"ffffffffffffffff\r\nbody",
        b"10000000000000000\r\nbody",
        b"4 4\r\nbody\r\n0\r\n\r\n",
        b"0\r\nx: \x00\r\n\r\n",
        b"4\r\nbodyGET /ok HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    for case in cases {
        is_refused(&server, &[head.as_slice(), case].concat());
    }
    is_refused(
        &server,
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf",
    );
    let extensions = [b"1;".as_slice(), &[b'x'; 200_000], b"\r\nx\r\n0\r\n\r\n"].concat();
    is_refused(&server, &[head.as_slice(), &extensions].concat());
    let trailers = [
        b"1\r\nx\r\n0\r\n".as_slice(),
        &b"x: y\r\n".repeat(100_000),
        b"\r\n",
    ]
    .concat();
    is_refused(&server, &[head.as_slice(), &trailers].concat());
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn no_second_request_is_smuggled_in() {
    let server = guest("misbehave", "--workers 1 --header-timeout 1s");
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = smuggled.len();
    for head in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
        "content-length: 0\r\ntransfer-encoding: chunked".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity".to_owned(),
        "transfer-encoding: identity\r\ntransfer-encoding: chunked".to_owned(),
        "transfer-encoding: chunked, chunked".to_owned(),
        "transfer-encoding:\x0bchunked".to_owned(),
        "transfer-encoding : chunked".to_owned(),
        "content-length: 0\r\ncontent-length: 5".to_owned(),
        format!("content-length: 0, {length}"),
    ] {
        for body in [smuggled.to_owned(), format!("0\r\n\r\n{smuggled}")] {
            let mut client = server.client();
            let _ = client
                .send(format!("POST /ok HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{body}").as_bytes());
            let answer = client
                .rest()
                .unwrap_or_else(|error| panic!("{head:?} with {body:?}: {error}"));
            let text = String::from_utf8_lossy(&answer);
            // If a head is ambiguous, a server refuses it, or closes after one answer (RFC 9112,
            // 6.1): the bytes behind it may be another client's.
            assert!(
                text.matches("HTTP/1.1 ").count() <= 1,
                "{head:?} with {body:?}: {text}"
            );
        }
    }
    server.wait_served("/ok?last");
    // After this request's line, the log has the lines of all earlier requests.
    server.wait_entry("request", |entry| entry["query"] == "last");
    let smuggled = server
        .entries("request")
        .iter()
        .any(|entry| entry["path"] == "/smuggled");
    assert!(!smuggled, "{}", server.log_text());
}
