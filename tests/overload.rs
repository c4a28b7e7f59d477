//! More load than the pool can serve: every client gets an answer, and the requests that can be
//! served are served.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::support::server::guest;
use crate::support::{Reply, Server, eventually};

#[test]
fn everybody_is_answered() {
    const CLIENTS: usize = 200;
    let server = guest(
        "misbehave",
        "--workers 4 --queue 8 --queue-timeout 100s --max-connections 1000",
    );
    server.wait_living(4);
    let connected = Barrier::new(CLIENTS);
    let mut replies: Vec<(Reply, Duration)> = Vec::new();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = server.client();
                    connected.wait();
                    let start = Instant::now();
                    let reply = client.get("/slow?ms=300");
                    (reply, start.elapsed())
                })
            })
            .collect();
        replies.extend(
            clients
                .into_iter()
                .map(|client| client.join().expect("a client was answered")),
        );
    });
    let (served, refused): (Vec<_>, Vec<_>) =
        replies.iter().partition(|(reply, _)| reply.status == 200);
    assert!(
        served.len() >= 12,
        "four at once and eight from the line: {}",
        served.len()
    );
    assert!(!refused.is_empty());
    for (reply, _) in &refused {
        assert_eq!(reply.status, 503, "{reply:?}");
        let seconds = reply
            .field("retry-after")
            .and_then(|text| text.parse::<u64>().ok());
        assert!(
            seconds.is_some_and(|seconds| (1..=60).contains(&seconds)),
            "{reply:?}"
        );
        assert!(reply.request_id() > 0);
    }
    // A request in line waits for two others at most. This takes 0.9 s together with its own time,
    // and not the queue timeout.
    let longest = replies.iter().map(|(_, time)| *time).max();
    assert!(longest < Some(Duration::from_secs(30)), "{longest:?}");
    // After this request's line, the log has the lines of all earlier requests.
    assert_eq!(server.get("/ok").status, 200);
    server.wait_entries("request", CLIENTS + 1);
    assert_eq!(server.living().len(), 4);
    assert_eq!(
        server.entries("process started").len(),
        4,
        "no process was lost to it"
    );
}

#[test]
fn a_full_line_refuses_at_once() {
    let server = guest("misbehave", "--workers 1 --queue 1 --queue-timeout 100s");
    // The first two requests get the process and the place in line, and the others are refused at
    // once. On a busy machine the last may come when the first are done.
    eventually("six requests come at once", || {
        let statuses = statuses(&server, 6, "/slow?ms=1500");
        assert!(statuses.starts_with(&[200, 200]), "{statuses:?}");
        (statuses == [200, 200, 503, 503, 503, 503]).then_some(())
    });
    let entries = server.wait_entries("request", 6);
    for entry in entries.iter().filter(|entry| entry["status"] == 503) {
        assert!(entry["us"].as_u64() < Some(1_500_000), "{entry}");
        assert!(entry["pid"].is_null(), "no process was involved: {entry}");
    }
}

#[test]
fn no_line_at_all() {
    let server = guest("misbehave", "--workers 1 --queue 0");
    eventually("two requests come at once", || {
        (statuses(&server, 2, "/slow?ms=1500") == [200, 503]).then_some(())
    });
    assert_eq!(server.get("/ok").status, 200);
}

/// The statuses of this many simultaneous requests, the lowest first.
fn statuses(server: &Server, clients: usize, target: &str) -> Vec<u16> {
    let mut clients: Vec<_> = (0..clients).map(|_| server.client()).collect();
    for client in &mut clients {
        client.ask("GET", target, b"");
    }
    let replies = clients.iter_mut().map(|client| client.reply("GET"));
    let mut statuses: Vec<u16> = replies
        .map(|reply| reply.expect("a reply").status)
        .collect();
    statuses.sort_unstable();
    statuses
}

#[test]
fn waiting_in_line_has_an_end() {
    let flags = "--workers 1 --queue 4 --queue-timeout 1s --request-timeout 100s";
    let server = guest("misbehave", flags);
    let _running = server.send("/slow?ms=100000");
    server.wait_until_busy();
    let start = Instant::now();
    let reply = server.get("/ok");
    assert_eq!(reply.status, 503);
    assert!(reply.field("retry-after").is_some(), "{reply:?}");
    assert!(start.elapsed() >= Duration::from_millis(900), "it did wait");
}

#[test]
fn the_line_is_served_in_its_order() {
    let server = guest(
        "misbehave",
        "--workers 1 --queue 8 --queue-timeout 50s --expose-pid",
    );
    let _running = server.send("/slow?ms=500");
    let mut waiting: Vec<_> = (0..8).map(|_| server.client()).collect();
    for client in &mut waiting {
        client.ask("GET", "/slow?ms=1", b"");
    }
    for client in &mut waiting {
        assert_eq!(client.reply("GET").expect("a reply").status, 200);
    }
}

#[test]
fn spinning_processes_on_all_cores() {
    let cores = available_parallelism().map_or(2, usize::from);
    let workers = cores + 2;
    let server = guest(
        "misbehave",
        &format!("--workers {workers} --request-timeout 600s"),
    );
    let mut spinning: Vec<_> = (0..cores).map(|_| server.send("/spin")).collect();
    // Only these requests take so much time: half a second for each core.
    let busy = server.processor_ticks() + 50 * cores as u64;
    eventually("all cores are busy", || {
        (server.processor_ticks() > busy).then_some(())
    });

    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = server.client();
                for _ in 0..100 {
                    assert_eq!(client.get("/ok").text(), "ok\n");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(served.into_inner(), 200);
    for spinner in &mut spinning {
        assert!(
            !spinner.has_news(),
            "all healthy requests were done while these were spinning"
        );
    }
}
