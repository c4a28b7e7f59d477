//! Clients that leave, or stop reading: their processes end or are put back, and nothing leaks.

use std::thread;

use super::{MIB, both, script};
use crate::support::{Client, Server, eventually};

/// Clients per phase and kind.
const CLIENTS: usize = 50;

/// What a client sends, and whether it waits for the first byte of the body before it leaves.
#[derive(Clone, Copy, Debug)]
struct Phase {
    method: &'static str,
    steps: &'static str,
    /// More bytes than are sent.
    is_uploading: bool,
    waits: bool,
}

#[rustfmt::skip] // one line per case
const PHASES: [Phase; 6] = [
    Phase { method: "GET", steps: "sleep=60000&head", is_uploading: false, waits: false },
    Phase { method: "GET", steps: "spin", is_uploading: false, waits: false },
    Phase { method: "GET", steps: "head&write=100000000", is_uploading: false, waits: true },
    Phase { method: "GET", steps: "head&write=100000&sleep=60000", is_uploading: false, waits: true },
    Phase { method: "POST", steps: "head&write=100000&count", is_uploading: true, waits: true },
    Phase { method: "POST", steps: "count&head", is_uploading: true, waits: false },
];

#[test]
fn clients_leave_in_every_phase() {
    let flags =
        "--workers 2..8 --queue 1000 --queue-timeout 100s --request-timeout 100s --max-body 16MiB";
    for (kind, server) in &both(flags) {
        assert_eq!(
            server.get(&script("head&say=first")).text(),
            "first",
            "{kind}"
        );
        let before = server.descriptors();
        thread::scope(|scope| {
            for phase in PHASES {
                scope.spawn(move || (0..CLIENTS).for_each(|_| leave(server, phase)));
            }
        });
        // All processes that are left have nothing to do.
        for _ in 0..16 {
            assert_eq!(
                server.get(&script("head&say=next")).text(),
                "next",
                "{kind}"
            );
        }
        eventually("descriptors are closed", || {
            (server.descriptors() <= before + 8).then_some(())
        });
    }
}

fn leave(server: &Server, phase: Phase) {
    let mut client = server.client();
    let length = match phase.is_uploading {
        true => format!("content-length: {MIB}\r\n"),
        false => String::new(),
    };
    let target = script(phase.steps);
    let head = format!(
        "{} {target} HTTP/1.1\r\nhost: a\r\n{length}\r\n",
        phase.method
    );
    client.send(head.as_bytes()).expect("a head");
    if phase.is_uploading {
        client.send(&[b'x'; 1000]).expect("the beginning of a body");
    }
    if phase.waits {
        client.head().expect("a head");
    }
    client.reset();
}

/// The process of a client that leaves ends at once.
#[test]
fn a_process_ends_with_its_client() {
    for (kind, server) in &both("--workers 1 --request-timeout 100s") {
        for steps in [
            "head&write=100000&sleep=60000",
            "head&write=100000&spin",
            "head&write=100000000",
        ] {
            let mut client = server.send(&script(steps));
            let pid = client.head().expect("a head").pid();
            client.reset();
            assert_eq!(
                server.wait_end(pid)["exit"],
                "client-left",
                "{kind}, {steps}"
            );
        }
    }
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    for (kind, server) in &both("--workers 1 --header-timeout 300ms --request-timeout 100s") {
        let mut client = server.send(&script("head&write=100000000"));
        let pid = client.head().expect("a head").pid();
        assert_eq!(server.wait_end(pid)["exit"], "client-left", "{kind}");
        assert!(client.rest().expect("an end").len() < 100_000_000, "{kind}");
    }
}

#[test]
fn a_client_that_waits_for_the_guest_is_not_cut() {
    for (kind, server) in &both("--workers 1 --header-timeout 300ms --request-timeout 100s") {
        let mut client: Client = server.client();
        for _ in 0..2 {
            let reply = client.get(&script("head&write=100000&sleep=900&say=end"));
            assert_eq!(reply.body.len(), 100_003, "{kind}");
        }
    }
}
