//! Bodies of responses: their lengths, their trailers, and what they cost the host.

use std::time::{Duration, Instant};

use super::{MIB, MUCH, both, script};
use crate::support::http::request_bytes;
use crate::support::pattern;
use crate::support::server::guest;
use crate::support::table::upload;

/// The status and the `content-length` of a response that has no body, whatever the guest wrote.
#[test]
fn responses_without_a_body() {
    let much = format!("write={}", 10 * MIB);
    #[rustfmt::skip] // one line per case
    let cases = [
        ("GET", "head", 200, Some("0")),
        ("GET", "bare", 200, Some("0")),
        ("GET", "head&write=0&say=&write=0", 200, Some("0")),
        ("HEAD", "head", 200, Some("0")),
        ("HEAD", "head&say=abc", 200, Some("3")),
        ("HEAD", "field=content-length:10&head", 200, Some("10")),
        ("HEAD", "field=content-length:10&head&sleep=20", 200, Some("10")),
        ("HEAD", "field=content-length:10&head&say=0123456789", 200, Some("10")),
        ("HEAD", &*format!("head&{much}"), 200, None),
        ("GET", "status=204&head", 204, None),
        ("GET", "status=204&field=content-length:0&head", 204, None),
        ("GET", &*format!("status=204&head&{much}"), 204, None),
        ("GET", "status=304&field=content-length:10&head", 304, None),
        ("GET", &*format!("status=304&head&{much}"), 304, None),
        ("HEAD", &*format!("status=304&head&{much}"), 304, None),
    ];
    for (kind, server) in &both("--workers 1") {
        let mut client = server.client();
        for (method, steps, status, length) in cases {
            let reply = client.request(method, &script(steps), &[], b"");
            assert_eq!(reply.status, status, "{kind}, {method} {steps}: {reply:?}");
            assert_eq!(
                reply.field("content-length"),
                length,
                "{kind}, {method} {steps}"
            );
        }
        assert_eq!(
            client.get(&script("head&say=next")).text(),
            "next",
            "{kind}"
        );
        if *kind == "http03" {
            assert_eq!(
                server.entries("process ended").len(),
                0,
                "no process has failed"
            );
        }
    }
}

/// However many pieces of a body the host lets pass before it turns to other work, the guest that
/// has written the last one stays.
#[test]
fn bodies_that_nobody_wants_cost_no_process() {
    let server = guest("http03", "--workers 1");
    let mut client = server.client();
    for pieces in 1..=160 {
        let target = script(&format!("status=204&head&write={}", pieces * (64 << 10)));
        assert_eq!(client.get(&target).status, 204);
    }
    assert_eq!(server.entries("process ended").len(), 0);
}

/// What is short has a length, so the connection is kept. HTTP/1.0 gets no chunks.
#[test]
fn framing() {
    for (kind, server) in &both("") {
        let mut client = server.client();
        let reply = client.get(&script("head&say=abc"));
        assert_eq!(reply.field("content-length"), Some("3"), "{kind}");
        let reply = client.get(&script("field=content-length:3&head&say=abc"));
        assert_eq!(reply.field("content-length"), Some("3"), "{kind}");
        let reply = client.get(&script(&format!("head&write={MUCH}")));
        assert_eq!(reply.field("transfer-encoding"), Some("chunked"), "{kind}");
        assert_eq!(reply.body.len(), MUCH, "{kind}");
        let target = script(&format!("head&write={MUCH}"));
        client
            .send(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes())
            .expect("a request");
        let reply = client.reply("GET").expect("a reply");
        assert_eq!(reply.field("transfer-encoding"), None, "{kind}");
        assert_eq!(reply.body.len(), MUCH, "{kind}");
    }
}

#[test]
fn trailers_go_both_ways() {
    for (kind, server) in &both("") {
        let mut client = server.client();
        let target = script("field=trailer:x-sum,x-own&trailer=x-own:1&head&echo");
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 9\r\nhost: b\r\n\r\n"
        );
        client.send(request.as_bytes()).expect("a request");
        let rest = client.rest().expect("a reply");
        let rest = String::from_utf8_lossy(&rest).to_ascii_lowercase();
        assert!(rest.starts_with("http/1.1 200"), "{kind}: {rest}");
        let (_, end) = rest.split_once("\r\n0\r\n").expect("an end");
        assert!(end.contains("x-sum: 9\r\n"), "{kind}: {end}");
        assert!(end.contains("x-own: 1\r\n"), "{kind}: {end}");
        assert!(!end.contains("host"), "{kind}: {end}");
    }
}

/// The host holds a few pieces of a body, and not the body.
#[test]
fn large_bodies_take_little_memory() {
    const LARGE: usize = 32 * MIB;
    for (kind, server) in &both("--max-body 64MiB --workers 1") {
        let mut client = server.client();
        let echo = script("head&echo");
        upload(&mut client, &echo, &[], &pattern(MIB));
        let before = server.memory("VmHWM");
        let body = pattern(LARGE);
        client.send_meanwhile(request_bytes("POST", &echo, &[], &body));
        let head = client.head().expect("a head");
        let mut at = 0;
        let mut is_same = true;
        let read = client.body("POST", &head, |piece| {
            is_same &= body.get(at..at + piece.len()) == Some(piece);
            at += piece.len();
        });
        assert!(
            read.is_ok() && is_same && at == LARGE,
            "{kind}: {read:?}, {at}"
        );
        let grown = server.grown(before);
        assert!(grown < (LARGE / 2) as u64, "{kind}: {} KiB", grown >> 10);
    }
}

/// Neither side waits for more bytes: with Nagle's algorithm, each of these took 40 ms.
#[test]
fn a_second_write_is_sent_at_once() {
    for (kind, server) in &both("--workers 1") {
        let mut client = server.client();
        let target = script("head&write=70000&sleep=1&say=end");
        let fastest = (0..20).map(|_| {
            let start = Instant::now();
            assert_eq!(client.get(&target).body.len(), 70_003, "{kind}");
            start.elapsed()
        });
        let fastest = fastest.min();
        assert!(
            fastest < Some(Duration::from_millis(30)),
            "{kind}: {fastest:?}"
        );
    }
}
