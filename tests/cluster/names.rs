//! Names of the cluster: each has one process at every moment, on whatever host.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::{Cluster, HASTY, Host};
use crate::support::cable::Cable;
use crate::support::eventually;
use crate::support::scripts::{FOR_EVER, outcome};

/// Names are any text.
const NAMES: [&str; 8] = ["a", "b", "it", "x*255", "*", ">", "a.b", "ü"];

fn hosts<const COUNT: usize>(cluster: &Cluster) -> [Host; COUNT] {
    let hosts = [(); COUNT].map(|()| cluster.both("actor", FOR_EVER));
    for host in &hosts {
        host.wait_there(
            &hosts
                .iter()
                .filter(|other| other.number != host.number)
                .collect::<Vec<_>>(),
        );
    }
    hosts
}

#[test]
fn of_three_who_ask_one_gets_the_name() {
    let cluster = Cluster::new("");
    let hosts = hosts::<3>(&cluster);
    for name in NAMES {
        let outcomes = thread::scope(|scope| {
            let claims = hosts
                .each_ref()
                .map(|host| scope.spawn(move || outcome(host, &format!("claim {name}"))));
            claims.map(|claim| claim.join().expect("an outcome"))
        });
        let holders = outcomes.iter().filter(|outcome| *outcome == "ok").count();
        let taken = outcomes.iter().filter(|outcome| *outcome == "name-taken");
        assert_eq!((holders, taken.count()), (1, 2), "{name}: {outcomes:?}");
    }
}

#[test]
fn a_name_is_found_and_given_back() {
    let cluster = Cluster::new("");
    let [first, second] = hosts::<2>(&cluster);
    assert_eq!(outcome(&second, "holder it"), "nobody");
    assert_eq!(outcome(&first, "claim it; holder it"), "self");
    assert_eq!(outcome(&second, "holder it"), "somebody");
    assert_eq!(outcome(&second, "claim it"), "name-taken");
    assert_eq!(outcome(&second, "release it"), "not-yours");
    assert_eq!(outcome(&first, "release it; holder it"), "nobody");
    assert_eq!(outcome(&second, "claim it"), "ok");
    // The name of a process that has ended is free at once, on its host and soon on others.
    let script =
        "spawn c { claim mine; tell; receive }; receive; monitor c; kill c; receive; claim mine";
    assert_eq!(outcome(&first, script), "ok");
    assert_eq!(outcome(&first, "release mine"), "ok");
    assert_eq!(outcome(&second, "claim mine"), "ok");
}

/// Each host asks for each name, looks whether it has it, and gives it back. The test's clock tells
/// when a host certainly had a name: from the end of the call that gave it to the beginning of the
/// call that gave it back.
#[test]
fn a_name_has_one_holder_at_most_at_every_moment() {
    const TIMES: usize = 3;
    const COUNT: usize = 100;
    let cluster = Cluster::new("");
    let hosts = hosts::<3>(&cluster);
    let hold = |host: &Host, name: usize| {
        let claimed = outcome(host, &format!("claim {name}"));
        if claimed == "name-taken" {
            return None;
        }
        let start = Instant::now();
        assert_eq!(claimed, "ok");
        assert_eq!(outcome(host, &format!("holder {name}")), "self");
        let end = Instant::now();
        assert_eq!(outcome(host, &format!("release {name}")), "ok");
        Some((name, start, end))
    };
    let of_host = |host: &Host| {
        let names = (0..TIMES).flat_map(|_| 0..COUNT);
        names
            .filter_map(|name| hold(host, name))
            .collect::<Vec<_>>()
    };
    let mut held: Vec<_> = thread::scope(|scope| {
        let of_hosts = hosts
            .each_ref()
            .map(|host| scope.spawn(move || of_host(host)));
        let of_hosts = of_hosts.map(|of_host| of_host.join().expect("its times"));
        of_hosts.into_iter().flatten().collect()
    });
    held.sort_unstable();
    for pair in held.windows(2) {
        let [(name, _, end), (next, start, _)] = pair else {
            panic!("two");
        };
        assert!(name != next || end <= start, "{name} had two holders");
    }
    held.dedup_by_key(|(name, ..)| *name);
    assert_eq!(held.len(), COUNT, "somebody has had each");
}

#[test]
fn names_and_monitors_are_bounded() {
    let cluster = Cluster::new("--max-names 2 --max-mailbox 2");
    let [first, second] = hosts::<2>(&cluster);
    assert_eq!(outcome(&first, "claim a"), "ok");
    assert_eq!(outcome(&first, "claim b"), "ok");
    assert_eq!(outcome(&first, "claim c"), "too-many-names");
    assert_eq!(outcome(&first, "claim b"), "ok", "it has this one");
    assert_eq!(outcome(&first, "register a"), "ok", "counted apart");
    assert_eq!(outcome(&first, "release a"), "ok");
    assert_eq!(outcome(&first, "claim c"), "ok");
    assert_eq!(outcome(&second, "claim a"), "ok", "each host has as many");

    let spawned = |name: &str| {
        let script = format!("spawn {name} {{ receive }}; number {name}");
        outcome(&second, &script)
    };
    let [a, b, c] = ["a", "b", "c"].map(spawned);
    let known = format!("call-it a {a}; call-it b {b}; call-it c {c}");
    let asked = "monitor a; monitor b; monitor c; tell";
    let script = format!("{known}; spawn w {{ {asked} }}; receive-from w");
    assert_eq!(outcome(&first, &script), "w: too-many-monitors");
}

#[test]
fn who_was_frozen_has_lost_its_name() {
    let cluster = Cluster::new("");
    let [near, far] = hosts::<2>(&cluster);
    let spawned = "spawn c { claim it; tell; forever { receive } }; receive-from c";
    assert_eq!(outcome(&far, spawned), "c: ok");
    assert_eq!(outcome(&far, "monitor c"), "ok");
    far.freeze();
    eventually("another one has the name", || {
        (outcome(&near, "claim it") == "ok").then_some(())
    });
    far.signal(Signal::CONT);
    assert_eq!(outcome(&far, "receive"), "c is down: killed");
    eventually("it knows who has the name", || {
        (outcome(&far, "claim it") == "name-taken").then_some(())
    });
    assert_eq!(outcome(&near, "holder it"), "self");
}

#[test]
fn the_names_of_a_host_that_stops_are_free_at_once() {
    let lease = Duration::from_secs(60);
    let cluster = Cluster::new("--lost-after 60s");
    let [first, mut second] = hosts::<2>(&cluster);
    assert_eq!(outcome(&second, "claim it"), "ok");
    let start = Instant::now();
    second.signal(Signal::TERM);
    second.wait_exit();
    assert_eq!(outcome(&first, "claim it"), "ok");
    assert!(start.elapsed() < lease);
}

#[test]
fn a_name_is_kept_for_longer_than_a_lease() {
    let cluster = Cluster::new("");
    let [first, second] = hosts::<2>(&cluster);
    assert_eq!(outcome(&first, "claim it"), "ok");
    // The name of another host expires meanwhile, a lease after that host was killed.
    assert_eq!(outcome(&second, "claim other"), "ok");
    second.signal(Signal::KILL);
    eventually("the name of the lost host is free", || {
        (outcome(&first, "claim other") == "ok").then_some(())
    });
    assert_eq!(outcome(&first, "holder it"), "self");
    assert!(first.entries("process ended").is_empty());
}

/// The hosts' logs tell when: this test's own threads may be late.
#[test]
fn who_is_cut_off_has_lost_its_name_before_another_has_it() {
    let cluster = Cluster::new("");
    let cable = Cable::to(cluster.nats.address());
    let near = cluster.both("actor", FOR_EVER);
    let far = cluster.behind(&cable, "actor", FOR_EVER);
    near.wait_there(&[&far]);
    let spawned = "spawn c { claim it; tell; forever { receive } }; receive-from c";
    assert_eq!(outcome(&far, spawned), "c: ok");
    let holder = outcome(&far, "number c").parse().expect("a pid");
    assert_eq!(outcome(&near, "claim it"), "name-taken");
    assert_eq!(outcome(&far, "monitor c"), "ok");
    cable.cut();
    let mut claims = 1;
    eventually("another one has the name", || {
        claims += 1;
        (outcome(&near, "claim it") == "ok").then_some(())
    });
    assert_eq!(outcome(&far, "receive"), "c is down: killed");
    // All have the same form, so they are ordered as text.
    let time = |entry: &Value| entry["timestamp"].as_str().expect("a time").to_owned();
    let claimed = near.wait_entries("request", claims);
    let claimed = claimed.iter().map(time).max().expect("the last claim");
    let ended = time(&far.wait_end(holder));
    assert!(ended < claimed, "ended at {ended}, claimed by {claimed}");
    assert_eq!(outcome(&far, "claim more"), "unreachable");
    cable.heal();
    eventually("it can ask again", || {
        (outcome(&far, "claim it") == "name-taken").then_some(())
    });
}

#[test]
fn a_singleton_moves_when_its_host_is_killed() {
    let cluster = Cluster::new(HASTY);
    let hosts = [(); 3].map(|()| cluster.both("singleton", ""));
    let counter = |host: &Host| {
        eventually("it counts", || {
            let reply = host.get("/");
            let text = reply.text();
            let number = text.trim().rsplit_once("host ")?.1.parse::<u64>().ok()?;
            (reply.status == 200).then_some(number)
        })
    };
    let first = counter(&hosts[0]);
    for host in &hosts {
        assert_eq!(counter(host), first, "all hosts have the same one");
    }
    let (lost, left): (Vec<_>, Vec<_>) = hosts.iter().partition(|host| host.number == first);
    assert_eq!((lost.len(), left.len()), (1, 2));
    lost[0].signal(Signal::KILL);
    let second = eventually("it has moved", || {
        let number = counter(left[0]);
        (number != first).then_some(number)
    });
    assert_eq!(counter(left[1]), second);
}
