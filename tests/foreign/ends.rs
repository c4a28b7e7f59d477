//! How a guest ends: a response that it did not finish is never shown to its client as finished.

use std::thread;

use super::{MUCH, both, script};
use crate::support::Server;
use crate::support::server::guest;

/// How the end of a body is marked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Chunked,
    Length,
    /// By the end of the connection, in HTTP/1.0.
    Close,
}

/// Whether the body has a clean end if it is chunked.
type IsClean = fn(&str) -> bool;

const NEVER: IsClean = |_| false;
const ALWAYS: IsClean = |_| true;

#[test]
fn behind_the_head() {
    #[rustfmt::skip] // one line per case
    let cases: [(&str, IsClean, &str); 8] = [
        ("", ALWAYS, ""),
        ("trap", NEVER, "trap"),
        ("exit=0", |kind| kind == "http03", ""),
        ("exit=1", NEVER, "code 1"),
        ("exit=3", NEVER, ""),
        ("memory", NEVER, "memory"),
        ("abort&return", NEVER, "response"),
        ("forget&return", ALWAYS, "served"),
    ];
    for (kind, server) in &both("--workers 1..8") {
        thread::scope(|scope| {
            for case in cases {
                scope.spawn(move || check(kind, server, case));
            }
        });
    }
}

#[test]
fn behind_the_head_and_too_late() {
    let cases: [(&str, IsClean, &str); 2] = [
        ("spin", NEVER, "deadline"),
        ("sleep=60000", NEVER, "deadline"),
    ];
    for (kind, server) in &both("--workers 1..8 --request-timeout 2s") {
        thread::scope(|scope| {
            for case in cases {
                scope.spawn(move || check(kind, server, case));
            }
        });
    }
}

fn check(kind: &str, server: &Server, (end, is_clean, exit): (&str, IsClean, &str)) {
    for framing in [Framing::Chunked, Framing::Length, Framing::Close] {
        let name = format!("{kind}, {end:?}, {framing:?}");
        // A body with a length ends before its last byte.
        let length = MUCH + usize::from(!end.is_empty());
        let field = match framing {
            Framing::Length => format!("field=content-length:{length}&"),
            Framing::Chunked | Framing::Close => String::new(),
        };
        let target = script(format!("{field}head&write={MUCH}&{end}").trim_end_matches('&'));
        let mut client = server.client();
        let version = u8::from(framing != Framing::Close);
        client
            .send(format!("GET {target} HTTP/1.{version}\r\nhost: a\r\n\r\n").as_bytes())
            .expect("a request");
        let head = client.head().expect("a head");
        assert_eq!(head.status, 200, "{name}");
        let body = client.body("GET", &head, |_| {});
        let is_whole = end.is_empty() || framing != Framing::Length && is_clean(kind);
        assert_eq!(body.is_ok(), is_whole, "{name}: {body:?}");
        if !exit.is_empty() && (framing != Framing::Length || exit != "served") {
            assert_eq!(server.wait_end(head.pid())["exit"], exit, "{name}");
        }
    }
}

#[test]
fn before_the_head() {
    #[rustfmt::skip] // one line per case
    let cases = [
        ("trap", 502, "unreachable"),
        ("exit=1", 502, "exit code 1"),
        ("memory", 502, "unreachable"),
        ("refuse", 502, "it was asked to refuse"),
        ("return", 502, ""),
        // So little of a body waits until the guest has done.
        ("head&trap", 502, "unreachable"),
        ("head&say=a&trap", 502, "unreachable"),
        ("head&say=a&exit=1", 502, "exit code 1"),
        ("head&say=a&abort", 502, "the body is broken off"),
        ("field=content-length:5&head&say=abc", 502, "the body is broken off"),
        ("field=content-length:1&head&say=abc", 502, "the body is broken off"),
        ("field=content-length:1&field=content-length:1&head&say=a", 502, ""),
        ("field=content-length:x&head&say=a", 502, ""),
        ("field=transfer-encoding:chunked&head", 502, ""),
        ("status=199&head", 502, ""),
        ("spin", 504, "deadline"),
        ("sleep=60000", 504, "deadline"),
    ];
    for (kind, server) in &both("--request-timeout 3s --workers 2..32") {
        thread::scope(|scope| {
            for (steps, status, reason) in cases {
                scope.spawn(move || {
                    let reply = server.get(&script(steps));
                    assert_eq!(reply.status, status, "{kind}, {steps}: {reply:?}");
                    let logged = server.wait_reason(reply.request_id());
                    assert!(logged.contains(reason), "{kind}, {steps}: {logged}");
                });
            }
        });
        assert_eq!(
            server.get(&script("head&say=fine")).text(),
            "fine",
            "{kind}"
        );
    }
}

/// The client has its answer, and the log has the failure. One process is replaced for it.
#[test]
fn behind_the_body() {
    for (kind, server) in &both("--workers 1 --request-timeout 2s") {
        for (steps, exit) in [("sleep=50&trap", "trap"), ("spin", "deadline")] {
            let reply = server.get(&script(&format!("head&say=done&finish&{steps}")));
            assert_eq!(
                (reply.status, &*reply.text()),
                (200, "done"),
                "{kind}, {steps}"
            );
            let ended = server.wait_end(reply.pid());
            assert_eq!(ended["exit"], exit, "{kind}, {steps}");
        }
        assert_eq!(server.entries("process ended").len(), 2, "{kind}");
        server.wait_living(1);
    }
}

#[test]
fn what_is_printed_behind_the_body_is_logged() {
    for (kind, server) in &both("--workers 1") {
        let reply = server.get(&script("head&say=done&finish&sleep=50&print=behind"));
        assert_eq!(reply.text(), "done", "{kind}");
        server.wait_entry("guest output", |entry| entry["line"] == "behind");
    }
}

/// A guest that loses its body's handle has answered; its process is not used again.
#[test]
fn a_forgotten_finish() {
    let servers = [
        guest("http02", "--workers 1 --expose-pid"),
        guest("http02", "--workers 1 --expose-pid --reuse"),
        guest("http03", "--workers 1 --expose-pid"),
    ];
    for server in &servers {
        let mut pids = Vec::new();
        for text in ["a", "b", "c"] {
            let reply = server.get(&script(&format!("head&say={text}&forget")));
            assert_eq!((reply.status, &*reply.text()), (200, text));
            pids.push(reply.pid());
        }
        pids.dedup();
        assert_eq!(pids.len(), 3, "{pids:?}");
    }
}
