//! Messages between processes of two hosts: in order, each at most once, and nothing is lost
//! without a word to those who asked.

use std::thread;

use rustix::process::Signal;

use super::{Cluster, HASTY, Host};
use crate::support::cable::Cable;
use crate::support::eventually;
use crate::support::scripts::{FOR_EVER, outcome, send};

/// The most that a host may grow: some windows of 4 MiB, a mailbox of 8 MiB, the memory of a guest,
/// and what the allocator keeps of each.
const ROOM: u64 = 96 << 20;

/// Two hosts whose root processes run scripts, and call each other `other`.
fn two(cluster: &Cluster, flags: &str) -> [Host; 2] {
    let flags = format!("{FOR_EVER} {flags}");
    let hosts = [(); 2].map(|()| cluster.both("actor", &flags));
    acquaint(&hosts);
    hosts
}

/// Waits until both know the root process of the other one.
fn acquaint(hosts: &[Host; 2]) {
    let [first, second] = hosts;
    for (host, other) in [(first, second), (second, first)] {
        eventually("it knows the other root process", || {
            let script = format!("root other {}", other.number);
            (outcome(host, &script) == "ok").then_some(())
        });
    }
}

/// Starts a process on `second` that both call `c`.
fn child(first: &Host, second: &Host, script: &str) {
    let number = outcome(second, &format!("spawn c {{ {script} }}; number c"));
    assert_eq!(outcome(first, &format!("call-it c {number}")), "ok");
}

/// Has the root process of this host monitor a process of another host. Where hosts are lost soon,
/// a busy machine makes one of them lost for a moment, and the other one tries again.
fn monitors(host: &Host, name: &str) {
    eventually("it monitors", || {
        (outcome(host, &format!("monitor {name}")) == "ok").then_some(())
    });
}

#[test]
fn messages_reach_another_host() {
    let cluster = Cluster::new("");
    let [first, second] = two(&cluster, "");
    let sent = "send other 1 a; send other 2 b; send-wait other 3 c 60000";
    assert_eq!(outcome(&first, sent), "ok");
    for expected in ["other 1 a", "other 2 b", "other 3 c"] {
        assert_eq!(outcome(&second, "receive"), expected);
    }
    // Larger than a frame, and larger than any message may be.
    for size in [131_071, 131_072, 131_073, 1_000_000] {
        assert_eq!(outcome(&first, &format!("send other 7 x*{size}")), "ok");
        assert_eq!(outcome(&second, "receive"), format!("other 7 x*{size}"));
    }
    assert_eq!(outcome(&first, "send other 1 x*20000000"), "too-large");
    // The answer goes to the pid that the message came from.
    assert_eq!(outcome(&first, "send other 8 there"), "ok");
    assert_eq!(outcome(&second, "receive; send sender 9 back"), "ok");
    assert_eq!(outcome(&first, "receive"), "other 9 back");
}

#[test]
fn messages_keep_their_order() {
    const MESSAGES: u64 = 1_000_000;
    let cluster = Cluster::new("");
    let [first, second] = two(&cluster, "");
    let mut receiver = send(&second, &format!("counted {MESSAGES}; answer"));
    assert_eq!(outcome(&first, &format!("count-to other {MESSAGES}")), "ok");
    let reply = receiver.reply("POST").expect("a reply");
    assert_eq!(reply.text().trim(), "in order");
}

#[test]
fn a_call_is_answered_from_another_host() {
    let cluster = Cluster::new("");
    let [first, second] = two(&cluster, "");
    child(&first, &second, "forever { receive; reply y }");
    for _ in 0..3 {
        assert_eq!(outcome(&first, "call c x 60000"), "y");
    }
    assert_eq!(outcome(&first, "call c x*1000000 60000"), "y");
    // It does not reply to this one, and ends.
    child(&first, &second, "receive");
    assert_eq!(outcome(&first, "call c x 60000"), "no-process");
    assert_eq!(outcome(&first, "call c x 60000"), "no-process");
    child(&first, &second, "pause 600000");
    assert_eq!(outcome(&first, "call c x 20"), "timed-out");
    assert_eq!(outcome(&first, "send-wait c 1 x 20"), "timed-out");
}

#[test]
fn what_is_sent_to_an_ended_process_is_told_later() {
    let cluster = Cluster::new("");
    let [first, second] = two(&cluster, "");
    child(&first, &second, "receive");
    assert_eq!(outcome(&first, "monitor c"), "ok");
    assert_eq!(outcome(&first, "monitor c"), "ok");
    assert_eq!(outcome(&first, "send-wait c 1 x 60000"), "ok");
    assert_eq!(outcome(&first, "receive"), "c is down: normal");
    assert_eq!(outcome(&first, "try-receive"), "nothing");
    assert_eq!(outcome(&first, "send c 1 x"), "ok", "it is on its way");
    eventually("the fate of the first one is known", || {
        (outcome(&first, "send c 1 x") == "no-process").then_some(())
    });
    assert_eq!(outcome(&first, "send-wait c 1 x 60000"), "no-process");
    assert_eq!(outcome(&first, "monitor c"), "no-process");
    assert_eq!(outcome(&first, "receive-from c"), "no-process");
    assert_eq!(outcome(&first, "kill other"), "no-process");
}

#[test]
fn the_news_of_an_end_comes_behind_all_messages() {
    let cluster = Cluster::new("");
    let [first, second] = two(&cluster, "");
    let number = outcome(&first, "pid");
    let script = format!("receive; send {number} 1 a; send {number} 2 b; exit 3");
    child(&first, &second, &script);
    assert_eq!(outcome(&first, "monitor c; send c 1 go"), "ok");
    for expected in ["c 1 a", "c 2 b", "c is down: code 3"] {
        assert_eq!(outcome(&first, "receive"), expected);
    }
}

#[test]
fn a_full_mailbox_on_another_host_is_told() {
    let cluster = Cluster::new("");
    let [first, second] = two(&cluster, "--max-mailbox 4");
    child(&first, &second, "pause 600000");
    eventually("it is full", || {
        (outcome(&first, "send c 1 x") == "mailbox-full").then_some(())
    });
}

/// What is on its way and what waits is bounded, whatever a process does.
#[test]
fn a_receiver_that_sleeps_costs_no_memory() {
    let cluster = Cluster::new("");
    let hosts = two(&cluster, "");
    let [first, second] = &hosts;
    child(first, second, "pause 600000");
    let before = hosts.each_ref().map(|host| host.memory("VmHWM"));
    let taken = outcome(first, "flood c 1000 x*1000000");
    assert!(
        taken.ends_with(" taken") && taken != "1000 taken",
        "{taken}"
    );
    for (host, before) in hosts.iter().zip(before) {
        assert!(host.grown(before) < ROOM, "{}", host.grown(before));
    }
}

#[test]
fn who_asks_and_is_killed_leaves_nothing_behind() {
    const SLOW: u64 = 1_000_000;
    let cluster = Cluster::new("");
    let cable = Cable::to(cluster.nats.address());
    let near = cluster.behind(&cable, "actor", FOR_EVER);
    let hosts = [near, cluster.both("actor", FOR_EVER)];
    acquaint(&hosts);
    let [near, far] = &hosts;
    child(near, far, "pause 600000");
    cable.slow(SLOW);
    let before = near.memory("VmHWM");
    let asks = "spawn w { send-wait c 1 x*1000000 60000 }; pause 5; kill w";
    assert_eq!(outcome(near, &format!("repeat 200 {{ {asks} }}")), "200 ok");
    assert!(near.grown(before) < ROOM, "{}", near.grown(before));
}

/// The called process hears that nobody waits for its reply, some beats after the caller's end.
#[test]
fn the_call_of_a_killed_process_is_withdrawn() {
    let cluster = Cluster::new("");
    let [first, second] = two(&cluster, "");
    let mut pause = 0;
    eventually("the reply is refused", || {
        pause += 100;
        let script = "receive; tell; receive-from parent; reply-before y; tell";
        child(&first, &second, script);
        assert_eq!(outcome(&first, "spawn w { call c x 600000 }"), "ok");
        let called = outcome(&second, "receive-from c");
        assert_eq!(called, "c: somebody calls: x");
        assert_eq!(outcome(&first, "kill w"), "ok");
        let replied = format!("pause {pause}; send c 0 go; receive-from c");
        (outcome(&second, &replied) == "c: no-process").then_some(())
    });
}

#[test]
fn hosts_have_their_roots() {
    let cluster = Cluster::new("");
    let [first, second] = two(&cluster, "--name one");
    let listed = format!("{} one self, {} one other", first.number, second.number);
    assert_eq!(outcome(&first, "hosts"), listed);
    let front = cluster.front("--name two");
    first.wait_there(&[&front]);
    let listed = format!("{listed}, {} two no root", front.number);
    assert_eq!(outcome(&first, "hosts"), listed);
}

#[test]
fn a_killed_host_is_told_to_all_who_wait() {
    let cluster = Cluster::new(HASTY);
    let [first, second] = two(&cluster, "");
    child(&first, &second, "pause 600000");
    monitors(&first, "c");
    // One process waits for a reply, one until its message is taken, and one for a message.
    let number = outcome(&first, "number c");
    let waits = ["call c x 60000", "send-wait c 1 x 60000", "receive-from c"].map(|wait| {
        let script = format!("spawn w {{ call-it c {number}; {wait}; tell }}");
        assert_eq!(outcome(&first, &script), "ok");
        outcome(&first, "number w")
    });
    assert_eq!(waits.len(), 3);
    second.signal(Signal::KILL);
    let mut told: Vec<String> = (0..4).map(|_| outcome(&first, "receive")).collect();
    told.sort_by_key(|text| !text.contains("is down"));
    assert_eq!(told[0], "c is down: host-lost");
    for text in &told[1..] {
        assert!(text.ends_with(": unreachable"), "{told:?}");
    }
    assert_eq!(outcome(&first, "send c 1 x"), "unreachable");
    assert_eq!(outcome(&first, "monitor c"), "unreachable");
    assert_eq!(outcome(&first, "hosts").matches(',').count(), 0);
    assert_eq!(
        outcome(&first, "try-receive"),
        "nothing",
        "each was told once"
    );
}

#[test]
fn a_host_that_stops_tells_of_its_processes() {
    let cluster = Cluster::new("");
    let [first, mut second] = two(&cluster, "");
    child(&first, &second, "pause 600000");
    assert_eq!(outcome(&first, "monitor c"), "ok");
    second.signal(Signal::TERM);
    second.wait_exit();
    assert_eq!(outcome(&first, "receive"), "c is down: killed");
    eventually("it is known that the host has left", || {
        (outcome(&first, "send c 1 x") == "no-process").then_some(())
    });
}

#[test]
fn a_cut_is_told_once_and_then_messages_come_again() {
    let cluster = Cluster::new(HASTY);
    let cable = Cable::to(cluster.nats.address());
    let near = cluster.both("actor", FOR_EVER);
    let hosts = [near, cluster.behind(&cable, "actor", FOR_EVER)];
    acquaint(&hosts);
    let [near, far] = &hosts;
    for host in &hosts {
        monitors(host, "other");
    }
    cable.cut();
    thread::scope(|scope| {
        for host in &hosts {
            scope.spawn(move || assert_eq!(outcome(host, "receive"), "other is down: host-lost"));
        }
    });
    assert_eq!(outcome(far, "send other 1 lost"), "unreachable");
    cable.heal();
    for (host, other) in [(near, far), (far, near)] {
        eventually("messages come again", || {
            (outcome(host, "send-wait other 1 x 60000") == "ok").then_some(())
        });
        assert_eq!(outcome(other, "receive"), "other 1 x");
    }
    monitors(near, "other");
}

#[test]
fn a_restarted_server_doubles_nothing() {
    let mut cluster = Cluster::new(HASTY);
    let [first, second] = two(&cluster, "");
    assert_eq!(outcome(&first, "send-wait other 1 x 60000"), "ok");
    cluster.nats.kill();
    cluster.nats.restart();
    eventually("messages come again", || {
        (outcome(&first, "send-wait other 2 y 60000") == "ok").then_some(())
    });
    assert_eq!(outcome(&second, "receive"), "other 1 x");
    // What was on its way when the server ended may have been taken: once at most for each try.
    assert_eq!(outcome(&second, "receive"), "other 2 y");
}

/// One process sends without end to one on another host, and whatever can break does.
#[test]
fn nothing_comes_twice_or_late_and_each_gap_is_told() {
    const TIMES: usize = 3;
    let mut cluster = Cluster::new(HASTY);
    let cable = Cable::to(cluster.nats.address());
    let flags = format!("{FOR_EVER} --max-mailbox 65536");
    let near = cluster.both("actor", &flags);
    let hosts = [near, cluster.behind(&cable, "actor", &flags)];
    acquaint(&hosts);
    let [near, far] = &hosts;
    let judge = outcome(far, "spawn j { judge; tell }; number j");
    let streams = format!("call-it j {judge}; spawn s {{ stream j }}");
    assert_eq!(outcome(near, &streams), "ok");
    let passes = || {
        eventually("messages come again", || {
            (outcome(near, "send-wait other 0 x 60000") == "ok").then_some(())
        });
    };
    for time in 1..=TIMES {
        cable.cut();
        for host in &hosts {
            host.wait_entries("host is lost", time);
        }
        cable.heal();
        for host in &hosts {
            host.wait_entries("host is there", 1 + time);
        }
        passes();
    }
    for _ in 0..TIMES {
        cable.close();
        passes();
    }
    for _ in 0..TIMES {
        cluster.nats.kill();
        cluster.nats.restart();
        passes();
    }
    assert_eq!(outcome(near, "kill s"), "ok");
    let verdict = outcome(far, "receive-from j");
    assert!(verdict.starts_with("j: in order, "), "{verdict}");
    assert!(!verdict.contains(" 0 losses"), "{verdict}");
}
