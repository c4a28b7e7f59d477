//! Programs with many processes, many messages and many random kills. Idle processes cost no CPU
//! time, and processes that take all they can leave the others their share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::program::run;
use crate::support::scripts::{FOR_EVER, outcome, send, wait_print};
use crate::support::server::{guest, guest_over};
use crate::support::{Folder, Random, eventually, seed};

/// The processes of a crowd, the messages that each sends to the others at random, and the number
/// of kills meanwhile.
const MEMBERS: u64 = 100;
const MESSAGES: u64 = 6_500;
const KILLS: u64 = 20;

/// A large ring, with the flags and arguments from its README.
pub(crate) const RING_FLAGS: &str = "--max-processes 10001 --max-children 10000";
pub(crate) const RING_ARGS: &str = "10000 1000000";

/// The tolerated growth of resident memory after a second crowd: see the crash drill. A leak of one
/// memory for each process of a crowd would be more than 100 MiB.
const TOLERANCE_BYTES: u64 = 12 << 20;

#[test]
fn a_million_messages_among_a_hundred_processes_of_which_twenty_are_killed() {
    // Each crowd has half of the messages. So the second crowd shows a leak of the first.
    let server = guest("actor", &format!("{FOR_EVER} --max-processes 120"));
    let descriptors = server.descriptors();
    let mut memory = Vec::new();
    for _ in 0..2 {
        let seed = seed();
        let said = outcome(
            &server,
            &format!("crowd {seed} {MEMBERS} {MESSAGES} {KILLS}"),
        );
        let (well, received) = said.rsplit_once(' ').expect("a count");
        assert_eq!(
            well, "20 killed, 80 well: true, downs right: true, received",
            "{said}"
        );
        // Messages from killed processes add to this number, and messages to them are lost.
        let received: u64 = received.parse().expect("a count");
        assert!(received > MESSAGES * (MEMBERS - KILLS) * 3 / 4, "{said}");
        server.wait_living(1);
        memory.push(server.memory("VmRSS"));
    }
    assert!(
        memory[1] < memory[0] + TOLERANCE_BYTES,
        "resident memory: {memory:?} B"
    );
    let all = outcome(&server, "repeat 200 { spawn a { receive } }");
    assert_eq!(
        all, "119 ok, then too-many-processes",
        "nobody is left in the table"
    );
    eventually("no descriptor is left open", || {
        (server.descriptors() <= descriptors + 1).then_some(())
    });
}

#[test]
fn prefork_under_load_while_workers_crash() {
    const CLIENTS: usize = 16;
    const REQUESTS: usize = 3_000;
    const CRASHES: usize = 60;
    let folder = Folder::new()
        .file("small", "small")
        .file("large", "large".repeat(30_000));
    let server = guest_over("prefork", folder, FOR_EVER);
    let mut plan: Vec<&str> = (0..REQUESTS)
        .map(|nth| match nth {
            0..CRASHES => "/crash",
            _ if nth % 3 == 0 => "/who",
            _ if nth % 3 == 1 => "/small",
            _ => "/large",
        })
        .collect();
    Random::new(seed()).shuffle(&mut plan);
    let next = AtomicUsize::new(0);
    let lost = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = server.client();
                while let Some(target) = plan.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let reply = client.get(target);
                    match reply.status {
                        200 => match *target {
                            "/who" => assert!(reply.text().starts_with("process "), "{reply:?}"),
                            "/small" => assert_eq!(reply.text(), "small"),
                            "/large" => assert!(reply.text() == "large".repeat(30_000)),
                            other => panic!("{other} was answered: {reply:?}"),
                        },
                        502 => {
                            let id = reply.request_id();
                            lost.lock().expect("no client panicked").push((id, *target));
                        }
                        _ => panic!("{target}: {reply:?}"),
                    }
                }
            });
        }
    });
    // Only the requests of crashed workers are lost. Each crashed worker has lost its first
    // request, which made it crash.
    let lost = lost.into_inner().expect("no client panicked");
    let mut of_worker: BTreeMap<u64, usize> = BTreeMap::new();
    for (id, _) in &lost {
        let entry = server.wait_request(*id);
        assert_eq!(entry["exit"], "trap", "{entry}");
        *of_worker
            .entry(entry["pid"].as_u64().expect("a pid"))
            .or_default() += 1;
    }
    let crashed = server.wait_entries("process ended", of_worker.len());
    let crashed: BTreeSet<u64> = crashed
        .iter()
        .filter_map(|entry| entry["pid"].as_u64())
        .collect();
    assert_eq!(crashed, of_worker.keys().copied().collect());
    assert!(
        of_worker.values().all(|held| *held <= CLIENTS),
        "{of_worker:?}"
    );
    let asked_to = lost
        .iter()
        .filter(|(_, target)| *target == "/crash")
        .count();
    assert_eq!(asked_to, CRASHES, "nobody survives that");
    assert!(crashed.len() <= CRASHES);
    assert_eq!(
        server.wait_living(9).len(),
        9,
        "the listener and eight workers"
    );
    assert_eq!(server.get("/small").status, 200);
}

#[test]
fn ten_thousand_processes_and_a_million_messages() {
    let start = Instant::now();
    let args: Vec<&str> = RING_ARGS.split(' ').collect();
    let ended = run("ring", RING_FLAGS, &args);
    println!("in {:?}: {}", start.elapsed(), ended.output);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .output
            .starts_with("10000 processes passed the token 1000000 times in "),
        "{ended:?}"
    );
    assert_eq!(ended.errors, "");
    // The ring needs one process more than this limit.
    let ended = run(
        "ring",
        "--max-processes 10000 --max-children 10000",
        &["10000", "1"],
    );
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.errors.contains("too-many-processes"), "{ended:?}");
}

#[test]
fn a_mailbox_that_nobody_empties_is_bounded() {
    const MIB: u64 = 1 << 20;
    let server = guest(
        "actor",
        &format!("{FOR_EVER} --max-mailbox-bytes 32MiB --max-mailbox 1000000"),
    );
    let before = server.memory("VmHWM");
    let sleeps = "spawn a { pause 60000 }";
    let large = outcome(
        &server,
        &format!("{sleeps}; repeat 1000 {{ send a 1 x*1048576 }}"),
    );
    assert_eq!(large, "32 ok, then mailbox-full");
    let again = outcome(
        &server,
        "repeat 2000 { send a 1 x*1048576; expect mailbox-full }",
    );
    assert_eq!(again, "2000 ok");
    let grown = server.grown(before);
    // Room for the mailbox, for two processes and for one message in transit.
    assert!(grown < 32 * MIB + 32 * MIB, "the host took {grown} B");

    // Small messages cost more memory than their size, so their number is bounded, too.
    let server = guest("actor", &format!("{FOR_EVER} --max-mailbox 100000"));
    let before = server.memory("VmHWM");
    let small = outcome(
        &server,
        &format!("{sleeps}; repeat 1000000 {{ send a 1 x*0 }}"),
    );
    assert_eq!(small, "100000 ok, then mailbox-full");
    let grown = server.grown(before);
    assert!(grown < 64 * MIB, "the host took {grown} B");
}

#[test]
fn processes_that_wait_cost_no_processor_time() {
    let server = guest(
        "actor",
        &format!("{FOR_EVER} --max-processes 1100 --log-level info"),
    );
    let waits = [
        "receive",
        "receive-from parent",
        "receive-timeout 600000",
        "pause 600000",
    ];
    let spawned: Vec<String> = waits
        .iter()
        .map(|wait| format!("repeat 250 {{ spawn a {{ {wait} }} }}"))
        .collect();
    assert_eq!(outcome(&server, &spawned.join("; ")), "250 ok");
    // If the host is idle for a while, all processes have begun to wait.
    const WHILE: Duration = Duration::from_millis(500);
    eventually("the host rests", || {
        let before = server.processor_ticks();
        std::thread::sleep(WHILE);
        // A twentieth of one core. A thousand processes that poll would use both cores fully.
        (server.processor_ticks() - before <= 2).then_some(())
    });
    assert_eq!(outcome(&server, "whereis nobody"), "nobody");
}

#[test]
fn those_who_loop_leave_the_others_their_turn() {
    let spinners = std::thread::available_parallelism().map_or(1, usize::from) + 1;
    let server = guest("actor", FOR_EVER);
    let spins = format!("repeat {spinners} {{ spawn s {{ register s; spin }} }}; there s");
    assert_eq!(outcome(&server, &spins), "ok");
    // Two processes play ping-pong, and clients send requests to the root.
    let mut game = send(
        &server,
        "spawn pong { forever { receive; reply pong } }; spawn ping { receive; repeat 200 { call pong ping 60000; expect pong }; respond client 200 over }; forward ping; print begun",
    );
    wait_print(&server, "begun");
    let mut client = server.client();
    for _ in 0..50 {
        assert_eq!(client.request("POST", "/", &[], b"answer").status, 200);
    }
    assert_eq!(game.reply("POST").expect("a reply").text(), "over");
    // All processes still live except `ping`, which is done.
    server.wait_living(1 + spinners + 1);
}

#[test]
fn those_who_loop_get_their_share() {
    let workers = 2 * std::thread::available_parallelism().map_or(1, usize::from) + 1;
    let server = guest("actor", FOR_EVER);
    let works = format!(
        "repeat {workers} {{ spawn w {{ register w; receive-from parent; work 1500; tell }}; send w 1 x }}"
    );
    let count = || {
        let said = outcome(&server, "receive");
        let count = said
            .rsplit_once(' ')
            .and_then(|(_, count)| count.parse().ok());
        count.unwrap_or_else(|| panic!("no count: {said}"))
    };
    // Other work on the machine may slow down some cores. So the shares must be right in at least
    // one attempt.
    eventually("all get their share", || {
        assert_eq!(outcome(&server, &works), format!("{workers} ok"));
        let counts: Vec<u64> = (0..workers).map(|_| count()).collect();
        let share = counts.iter().sum::<u64>() / workers as u64;
        counts.iter().all(|count| *count > share / 10).then_some(())
    });
}
