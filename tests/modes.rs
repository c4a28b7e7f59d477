//! The three modes: one flag selects the mode. All give the same answers, but their processes live
//! differently.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::requests::{conditional_requests, same_requests, site};
use crate::support::server::{SHORT_QUEUE, guest, serve};
use crate::support::{Client, eventually};

#[test]
fn single_answers_as_all_do() {
    let server = serve(site(), "--mode single");
    same_requests(&server);
    conditional_requests(&server);
}

#[test]
fn per_request_answers_as_all_do() {
    let server = serve(site(), "--mode per-request");
    same_requests(&server);
    conditional_requests(&server);
}

#[test]
fn pool_answers_as_all_do() {
    let server = serve(site(), "--mode pool --workers 1..3 --max-requests 7");
    same_requests(&server);
    conditional_requests(&server);
}

#[test]
fn single_lets_the_second_wait_for_the_first() {
    let server = guest(
        "misbehave",
        "--mode single --expose-pid --queue 4 --queue-timeout 50s",
    );
    let start = Instant::now();
    let mut first = server.send("/slow?ms=1000");
    let mut second = server.send("/slow?ms=1000");
    let (first, second) = (reply(&mut first), reply(&mut second));
    assert_eq!((first.0, second.0), (200, 200));
    assert_eq!(first.1, second.1, "there is one process");
    // One after the other, the requests take the time of both. In parallel, they would take the
    // time of one.
    assert!(start.elapsed() >= Duration::from_secs(2));
    server.wait_entries("request", 2); // and so all earlier lines are there
    assert_eq!(server.living().len(), 1);
}

#[test]
fn single_goes_on_after_a_crash() {
    let server = guest("misbehave", "--mode single --expose-pid");
    let before = server.get("/ok").pid();
    assert_eq!(server.get("/trap").status, 502);
    let after = eventually("single recovers", || {
        Some(server.get("/ok")).filter(|reply| reply.status == 200)
    });
    assert_ne!(before, after.pid());
    server.wait_end(before);
    assert_eq!(server.wait_living(1), BTreeSet::from([after.pid()]));
}

#[test]
fn per_request_never_uses_a_process_twice() {
    let server = guest("counter", "--mode per-request --expose-pid --workers 4");
    let mut client = server.client();
    let replies: Vec<_> = (0..100).map(|_| client.get("/")).collect();
    let pids: BTreeSet<u64> = replies.iter().map(|reply| reply.pid()).collect();
    assert_eq!(pids.len(), 100);
    assert!(
        replies.iter().all(|reply| reply.body == replies[0].body),
        "each counts from the start"
    );
    // As many processes as before are ready, and have served nobody.
    server.wait_living(4);
}

#[test]
fn per_request_has_no_more_than_its_number_at_once() {
    let flags = format!("--mode per-request --workers 2 --request-timeout 100s {SHORT_QUEUE}");
    let server = guest("misbehave", &flags);
    let _running = [
        server.send("/slow?ms=100000"),
        server.send("/slow?ms=100000"),
    ];
    server.wait_until_busy();
    assert!(server.living().len() <= 2);
}

#[test]
fn pool_uses_a_process_again() {
    let server = guest("counter", "--workers 1 --expose-pid");
    let mut client = server.client();
    let replies: Vec<_> = (0..50).map(|_| client.get("/")).collect();
    let pids: BTreeSet<u64> = replies.iter().map(|reply| reply.pid()).collect();
    assert_eq!(pids.len(), 1);
    assert_ne!(replies[0].body, replies[49].body, "it keeps its count");
}

#[test]
fn pool_prefers_the_process_that_was_used_last() {
    let server = guest("counter", "--workers 4 --expose-pid");
    server.wait_living(4);
    let mut client = server.client();
    let pids: BTreeSet<u64> = (0..50).map(|_| client.get("/").pid()).collect();
    assert_eq!(pids.len(), 1, "one client at a time needs one process");
}

#[test]
fn pool_is_full_from_the_start() {
    let server = guest("counter", "--workers 5");
    server.wait_living(5);
}

#[test]
fn pool_grows_under_load_and_shrinks_after_it() {
    let server = guest(
        "misbehave",
        "--workers 1..4 --idle-timeout 1s --queue 16 --queue-timeout 50s",
    );
    server.wait_living(1);
    let mut clients: Vec<Client> = (0..8).map(|_| server.send("/slow?ms=1500")).collect();
    server.wait_living(4);
    for client in &mut clients {
        assert_eq!(reply(client).0, 200);
    }
    server.wait_living(1);
    // If the machine is so busy that requests come late, the pool may have shrunk in between.
    let ended = server.entries("process ended");
    assert!(ended.len() >= 3, "{ended:?}");
    assert!(
        ended.iter().all(|entry| entry["exit"] == "idle"),
        "{ended:?}"
    );
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn pool_recycles_after_its_share_of_requests() {
    let server = guest("counter", "--workers 2 --max-requests 10 --expose-pid");
    let mut client = server.client();
    let mut served = BTreeMap::new();
    for _ in 0..400 {
        let reply = client.get("/");
        assert_eq!(reply.status, 200, "recycling fails no request");
        *served.entry(reply.pid()).or_insert(0) += 1;
    }
    assert!(served.values().all(|count| *count <= 10), "{served:?}");
    // 400 requests take at least 40 processes, with at most ten each. Two of them still live.
    let ended = server.wait_entries("process ended", 38);
    assert!(
        ended.iter().all(|entry| entry["exit"] == "served"),
        "{ended:?}"
    );
    server.wait_living(2);
}

#[test]
fn pool_recycles_what_has_grown() {
    let server = guest("misbehave", "--workers 1 --memory 64MiB --expose-pid");
    let before = server.get("/grow?mib=1");
    assert_eq!(before.status, 200);
    assert_eq!(
        server.get("/ok").pid(),
        before.pid(),
        "a little growth is nothing"
    );
    let grown = server.get("/grow?mib=55");
    assert_eq!(
        (grown.status, grown.pid()),
        (200, before.pid()),
        "the request itself succeeds"
    );
    assert_eq!(server.wait_end(before.pid())["exit"], "grown");
    let after = server.get("/ok");
    assert_eq!(after.status, 200);
    assert_ne!(after.pid(), before.pid());
}

/// The status, and the pid if the server reports it.
fn reply(client: &mut Client) -> (u16, Option<String>) {
    let reply = client.reply("GET").expect("a reply");
    (reply.status, reply.field("x-wasm-pid").map(str::to_owned))
}
