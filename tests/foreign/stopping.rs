//! Stopping while a body is on its way.

use rustix::process::Signal;

use super::{both, script};

#[test]
fn a_body_is_finished_within_the_grace_time() {
    for (kind, mut server) in both("--workers 1 --grace 100s") {
        let mut client = server.send(&script("head&write=100000&sleep=500&say=end"));
        let head = client.head().expect("a head");
        server.signal(Signal::TERM);
        let mut length = 0;
        let body = client.body("GET", &head, |piece| length += piece.len());
        assert!(
            body.is_ok() && length == 100_003,
            "{kind}: {body:?}, {length}"
        );
        assert_eq!(server.wait_exit().code(), Some(0), "{kind}");
        assert!(server.living().is_empty(), "{kind}");
    }
}

#[test]
fn a_body_is_cut_after_the_grace_time() {
    for steps in ["sleep=60000", "spin"] {
        for (kind, mut server) in both("--workers 1 --grace 300ms") {
            let mut client = server.send(&script(&format!("head&write=100000&{steps}")));
            let head = client.head().expect("a head");
            server.signal(Signal::TERM);
            let body = client.body("GET", &head, |_| {});
            assert!(body.is_err(), "{kind}, {steps}");
            server.wait_exit();
            assert!(server.living().is_empty(), "{kind}, {steps}");
        }
    }
}

/// What a guest does behind its answer may be finished as well.
#[test]
fn work_behind_the_body_is_finished_within_the_grace_time() {
    for (kind, mut server) in both("--workers 1 --grace 100s") {
        let reply = server.get(&script("head&say=done&finish&sleep=500&print=finished"));
        assert_eq!(reply.text(), "done", "{kind}");
        server.signal(Signal::TERM);
        assert_eq!(server.wait_exit().code(), Some(0), "{kind}");
        assert!(server.log_text().contains("finished"), "{kind}");
    }
}
