//! Which process gets which request: one after the other, never two at once.

use std::collections::BTreeSet;
use std::thread;

use super::{both, script};
use crate::support::server::guest;

#[test]
fn a_process_serves_many_requests() {
    let servers = [
        guest("http03", "--workers 1 --expose-pid"),
        guest("http02", "--workers 1 --expose-pid --reuse"),
    ];
    for server in &servers {
        let mut client = server.client();
        let mut pids = BTreeSet::new();
        for count in 0..200 {
            let reply = client.request("POST", &script("head&echo&sleep=0"), &[], b"abc");
            assert_eq!(
                (reply.status, &*reply.text()),
                (200, "abc"),
                "request {count}"
            );
            pids.insert(reply.pid());
        }
        assert_eq!(pids.len(), 1, "{pids:?}");
    }
}

#[test]
fn a_process_of_02_serves_one_request() {
    let server = guest("http02", "--workers 1 --expose-pid");
    let mut client = server.client();
    let pids: BTreeSet<u64> = (0..20).map(|_| client.get(&script("head")).pid()).collect();
    assert_eq!(pids.len(), 20);
}

#[test]
fn requests_at_the_same_time_have_different_processes() {
    for (kind, server) in &both("--workers 4") {
        let mut clients: Vec<_> = (0..4)
            .map(|_| server.send(&script("head&write=100000&sleep=60000")))
            .collect();
        let pids: BTreeSet<u64> = clients
            .iter_mut()
            .map(|client| client.head().expect("a head").pid())
            .collect();
        assert_eq!(pids.len(), 4, "{kind}");
    }
}

/// A guest that never frees what it has of the host is replaced between two requests.
#[test]
fn a_leaking_process_is_replaced() {
    let servers = [
        guest("http03", "--workers 1 --expose-pid"),
        guest("http02", "--workers 1 --expose-pid --reuse"),
    ];
    for server in &servers {
        let mut client = server.client();
        let mut pids = BTreeSet::new();
        for count in 0..100 {
            let reply = client.get(&script("head&leak=1000&say=fine"));
            assert_eq!(
                (reply.status, &*reply.text()),
                (200, "fine"),
                "request {count}"
            );
            pids.insert(reply.pid());
        }
        assert!((2..50).contains(&pids.len()), "{pids:?}");
    }
}

/// Too many tasks are the failure of the process that started them. Whether its client has an
/// answer by then is open.
#[test]
fn too_many_tasks() {
    let server = guest("http03", "--workers 1..2 --request-timeout 2s");
    for steps in [
        "tasks=30000&head&say=done",
        "head&say=done&finish&tasks=30000",
        "tasks=500&head&say=done",
    ] {
        let status = server.get(&script(steps)).status;
        assert!(matches!(status, 200 | 502 | 504), "{steps}: {status}");
        assert_eq!(
            server.get(&script("head&say=fine")).text(),
            "fine",
            "{steps}"
        );
    }
}

/// Guests that compute keep nobody else from being served.
#[test]
fn others_are_served_meanwhile() {
    for (kind, server) in &both("--workers 3 --request-timeout 2s") {
        thread::scope(|scope| {
            let spinning = ["spin", "head&finish&spin"].map(|steps| {
                let mut client = server.send(&script(steps));
                scope.spawn(move || client.reply("GET").expect("a reply").status)
            });
            for _ in 0..20 {
                assert_eq!(
                    server.get(&script("head&say=fine")).text(),
                    "fine",
                    "{kind}"
                );
            }
            let statuses = spinning.map(|status| status.join().expect("a status"));
            assert_eq!(statuses, [504, 200], "{kind}");
        });
    }
}
