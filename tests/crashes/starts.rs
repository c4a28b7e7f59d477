//! Modules whose processes don't start, or not yet.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::support::server::{component, try_component};
use crate::support::wat::worker_with;
use crate::support::{Folder, Server, eventually};

#[test]
fn a_module_that_crashes_at_its_start() {
    let text = worker_with("(func $start (unreachable)) (start $start)", "");
    for mode in [
        "--mode pool --workers 2",
        "--mode single",
        "--mode per-request",
    ] {
        let Some(server) = start_or_refuse(&text, mode) else {
            continue;
        };
        for _ in 0..200 {
            let reply = server.get("/");
            assert_eq!(reply.status, 503, "{reply:?}");
            assert!(reply.field("retry-after").is_some(), "{reply:?}");
        }
        assert!(
            server.entries("process ended").len() < 100,
            "starts are not tried without a pause"
        );
    }
}

#[test]
fn a_module_that_starts_after_a_while() {
    // Like a module that needs a resource which doesn't exist yet: its start code traps until there
    // is a file of this name.
    let crash_while_early = "
        (data (memory $shared) (i32.const 3000) \"ready\")
        (func $start
           (call $open (i32.const 3000) (i32.const 5) (i32.const 2048))
           (if (i32.load8_u (i32.const 2048)) (then unreachable)))
        (start $start)";
    let text = worker_with(crash_while_early, "");
    let server = component(&text, Folder::new(), "--mode per-request --workers 0..4");
    for _ in 0..10 {
        let reply = server.get("/");
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(reply.field("retry-after").is_some(), "{reply:?}");
    }
    File::create(server.folder.root().join("ready")).expect("a file");
    eventually("it answers", || {
        let reply = server.get("/");
        assert!([200, 503].contains(&reply.status), "{reply:?}");
        (reply.status == 200).then_some(())
    });
    assert!(
        server.entries("process ended").len() < 100,
        "starts are not tried without a pause"
    );
    server.wait_text("backing off");
    server.wait_text("processes can be started again");
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn a_start_that_never_ends() {
    let text = worker_with("(func $start (loop (br 0))) (start $start)", "");
    let begun = Instant::now();
    for mode in ["--mode pool --workers 1", "--mode per-request"] {
        let flags = format!("{mode} --request-timeout 1s --queue-timeout 1s");
        if let Some(server) = start_or_refuse(&text, &flags) {
            let reply = server.get("/");
            assert_eq!(reply.status, 503, "{reply:?}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// The host may refuse a module that can't start, with a reason. Or it may serve the module, with
/// `503` until it starts.
fn start_or_refuse(text: &str, flags: &str) -> Option<Server> {
    match try_component(text, flags) {
        Ok(server) => Some(server),
        Err((status, text)) => {
            assert!(
                !status.success() && status.code().is_some(),
                "{status}: {text}"
            );
            assert!(!text.is_empty(), "a reason is given");
            None
        }
    }
}
