//! Streams: each has its own limits, its own deadlines and its own crash.

use rustix::process::Signal;

use super::{Outcome, Peer};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, field, frame,
    get, request, window,
};
use crate::support::server::{SHORT_QUEUE, guest, guest_with_tls, serve};
use crate::support::steer::wait_running;
use crate::support::{Folder, Server, eventually, pattern};

#[test]
fn a_crash_ends_its_stream() {
    let server = guest("misbehave", "--h2c --workers 4");
    let peer = Peer::connect(&server);
    let slow = peer.ask("GET", "/slow?ms=500", b"");
    for path in ["/trap", "/exit", "/panic"] {
        assert_eq!(peer.status(path), 502, "{path}");
    }
    assert_eq!(peer.status("/ok"), 200);
    assert!(matches!(peer.answer(slow), Outcome::Answered(200, _)));
}

#[test]
fn a_crash_behind_the_head_resets_its_stream() {
    for kind in ["http02", "http03"] {
        let server = guest(kind, "--h2c --workers 4");
        let peer = Peer::connect(&server);
        let whole = peer.ask("GET", "/do?head&write=100000&sleep=300&say=end", b"");
        let broken = peer.get("/do?head&write=100000&sleep=50&trap");
        assert_eq!(broken, Outcome::Broken(200), "{kind}");
        let Outcome::Answered(200, body) = peer.answer(whole) else {
            panic!("{kind}: the other stream is whole");
        };
        assert_eq!(body.len(), 100_003, "{kind}");
    }
}

#[test]
fn bodies_are_whole() {
    let content = pattern(5_000_000);
    let folder = Folder::new().file("large", &content).file("empty", "");
    let server = serve(folder, "--h2c");
    let peer = Peer::connect(&server);
    let several: Vec<_> = (0..4).map(|_| peer.ask("GET", "/large", b"")).collect();
    for response in several {
        let Outcome::Answered(200, body) = peer.answer(response) else {
            panic!("the file comes");
        };
        assert!(body == content, "the file is whole");
    }
    assert_eq!(peer.get("/empty"), Outcome::Answered(200, Vec::new()));
    let head = peer.answer(peer.ask("HEAD", "/large", b""));
    assert_eq!(head, Outcome::Answered(200, Vec::new()));
}

#[test]
fn limits_hold_for_each_stream() {
    let flags = "--h2c --workers 2 --max-body 1000 --request-timeout 1s";
    let server = guest("misbehave", flags);
    let peer = Peer::connect(&server);
    let status =
        |method: &str, path: &str, body: &[u8]| match peer.answer(peer.ask(method, path, body)) {
            Outcome::Answered(status, _) => status,
            other @ (Outcome::Broken(_) | Outcome::Reset(_)) => panic!("{path}: {other:?}"),
        };
    assert_eq!(status("POST", "/ok", &[b'x'; 1000]), 200);
    assert_eq!(status("POST", "/ok", &[b'x'; 1001]), 413);
    assert_eq!(status("GET", "/spin", b""), 504);
    assert_eq!(status("GET", "/ok", b""), 200);
}

#[test]
fn large_heads_are_refused() {
    // A status without an index: its name has one, and its value is packed.
    const STATUS_431: [u8; 5] = [0x48, 0x83, 0x69, 0x90, 0xff];
    let server = guest("misbehave", "--h2c --workers 2");
    let mut frames = Frames::connect(server.address());
    let fields = request("GET", "/ok", &[]);
    frames.send(&frame(HEADERS, END_STREAM, 1, &fields));
    let large = field("x-large", &"x".repeat(15_000));
    for more in 1..=5 {
        let flags = if more == 5 { END_HEADERS } else { 0 };
        frames.send(&frame(CONTINUATION, flags, 1, &large));
    }
    let head = frames.wait(|frame| frame.stream == 1).expect("an answer");
    assert_eq!(head.payload, STATUS_431);
    frames.send(&get(3, "/ok"));
    assert!(frames.is_ok(3));
}

#[test]
fn a_full_line_refuses_streams() {
    let server = guest("misbehave", &format!("--h2c --workers 1 {SHORT_QUEUE}"));
    let peer = Peer::connect(&server);
    let spinning = peer.ask("GET", "/slow?ms=5000", b"");
    wait_running(&server, 1);
    assert_eq!(peer.status("/ok"), 503);
    assert!(matches!(peer.answer(spinning), Outcome::Answered(200, _)));
}

#[test]
fn all_connections_share_the_room_for_streams() {
    let server = guest("misbehave", "--h2c --workers 8 --max-connections 4");
    let peers = [Peer::connect(&server), Peer::connect(&server)];
    let ask = |peer: &Peer| peer.ask("GET", "/slow?ms=5000", b"");
    let slow: Vec<_> = peers
        .iter()
        .flat_map(|peer| [ask(peer), ask(peer)])
        .collect();
    wait_running(&server, 4);
    assert_eq!(peers[0].status("/ok"), 503);
    // The other kind of request has its own room.
    assert_eq!(server.get("/ok").status, 200);
    for (response, peer) in slow
        .into_iter()
        .zip([&peers[0], &peers[0], &peers[1], &peers[1]])
    {
        assert!(matches!(peer.answer(response), Outcome::Answered(200, _)));
    }
    assert_eq!(peers[0].status("/ok"), 200);
}

#[test]
fn a_client_that_takes_nothing_loses_its_stream() {
    let folder = Folder::new()
        .file("large", pattern(1 << 20))
        .file("small", "content");
    let server = serve(folder, "--h2c --header-timeout 1s");
    let mut frames = Frames::connect(server.address());
    frames.send(&get(1, "/large"));
    // The window of the connection is full, too; more of it serves the other streams.
    frames.send(&window(0, 1 << 20));
    let mut next = 3;
    let reset = loop {
        frames.send(&get(next, "/small"));
        let frame = frames.wait(|frame| {
            (frame.stream == 1 && frame.kind == RST_STREAM)
                || (frame.stream == next && frame.kind == HEADERS)
        });
        let frame = frame.expect("the connection goes on");
        if frame.stream == 1 {
            break frame;
        }
        next += 2;
    };
    assert_eq!(reset.payload, 8_u32.to_be_bytes(), "CANCEL");
    frames.send(&get(next + 2, "/small"));
    assert!(frames.is_ok(next + 2));
}

#[test]
fn a_client_that_leaves_a_stream_ends_its_work() {
    let server = guest("misbehave", "--h2c --workers 2");
    let mut frames = Frames::connect(server.address());
    frames.send(&get(1, "/spin"));
    wait_running(&server, 1);
    frames.send(&crate::support::frames::cancel(1));
    let left = server.wait_entry("request", |entry| entry["path"] == "/spin");
    assert_eq!(left["exit"], "client-left", "{left}");
    frames.send(&get(3, "/ok"));
    assert!(frames.is_ok(3));
}

#[test]
fn idle_connections_end_with_goaway() {
    let folder = Folder::new().file("small", "content");
    let server = serve(folder, "--h2c --header-timeout 1s");
    let mut frames = Frames::connect(server.address());
    frames.send(&get(1, "/small"));
    assert!(frames.is_ok(1));
    assert!(frames.wait(|frame| frame.kind == GOAWAY).is_some());
    assert!(frames.wait(|_| false).is_none(), "and is closed");
    // Half a head is no request.
    let mut frames = Frames::connect(server.address());
    frames.send(&frame(
        HEADERS,
        END_STREAM,
        1,
        &request("GET", "/small", &[]),
    ));
    assert!(frames.wait(|_| false).is_none(), "and is closed");
    // Nothing at all is even less.
    let mut frames = Frames::connect_silently(server.address());
    assert!(frames.wait(|_| false).is_none(), "and is closed");
}

#[test]
fn half_a_body_has_a_deadline() {
    // A status without an index, as above.
    const STATUS_408: [u8; 5] = [0x48, 0x83, 0x68, 0x0f, 0x7f];
    let flags = "--h2c --workers 1 --header-timeout 1s --request-timeout 2s";
    let server = guest("misbehave", flags);
    let status = eventually("a client comes in time", || {
        let mut frames = Frames::connect(server.address());
        let fields = request("POST", "/echo", &[("content-length", "100")]);
        frames.send(&frame(HEADERS, END_HEADERS, 1, &fields));
        frames.send(&frame(DATA, 0, 1, b"half"));
        let head = frames.wait(|frame| frame.stream == 1 && frame.kind == HEADERS)?;
        Some(head.payload[..5].to_vec())
    });
    assert_eq!(status, STATUS_408);
    server.wait_served("/ok"); // no process waits for a body
}

#[test]
fn a_host_that_stops_says_so_and_finishes() {
    let server = guest("misbehave", "--h2c --workers 2 --grace 100s");
    let frames = Frames::connect(server.address());
    stops(server, frames);
}

#[test]
fn a_host_that_stops_says_so_over_tls_too() {
    let server = guest_with_tls("misbehave", "--workers 2 --grace 100s");
    let frames = Frames::connect_over_tls(server.tls_address());
    stops(server, frames);
}

/// Stops a host while a stream of this connection runs.
fn stops(mut server: Server, mut frames: Frames) {
    frames.send(&get(1, "/slow?ms=5000"));
    wait_running(&server, 1);
    server.signal(Signal::TERM);
    assert!(frames.wait(|frame| frame.kind == GOAWAY).is_some());
    assert!(frames.is_ok(1));
    assert!(frames.wait(|_| false).is_none(), "and is closed");
    assert!(server.wait_exit().success());
}

#[test]
fn fields_of_a_connection_are_no_fields_of_a_stream() {
    const PROTOCOL_ERROR: u32 = 1;
    let server = guest("hello", "--h2c --workers 1");
    let mut frames = Frames::connect(server.address());
    for (at, field) in [("connection", "close"), ("transfer-encoding", "chunked")]
        .iter()
        .enumerate()
    {
        let stream = 1 + 2 * at as u32;
        let fields = request("GET", "/", &[*field]);
        frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields));
        let reset = frames.wait(|frame| frame.stream == stream);
        let reset = reset.expect("the connection goes on");
        assert_eq!(reset.kind, RST_STREAM, "{field:?}");
        assert_eq!(reset.payload, PROTOCOL_ERROR.to_be_bytes(), "{field:?}");
    }
    frames.send(&get(99, "/"));
    assert!(frames.is_ok(99));
}
