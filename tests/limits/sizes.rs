//! The limits on the sizes of requests and responses, and on the number of connections.

use super::failed;
use crate::support::Folder;
use crate::support::http::request_bytes;
use crate::support::server::{component, guest};
use crate::support::wat::worker;

#[test]
fn head_of_a_request() {
    let server = guest("misbehave", "--workers 1");
    let with = |length: usize| {
        let mut client = server.client();
        // The server may close before it has read everything. Only its answer counts.
        let _ = client.send(&request_bytes(
            "GET",
            "/ok",
            &[("x-long", &"x".repeat(length))],
            b"",
        ));
        client.reply("GET").map(|reply| reply.status)
    };
    assert_eq!(with(1000).expect("a reply"), 200);
    assert_eq!(with(4000).expect("a reply"), 200);
    assert_eq!(with(200_000).expect("a reply"), 431);

    let mut client = server.client();
    let many: Vec<(String, String)> = (0..5000)
        .map(|n| (format!("x-{n}"), "x".to_owned()))
        .collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let _ = client.send(&request_bytes("GET", "/ok", &many, b""));
    assert_eq!(client.reply("GET").expect("a reply").status, 431);

    let mut client = server.client();
    let _ =
        client.send(format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(500_000)).as_bytes());
    assert_eq!(client.reply("GET").expect("a reply").status, 414);
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn a_head_is_as_large_as_it_may_be_however_it_comes() {
    const LIMIT: usize = 64 * 1024;
    let server = guest("misbehave", "--workers 1");
    let padded = |start: &str, end: &str, length: usize| {
        let padding = length - start.len() - end.len();
        [start, &"x".repeat(padding), end].concat()
    };
    let fields = |length| padded("GET /ok HTTP/1.1\r\nhost: x\r\nx: ", "\r\n\r\n", length);
    let line = |length| {
        let head = padded("GET /ok?", " HTTP/1.1\r\n", length + 2);
        head + "host: x\r\n\r\n"
    };
    for (head, status) in [
        (fields(LIMIT), 200),
        (fields(LIMIT + 1), 431),
        (fields(100_000), 431),
        (line(LIMIT - 13), 200),
        (line(LIMIT), 431),
        (line(LIMIT + 1), 414),
        (line(100_000), 414),
    ] {
        for piece in [head.len(), 10_000, 999] {
            let mut client = server.client();
            for bytes in head.as_bytes().chunks(piece) {
                // The server may close before it has read everything.
                let _ = client.send(bytes);
            }
            let reply = client.reply("GET").expect("a reply");
            let length = head.len();
            assert_eq!(
                reply.status, status,
                "{length} in pieces of {piece}: {reply:?}"
            );
        }
    }
}

#[test]
fn body_of_a_request() {
    let server = guest("misbehave", "--workers 1 --max-body 64KiB");
    let exact = vec![b'x'; 64 * 1024];
    let reply = server.request("POST", "/echo", &[], &exact);
    assert_eq!(reply.status, 200);
    assert!(reply.body.ends_with(&exact));

    let reply = server.request("POST", "/echo", &[], &vec![b'x'; 64 * 1024 + 1]);
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("request "), "{reply:?}");
    // Refused because of its length alone, before any of it was sent.
    let reply = server.request("POST", "/echo", &[("content-length", "99999999999")], b"");
    assert_eq!(reply.status, 413);
}

#[test]
fn body_of_a_request_in_chunks() {
    let server = guest("misbehave", "--workers 1 --max-body 64KiB");
    let chunked = |chunks: usize| {
        let mut client = server.client();
        let chunk = format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(chunks);
        let head = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        // The server may close before it has read everything.
        let _ = client.send(format!("{head}{chunk}0\r\n\r\n").as_bytes());
        client.reply("POST").expect("a reply")
    };
    let reply = chunked(64);
    assert_eq!(reply.status, 200);
    assert!(reply.body.ends_with(&vec![b'x'; 64 * 1024]));
    assert_eq!(chunked(65).status, 413);
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn body_of_a_response() {
    let server = guest("misbehave", "--workers 1 --max-response 1MiB");
    assert_eq!(server.get("/big?bytes=1048576").body.len(), 1 << 20);
    failed(&server, &server.get("/big?bytes=1048577"), 502, "response");
    failed(&server, &server.get("/big?bytes=20000000"), 502, "response");
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn head_of_a_response() {
    // This many fields, whose values are all the same 16 KiB.
    let fields = |count: u32| {
        let text = "
        (drop (memory.grow (i32.const 32)))
        (memory.fill (i32.const 196608) (i32.const 120) (i32.const 16384))
        (local.set $at (i32.const 131072))
        (local.set $end (i32.add (local.get $at) (i32.mul (i32.const 16) (i32.const COUNT))))
        (i32.store8 (i32.const 2048) (i32.const 120))
        (loop $next
          (i32.store (local.get $at) (i32.const 2048))
          (i32.store offset=4 (local.get $at) (i32.const 1))
          (i32.store offset=8 (local.get $at) (i32.const 196608))
          (i32.store offset=12 (local.get $at) (i32.const 16384))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
        (i32.store (i32.const 1028) (i32.const 131072))
        (i32.store (i32.const 1032) (i32.const COUNT))";
        worker(&text.replace("COUNT", &count.to_string()))
    };
    let server = component(&fields(15), Folder::new(), "--workers 1");
    assert_eq!(server.get("/").status, 200);
    for count in [16, 256] {
        let server = component(&fields(count), Folder::new(), "--workers 1");
        failed(&server, &server.get("/"), 502, "response");
        assert!(
            server.log_text().contains("its head has more than"),
            "{count}"
        );
    }
}

#[test]
fn connections() {
    let flags = "--workers 1 --max-connections 3 --header-timeout 100s";
    let server = guest("misbehave", flags);
    let mut clients: Vec<_> = (0..3).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/ok").status, 200);
    }
    let mut late = server.client();
    let reply = late.get("/ok");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.field("retry-after").is_some(), "{reply:?}");
    assert!(
        reply.text().ends_with(" once\n"),
        "the text is whole: {reply:?}"
    );
    assert_eq!(late.rest().expect("an end"), b"", "and is all that comes");
    for client in &mut clients {
        assert_eq!(
            client.get("/ok").status,
            200,
            "those who were there before notice nothing"
        );
    }
    drop(clients.pop());
    server.wait_served("/ok");
}
