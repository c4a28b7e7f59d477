//! Floods of frames that cost their sender little: the host ends the connection, and others don't
//! notice.

use std::time::Instant;

use serde_json::Value;

use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PRIORITY, SETTINGS, cancel,
    field, frame, get, request, window,
};
use crate::support::server::{guest, guest_with_tls, serve};
use crate::support::{Folder, Server, pattern};

/// Far more than a connection may send without use.
const MANY: usize = 200_000;

/// What a client can make the host hold, at most.
const BOUND: u64 = 32 << 20;

/// The reason that the log names.
const FLOOD: &str = "too many frames that ask for nothing";

/// Checks that the log names the flood and its client, once a second at most, and that nobody else
/// writes about it. No host was there before `since`.
fn is_told(server: &Server, since: Instant) {
    let is_flood = |entry: &Value| entry["reason"] == FLOOD;
    server.wait_entry("request refused", is_flood);
    let mut told = server.entries("request refused");
    told.retain(is_flood);
    let most = since.elapsed().as_secs() + 1;
    assert!(told.len() as u64 <= most, "{told:?}");
    for entry in told {
        let client = entry["client"].as_str().expect("a client");
        assert!(client.starts_with("127.0.0.1:"), "{entry}");
    }
    let text = server.log_text();
    let warnings = text.lines().filter(|line| line.contains("\"WARN\""));
    let others = warnings.filter(|line| !line.contains("\"request refused\""));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// Whether the host ends a connection, and neither grows nor refuses others meanwhile.
fn is_ended(server: &Server, flood: impl FnOnce(Frames) -> bool) -> bool {
    is_ended_on(server, Frames::connect(server.address()), flood)
}

/// The same on this connection.
fn is_ended_on(server: &Server, frames: Frames, flood: impl FnOnce(Frames) -> bool) -> bool {
    let before = server.memory("VmHWM");
    let is_over = flood(frames);
    assert_eq!(server.get("/").status, 200, "others are served");
    let grown = server.grown(before);
    assert!(grown < BOUND, "{grown} B");
    is_over
}

#[test]
fn frames_that_ask_for_nothing() {
    let since = Instant::now();
    let server = guest("hello", "--h2c --workers 2");
    let flood = |bytes: Vec<u8>| is_ended(&server, |frames| frames.flood(&bytes, MANY));
    assert!(flood(frame(SETTINGS, 0, 0, &[])), "settings");
    assert!(
        flood(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9])),
        "windows in settings"
    );
    assert!(flood(frame(PING, 0, 0, &[0; 8])), "pings");
    assert!(flood(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])), "priorities");
    assert!(flood(window(0, 1)), "windows");
    assert!(
        flood(frame(0x77, 0, 0, b"unknown")),
        "frames of an unknown type"
    );
    is_told(&server, since);
}

#[test]
fn rapid_reset() {
    let since = Instant::now();
    let server = guest("misbehave", "--h2c --workers 2");
    let before = server.memory("VmHWM");
    let frames = Frames::connect(server.address());
    let is_over = frames.flood_by(MANY, |at| {
        let stream = 1 + 2 * at;
        [get(stream, "/slow?ms=1000"), cancel(stream)].concat()
    });
    assert!(is_over);
    assert!(server.grown(before) < BOUND);
    assert_eq!(server.wait_served("/ok").status, 200);
    let asked = server.entries("request").len();
    assert!(asked < 2000, "{asked} requests were begun");
    is_told(&server, since);
}

#[test]
fn many_rapid_resets_have_few_lines() {
    const ATTACKS: usize = 100;
    const RESETS: u32 = 100;
    let since = Instant::now();
    let server = guest("hello", "--h2c --workers 2 --header-timeout 2s");
    for _ in 0..ATTACKS {
        let mut frames = Frames::connect(server.address());
        let resets = (0..RESETS).map(|at| 1 + 2 * at);
        let resets = resets.flat_map(|stream| [get(stream, "/"), cancel(stream)]);
        // All of it at once: no request is begun before it is cancelled.
        frames.send(&resets.flatten().collect::<Vec<_>>());
        assert!(frames.wait(|_| false).is_none(), "the host ends it");
    }
    is_told(&server, since);
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn heads_without_an_end() {
    let since = Instant::now();
    let server = guest("hello", "--h2c --workers 2");
    // Each frame has a field, as in the attacks of 2024.
    let more = frame(CONTINUATION, 0, 1, &field("x-more", "and more"));
    let flooded = is_ended(&server, |mut frames| {
        frames.send(&frame(HEADERS, END_STREAM, 1, &request("GET", "/", &[])));
        frames.flood(&more, MANY)
    });
    assert!(flooded, "small frames");
    let large = frame(CONTINUATION, 0, 1, &field("x-more", &"x".repeat(16_000)));
    let flooded = is_ended(&server, |mut frames| {
        frames.send(&frame(HEADERS, END_STREAM, 1, &request("GET", "/", &[])));
        frames.flood(&large, 10_000)
    });
    assert!(flooded, "large frames");
    let empty = frame(CONTINUATION, 0, 1, &[]);
    let flooded = is_ended(&server, |mut frames| {
        frames.send(&frame(HEADERS, END_STREAM, 1, &request("GET", "/", &[])));
        frames.flood(&empty, MANY)
    });
    assert!(flooded, "empty frames");
    is_told(&server, since);
}

#[test]
fn fields_that_grow_when_they_are_unpacked() {
    let server = guest("hello", "--h2c --workers 2");
    // A large field is remembered, and named by one byte a thousand times.
    let mut fields = request("GET", "/", &[]);
    let mut large = field("x-large", &"x".repeat(3000));
    large[0] = 0x40; // a literal that is to be remembered
    fields.extend(large);
    const THE_LAST: u8 = 0x80 | 62;
    fields.extend([THE_LAST; 10_000]);
    let ended = is_ended(&server, |frames| {
        frames.flood_by(MANY, |at| {
            let fields = if at == 0 { &fields } else { &fields[..0] };
            frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * at, fields)
        })
    });
    assert!(ended);
}

#[test]
fn bodies_of_nothing() {
    let server = guest("hello", "--h2c --workers 2");
    let nothing = frame(DATA, 0, 1, &[]);
    let flooded = is_ended(&server, |mut frames| {
        frames.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", "/", &[])));
        frames.flood(&nothing, MANY)
    });
    assert!(flooded);
}

#[test]
fn windows_that_open_by_a_byte() {
    let folder = Folder::new()
        .file("large", pattern(4 << 20))
        .file("index.html", "");
    let server = serve(folder, "--h2c");
    // No window at all in the beginning.
    let none = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let flooded = is_ended(&server, |mut frames| {
        frames.send(&none);
        frames.send(&get(1, "/large"));
        frames.flood(&window(1, 1), MANY)
    });
    assert!(flooded);
}

#[test]
fn more_streams_than_there_may_be() {
    let server = guest("misbehave", "--h2c --workers 2");
    let flooded =
        Frames::connect(server.address()).flood_by(MANY, |at| get(1 + 2 * at, "/slow?ms=5000"));
    assert!(flooded);
    assert_eq!(server.wait_served("/ok").status, 200);
    let asked = server.entries("request").len();
    assert!(asked < 1000, "{asked} requests were begun");
}

#[test]
fn bytes_that_are_no_frames() {
    let server = guest("hello", "--h2c --workers 2");
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        &[0xff; 100],
        &[0; 100],
        &frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            2,
            &request("GET", "/", &[]),
        ),
        &frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 50]),
        &frame(DATA, END_STREAM, 1, b"of no request"),
        &frame(PING, 0, 0, b"short"),
        &frame(SETTINGS, 0, 1, &[]),
        &window(0, 0),
    ] {
        let mut frames = Frames::connect(server.address());
        frames.send(bytes);
        assert!(
            frames.wait(|_| false).is_none(),
            "{bytes:?} ends the connection"
        );
        assert_eq!(server.get("/").status, 200);
    }
}

#[test]
fn floods_over_tls() {
    let since = Instant::now();
    let server = guest_with_tls("hello", "--workers 2");
    let is_ended = |flood: &dyn Fn(Frames) -> bool| {
        let frames = Frames::connect_over_tls(server.tls_address());
        is_ended_on(&server, frames, flood)
    };
    let pings = frame(PING, 0, 0, &[0; 8]);
    let pinging = |frames: Frames| frames.flood(&pings, MANY);
    assert!(is_ended(&pinging), "pings");
    is_told(&server, since);
    let resets = |at: u32| {
        let stream = 1 + 2 * at;
        [get(stream, "/"), cancel(stream)].concat()
    };
    let resetting = |frames: Frames| frames.flood_by(MANY, resets);
    assert!(is_ended(&resetting), "resets");
    let head = frame(HEADERS, END_STREAM, 1, &request("GET", "/", &[]));
    let more = frame(CONTINUATION, 0, 1, &field("x-more", "and more"));
    let endless = |mut frames: Frames| {
        frames.send(&head);
        frames.flood(&more, MANY)
    };
    assert!(is_ended(&endless), "heads without an end");
    is_told(&server, since);
}
