//! The crash drill: many clients send thousands of requests, and among them, at random, requests
//! for every way to fail. Exactly these requests fail, and the failures leave nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::door::Door;
use crate::support::server::guest;
use crate::support::{Client, Random, Reply, Server, eventually, seed};

const CLIENTS: usize = 64;
const REQUESTS: usize = 10_000;
const FAILING: usize = 200;
const WORKERS: usize = 8;

/// Clients of one connection, where requests of several can be on it at a time.
const CLIENTS_PER_CONNECTION: usize = 8;

/// The number of failing requests that spin. Each takes its whole deadline. The deadline is long,
/// so that no other request fails on a busy machine because it has too little time.
const SPINNING: usize = 16;

const SPIN: (&str, u16, &str) = ("/spin", 504, "deadline");

/// The other ways to fail, each with its status and its exit in the log.
const WAYS: [(&str, u16, &str); 6] = [
    ("/trap", 502, "trap"),
    ("/panic", 502, "trap"),
    ("/abort", 502, "trap"),
    ("/exit?code=7", 502, "code"),
    ("/stack", 502, "stack"),
    ("/oom", 502, "memory"),
];

/// The tolerated growth of resident memory after a second drill. A leak of one store, stack or
/// socket buffer for each failure would be 200 times 64 KiB or more, which is 13 MB. Smaller growth
/// is the allocator's: its arenas fill and empty differently each time.
const TOLERANCE_BYTES: u64 = 12 << 20;

/// A number of requests. Over other doors than HTTP/1 in the clear, it is a tenth.
fn of(number: usize) -> usize {
    match Door::chosen() {
        Door::Http1 => number,
        Door::Tls | Door::Http2 | Door::Unix => number / 10,
    }
}

#[derive(Clone, Copy)]
enum Ask {
    Ok,
    Echo(usize),
    Big(usize),
    Fail(&'static str, u16, &'static str),
}

#[test]
fn ten_thousand_requests_of_which_two_hundred_fail() {
    let _alone = super::alone();
    // The spinning requests bound the time in the line, so no request is refused.
    let flags = format!(
        "--workers {WORKERS} --queue 128 --queue-timeout 50s --request-timeout 5s --max-connections 1000 --memory 16MiB"
    );
    let server = guest("misbehave", &flags);
    let at_first = server.wait_living(WORKERS);
    let descriptors = server.descriptors();

    drill(&server);
    let after_one = server.memory("VmRSS");
    drill(&server);
    eventually("resident memory is as it was after one drill", || {
        (server.memory("VmRSS") < after_one + TOLERANCE_BYTES).then_some(())
    });
    let living = server.wait_living(WORKERS);
    assert!(
        living.is_disjoint(&at_first),
        "{WORKERS} new pids: {living:?}"
    );
    eventually("no descriptor is left open", || {
        // The host may have opened one of its own after the first count: for its control socket,
        // which it opens after it has said that it serves.
        (server.descriptors() <= descriptors + 1).then_some(())
    });
    assert_eq!(server.get("/ok").status, 200);
}

fn drill(server: &Server) {
    let plan = plan(&mut Random::new(seed()));

    let before = server.entries("request").len();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(BTreeMap::new());
    let one_after_the_other = |mut client: Client| {
        while let Some(ask) = plan.get(next.fetch_add(1, Ordering::Relaxed)) {
            let reply = perform(&mut client, *ask);
            if let Ask::Fail(_, _, exit) = ask {
                failed
                    .lock()
                    .expect("no client panicked")
                    .insert(reply.request_id(), *exit);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS / CLIENTS_PER_CONNECTION {
            for client in server.clients(CLIENTS_PER_CONNECTION) {
                scope.spawn(|| one_after_the_other(client));
            }
        }
    });
    let failed = failed.into_inner().expect("no client panicked");
    assert_eq!(failed.len(), FAILING);

    // The log agrees for each request: only these failed, each in its way.
    let entries = server
        .wait_entries("request", before + of(REQUESTS))
        .split_off(before);
    assert_eq!(entries.len(), of(REQUESTS));
    let mut ended = BTreeSet::new();
    for entry in &entries {
        let id = entry["id"].as_u64().expect("a request has an id");
        assert_eq!(entry["exit"].as_str(), failed.get(&id).copied(), "{entry}");
        if failed.contains_key(&id) {
            let pid = entry["pid"].as_u64().expect("a pid");
            assert!(ended.insert(pid), "{entry}: a process fails but once");
        }
    }
    let living = server.wait_living(WORKERS);
    assert!(living.is_disjoint(&ended), "those that failed are gone");
}

fn plan(random: &mut Random) -> Vec<Ask> {
    let mut plan: Vec<Ask> = (0..of(REQUESTS))
        .map(|number| match number {
            0..FAILING => {
                let other = WAYS[random.below(WAYS.len())];
                let (target, status, exit) = if number < of(SPINNING) { SPIN } else { other };
                Ask::Fail(target, status, exit)
            }
            _ if number % 3 == 0 => Ask::Echo(number),
            _ if number % 3 == 1 => Ask::Big(random.below(20_000)),
            _ => Ask::Ok,
        })
        .collect();
    random.shuffle(&mut plan);
    plan
}

/// Sends a request, and checks the answer byte for byte.
fn perform(client: &mut Client, ask: Ask) -> Reply {
    match ask {
        Ask::Ok => {
            let reply = client.get("/ok");
            assert_eq!((reply.status, reply.text().as_str()), (200, "ok\n"));
            reply
        }
        Ask::Echo(number) => {
            let body = format!("this is number {number}\n").repeat(1 + number % 50);
            let reply = client.request("POST", &format!("/echo?{number}"), &[], body.as_bytes());
            assert_eq!(reply.status, 200, "{reply:?}");
            let text = reply.text();
            assert!(
                text.starts_with(&format!("POST /echo?{number}\n")),
                "{text}"
            );
            assert!(text.ends_with(&format!("\n\n{body}")), "{text}");
            reply
        }
        Ask::Big(bytes) => {
            let reply = client.get(&format!("/big?bytes={bytes}"));
            assert_eq!(reply.status, 200, "{reply:?}");
            let expected = b"0123456789abcdef".repeat(bytes.div_ceil(16));
            assert!(
                reply.body == expected[..bytes],
                "{bytes} B came back as {} B",
                reply.body.len()
            );
            reply
        }
        Ask::Fail(target, status, _) => {
            let reply = client.get(target);
            assert_eq!(reply.status, status, "{target}: {reply:?}");
            reply
        }
    }
}
