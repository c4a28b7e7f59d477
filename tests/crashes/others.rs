//! The other clients notice nothing of a crash.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::server::guest;
use crate::support::{Server, eventually};

#[test]
fn others_go_on_while_one_crashes() {
    let server = guest("misbehave", "--workers 3 --expose-pid");
    let before = server.wait_living(3);
    let mut slow = server.send("/slow?ms=700");
    assert_eq!(server.get("/trap").status, 502);
    assert_eq!(server.get("/panic").status, 502);
    assert_eq!(slow.reply("GET").expect("a reply").text(), "slept 700 ms\n");
    // The second crash may have hit the replacement of the first.
    let ended = server.wait_entries("process ended", 2);
    assert_eq!(ended.len(), 2, "{ended:?}");
    let after = server.wait_living(3);
    assert!(
        after.difference(&before).all(|pid| *pid > 3),
        "pids are never used again: {after:?}"
    );
}

#[test]
fn the_pool_is_full_again_before_anybody_asks() {
    let server = guest("misbehave", "--workers 4");
    let mut before = server.wait_living(4);
    for _ in 0..5 {
        assert_eq!(server.get("/trap").status, 502);
        before = eventually("a replacement", || {
            let living = server.living();
            (living.len() == 4 && living != before).then_some(living)
        });
    }
}

#[test]
fn nothing_of_a_process_is_left_in_the_next() {
    let server = guest("misbehave", "--workers 1 --max-open-files 3");
    std::fs::write(server.folder.root().join("index.html"), "x").expect("a file");
    assert_eq!(
        server.get("/leak-files").text(),
        "opened 3, then too-many-open\n"
    );
    assert_eq!(server.get("/trap").status, 502);
    assert_eq!(
        server.get("/leak-files").text(),
        "opened 3, then too-many-open\n"
    );
    assert_eq!(server.get("/trap").status, 502);
    eventually("handles die with their process", || {
        (server.open_files("index.html") <= 1).then_some(())
    });
}

#[test]
fn a_storm_of_crashes_is_answered_one_by_one() {
    for mode in [
        "--workers 1",
        "--workers 2..64",
        "--mode single",
        "--mode per-request",
    ] {
        let server = guest("misbehave", mode);
        let mut client = server.client();
        for nth in 0..200 {
            let crashed = client.get(["/trap", "/abort", "/exit"][nth % 3]);
            assert_eq!(crashed.status, 502, "{mode}, crash {nth}: {crashed:?}");
            let healthy = client.get("/ok");
            assert_eq!(
                healthy.status, 200,
                "{mode}, after crash {nth}: {healthy:?}"
            );
        }
    }
}

/// One client's crashes cost other clients nothing. All get their answers, and about as soon as
/// beside a client with harmless requests at the same pace.
#[test]
fn a_client_that_crashes_its_process_again_and_again() {
    for mode in [
        "--workers 1",
        "--workers 1..64",
        "--workers 2",
        "--workers 2..64",
        "--mode single",
        "--mode per-request",
    ] {
        let server = guest("misbehave", mode);
        for pause in [0, 1, 5, 20].map(Duration::from_millis) {
            // A noisy machine delays different requests at different times. So the times must be
            // equal in at least one attempt.
            eventually("others are answered as soon as ever", || {
                let usual = slowest_of_hundred_beside(&server, "/ok", pause);
                let beside = slowest_of_hundred_beside(&server, "/trap", pause);
                (beside <= 2 * usual + Duration::from_millis(10)).then_some(())
            });
        }
    }
}

/// The duration of the 99th of 100 requests, sorted by duration, while another client requests
/// `target` at this pace.
fn slowest_of_hundred_beside(server: &Server, target: &str, pause: Duration) -> Duration {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client();
            while !is_over.load(Ordering::Relaxed) {
                assert!([200, 502].contains(&client.get(target).status));
                std::thread::sleep(pause);
            }
        });
        let mut client = server.client();
        let mut times: Vec<_> = (0..100)
            .map(|_| {
                let start = Instant::now();
                let reply = client.get("/ok");
                assert_eq!(
                    reply.status, 200,
                    "beside {target} every {pause:?}: {reply:?}"
                );
                start.elapsed()
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        times.sort_unstable();
        times[98]
    })
}
