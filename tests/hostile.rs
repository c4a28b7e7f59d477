//! HTTP as nobody should speak it: the server answers or closes, never hangs, never mixes up two
//! requests, and has time for others.

use crate::support::http::request_bytes;
use crate::support::server::{component, guest, serve};
use crate::support::wat::worker;
use crate::support::{Client, Folder, Server, eventually, pattern};

/// What the server may do with bytes that are no request: close, or answer with one of these and
/// close.
fn is_refused(server: &Server, bytes: &[u8]) {
    let mut client = server.client();
    // It may close before it has read everything.
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
    // A request line and the lines behind it; a status, and what the guest has seen.
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
            assert_eq!(reply.text(), *seen, "{line} {fields:?}");
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
    assert_eq!(reply.text(), "GET /echo\nhost: b\n\n");
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
fn clients_who_say_that_they_have_said_all() {
    let server = serve(Folder::new().file("file", "content"), "--workers 2");
    let slow = guest("misbehave", "--workers 2");
    for _ in 0..100 {
        for (server, target) in [(&server, "/file"), (&slow, "/slow?ms=5")] {
            let mut client = server.client();
            let request = request_bytes("GET", target, &[], b"");
            client
                .send(&request.repeat(2))
                .expect("two requests are sent");
            client.finish_sending().expect("one side is closed");
            for _ in 0..2 {
                assert_eq!(client.reply("GET").expect("a reply").status, 200);
            }
            assert_eq!(
                client.rest().expect("an end"),
                b"",
                "nothing more is waited for"
            );
        }
    }
    // With a body, and with half of one.
    let mut client = slow.client();
    let request = request_bytes("POST", "/echo", &[], b"the body");
    client.send(&request).expect("the request is sent");
    client.finish_sending().expect("one side is closed");
    assert!(
        client
            .reply("POST")
            .expect("a reply")
            .text()
            .ends_with("the body")
    );
    let mut client = slow.client();
    client
        .send(&request[..request.len() - 1])
        .expect("most of it is sent");
    client.finish_sending().expect("one side is closed");
    assert_eq!(client.reply("POST").expect("a reply").status, 400);
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
            // Where a head is ambiguous, a server refuses it, or closes after one answer (RFC 9112,
            // 6.1): what follows may be another client's.
            assert!(
                text.matches("HTTP/1.1 ").count() <= 1,
                "{head:?} with {body:?}: {text}"
            );
        }
    }
    server.wait_served("/ok?last");
    // The log has all that was before this request.
    server.wait_entry("request", |entry| entry["query"] == "last");
    let smuggled = server
        .entries("request")
        .iter()
        .any(|entry| entry["path"] == "/smuggled");
    assert!(!smuggled, "{}", server.log_text());
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    let server = guest("misbehave", "--workers 4");
    let mut client = server.client();
    let mut requests = Vec::new();
    for number in 0..100 {
        requests.extend(request_bytes(
            "POST",
            &format!("/echo?{number}"),
            &[],
            format!("body {number}").as_bytes(),
        ));
    }
    client.send(&requests).expect("all requests are sent");
    for number in 0..100 {
        let reply = client.reply("POST").expect("a reply");
        let text = reply.text();
        assert!(
            text.starts_with(&format!("POST /echo?{number}\n")),
            "{text}"
        );
        assert!(text.ends_with(&format!("\n\nbody {number}")), "{text}");
    }
}

#[test]
fn requests_in_a_row_with_a_crash_among_them() {
    let server = guest("misbehave", "--workers 2");
    let mut client = server.client();
    let targets = ["/ok", "/trap", "/ok", "/big?bytes=70000", "/panic", "/ok"];
    for target in targets {
        client
            .send(&request_bytes("GET", target, &[], b""))
            .expect("the request is sent");
    }
    let statuses: Vec<u16> = targets
        .map(|_| client.reply("GET").expect("a reply").status)
        .to_vec();
    assert_eq!(statuses, [200, 502, 200, 200, 502, 200]);
}

#[test]
fn a_request_in_single_bytes() {
    let server = guest("misbehave", "--workers 1");
    let mut client = server.client();
    for byte in request_bytes("POST", "/echo", &[("x-slow", "yes")], b"in single bytes") {
        client.send(&[byte]).expect("a byte is sent");
    }
    assert!(
        client
            .reply("POST")
            .expect("a reply")
            .text()
            .ends_with("\n\nin single bytes")
    );
}

#[test]
fn old_clients_and_those_that_close() {
    let server = serve(Folder::new().file("file", "content"), "--workers 1");
    for (request, keeps) in [
        ("GET /file HTTP/1.0\r\n\r\n", false),
        ("GET /file HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", true),
        (
            "GET /file HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            false,
        ),
        ("GET /file HTTP/1.1\r\nhost: x\r\n\r\n", true),
        ("GET http://x/file HTTP/1.1\r\nhost: x\r\n\r\n", true),
        ("\r\nGET /file HTTP/1.1\r\nhost: x\r\n\r\n", true),
    ] {
        let mut client = server.client();
        client
            .send(request.as_bytes())
            .expect("the request is sent");
        assert_eq!(
            client.reply("GET").expect("a reply").body,
            b"content",
            "{request:?}"
        );
        if keeps {
            assert_eq!(client.get("/file").status, 200, "{request:?}");
        } else {
            assert_eq!(client.rest().expect("an end"), b"", "{request:?}");
        }
    }
}

#[test]
fn a_client_that_expects_to_be_asked() {
    let server = guest("misbehave", "--workers 1 --max-body 1KiB");
    let mut client = server.client();
    let head =
        "POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    client.send(head.as_bytes()).expect("the head is sent");
    eventually("the server says that it waits", || {
        client.has_news().then_some(())
    });
    client.send(b"body").expect("the body is sent");
    assert_eq!(client.reply("POST").expect("a reply").status, 200);

    let mut client = server.client();
    client
        .send(head.replace("length: 4", "length: 4000").as_bytes())
        .expect("the head is sent");
    assert_eq!(
        client.reply("POST").expect("a reply").status,
        413,
        "before anything of it is sent"
    );
}

#[test]
fn what_a_guest_sees_is_what_was_sent() {
    let server = guest("misbehave", "--workers 1");
    let mut client = server.client();
    client
        .send(b"POST /echo?a=%00&b=/../ HTTP/1.1\r\nHost: x\r\nX-Twice: 1\r\nX-Latin: \xe9\r\nX-Twice: 2\r\nContent-Length: 3\r\n\r\na\0b")
        .expect("the request is sent");
    let reply = client.reply("POST").expect("a reply");
    let expected = b"POST /echo?a=%00&b=/../\nhost: x\nx-twice: 1\nx-latin: \xe9\nx-twice: 2\ncontent-length: 3\n\na\0b";
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<Vec<u8>> = bytes
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        lines.sort();
        lines
    };
    // Fields of different names may come in any order.
    assert_eq!(sorted(&reply.body), sorted(expected), "{}", reply.text());
}

#[test]
fn bodies_of_all_bytes_arrive() {
    let server = guest("misbehave", "--workers 2 --max-body 2MiB");
    let mut client = server.client();
    for size in [1, 1000, 65_535, 65_536, 1 << 20] {
        let body = pattern(size);
        let reply = client.request("PUT", "/echo", &[], &body);
        assert_eq!(reply.status, 200);
        assert!(reply.body.ends_with(&body), "{size} B");
    }
}

#[test]
fn a_thousand_idle_connections() {
    let server = serve(
        Folder::new().file("file", "content"),
        "--workers 2 --max-connections 2000 --header-timeout 600s",
    );
    assert_eq!(server.get("/file").status, 200);
    let before = server.memory("VmRSS");
    let mut idle: Vec<Client> = (0..1000).map(|_| server.client()).collect();
    // Half of them have asked before, half have begun to ask.
    for (number, client) in idle.iter_mut().enumerate() {
        if number % 2 == 0 {
            assert_eq!(client.get("/file").status, 200);
        } else {
            client.send(b"GET /fi").expect("some of a head");
        }
    }
    let mut client = server.client();
    for _ in 0..100 {
        assert_eq!(client.get("/file").body, b"content");
    }
    let grown = server.memory("VmRSS").saturating_sub(before);
    assert!(grown < 64 << 20, "64 KiB for each is enough: {grown} B");
    for (number, client) in idle.iter_mut().enumerate().skip(1).step_by(100) {
        client
            .send(b"le HTTP/1.1\r\nhost: x\r\n\r\n")
            .expect("the rest of a head");
        assert_eq!(
            client.reply("GET").expect("a reply").body,
            b"content",
            "connection {number}"
        );
    }
}

#[test]
fn slow_heads_give_their_connections_back() {
    let server = serve(
        Folder::new().file("file", "content"),
        "--workers 1 --max-connections 20 --header-timeout 1s",
    );
    let slow: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = server.client();
            client
                .send(b"GET /file HTTP/1.1\r\nx-slow: ")
                .expect("some of a head");
            client
        })
        .collect();
    server.wait_served("/file"); // while they are still there
    drop(slow);
}

#[test]
fn clients_that_come_and_go() {
    let server = serve(
        Folder::new().file("file", "content"),
        "--workers 1 --max-connections 100",
    );
    assert_eq!(server.get("/file").status, 200);
    let before = server.descriptors();
    for number in 0..500 {
        let mut client = server.client();
        let bytes = request_bytes("GET", "/file", &[], b"");
        client
            .send(&bytes[..number % (bytes.len() + 1)])
            .expect("some of a request");
    }
    // Until the host has seen that they are gone, they count as connections.
    server.wait_served("/file");
    eventually("their descriptors are closed", || {
        (server.descriptors() <= before + 1).then_some(())
    });
}

#[test]
fn a_head_that_is_mostly_a_name() {
    // 24 MiB of DEL, which a log would have to escape.
    let long_name = "
        (drop (memory.grow (i32.const 400)))
        (memory.fill (i32.const 1048576) (i32.const 0x7f) (i32.const 25165824))
        (i32.store (i32.const 1028) (i32.const 2048))
        (i32.store (i32.const 1032) (i32.const 1))
        (i32.store (i32.const 2048) (i32.const 1048576))
        (i32.store (i32.const 2052) (i32.const 25165824))
        (i32.store (i32.const 2056) (i32.const 1048576))";
    let server = component(&worker(long_name), Folder::new(), "--workers 1");
    let before = server.memory("VmHWM");
    let reply = server.get("/");
    assert_eq!(reply.status, 502, "{reply:?}");
    let grown = server.grown(before);
    assert!(
        grown < 128 << 20,
        "the name, twice, and not more: {grown} B"
    );
    let end = server.wait_entry("process ended", |entry| entry["exit"] == "response");
    let reason = end["reason"].as_str().expect("a reason");
    assert!(reason.len() < 1000, "{} B of reason", reason.len());
}

#[test]
fn an_answer_that_nobody_reads() {
    // Larger than the sockets' buffers, so that the server is stuck with it.
    let server = guest("misbehave", "--workers 1 --memory 128MiB");
    let mut stuck = server.client();
    stuck
        .send(&request_bytes("GET", "/big?bytes=40000000", &[], b""))
        .expect("the request is sent");
    assert_eq!(stuck.head().expect("a head").status, 200);
    assert_eq!(
        server.get("/ok").status,
        200,
        "the process is free while its answer is sent"
    );
}
