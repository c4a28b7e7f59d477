//! What was given up, refused or lost: it is executed with its whole body or not at all, ends on
//! both hosts, and no number is given twice.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::hosts::hosts;
use super::{Cluster, HASTY, Host, MARGIN, in_chunks, wait_answered_by, wait_running};
use crate::support::cable::Cable;
use crate::support::server::{SHORT_QUEUE, serve};
use crate::support::{Folder, eventually, pattern};

/// A deadline that no test reaches.
const FOR_EVER: &str = "--request-timeout 600s";

/// Another host takes the request, has no process for it in time, and refuses it. Its body can be
/// sent only once, so none of it is sent before a process reads it.
#[test]
fn a_body_survives_a_refusal() {
    const SIZE: usize = 150_000;
    for name in ["http02", "http03", "commander"] {
        let cluster = Cluster::new(&format!("{FOR_EVER} --admin 0"));
        let first = cluster.both(name, "--workers 1 --queue-timeout 600s");
        let second = cluster.both(name, "--workers 2 --queue-timeout 300ms");
        first.wait_there(&[&second]);
        second.wait_there(&[&first]);
        let asleep = "/do?head&say=begun&sleep=600000";
        let _busy = [second.send(asleep), second.send(asleep)];
        wait_running(&[&second], 2);
        let runs = first.send(asleep);
        wait_running(&[&first], 1);
        // With one in its line, the first host is busier than the second.
        let waits = first.send(asleep);
        eventually("one waits", || {
            let list = hosts(&first, &cluster);
            let own = list.iter().find(|entry| entry["number"] == first.number);
            own.filter(|entry| entry["waiting"] == 1).map(|_| ())
        });

        let refused = || first.metric("requests_total{to=\"refused\"}");
        let before = refused();
        let body = pattern(SIZE);
        let mut client = first.client();
        client.send_meanwhile(in_chunks("/do?head&echo", &body, 10_000));
        eventually("the second host refuses it", || {
            (refused() > before).then_some(())
        });
        runs.reset();
        first.wait_entries("process ended", 1);
        waits.reset();
        let reply = client.reply("POST").expect("a reply");
        match reply.status {
            200 => assert!(reply.body == body, "{name}: {} bytes", reply.body.len()),
            status => assert_eq!(status, 503, "{name}"),
        }
    }
}

/// A front's word that nobody wants a response any more is lost with its connection. The front
/// asks for the exchange no more, so the worker ends it by itself.
#[test]
fn what_was_cancelled_ends_although_the_word_is_lost() {
    /// How soon, with the default of `--lost-after`.
    const FORGOTTEN_AFTER: Duration = Duration::from_secs(6);
    let cluster = Cluster::new("--grace 600s");
    let cable = Cable::to(cluster.nats.address());
    let flags = cluster.over(&cable, "--role front");
    let front = Host::joined(serve(Folder::new(), &flags));
    let folder = Folder::new().sparse("big", 256 << 20);
    let mut worker = cluster.guest_over("misbehave", folder, &format!("--workers 2 {FOR_EVER}"));
    front.wait_there(&[&worker]);
    let idle = front.descriptors();
    let running = front.send("/slow?ms=600000");
    wait_running(&[&worker], 1);
    let mut download = front.send("/file?path=big");
    assert_eq!(download.head().expect("a head").status, 200);
    cable.cut();
    running.reset();
    download.reset();
    front.wait_entry("request", |entry| entry["exit"] == "client-left");
    eventually("both clients are gone", || {
        (front.descriptors() <= idle).then_some(())
    });
    // What was on its way is gone.
    cable.close();
    let healed = Instant::now();
    cable.heal();

    let ended = &worker.wait_entries("process ended", 1)[0];
    assert_eq!(ended["exit"], "client-left", "{ended}");
    // A worker that stops waits for what it sends.
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait_exit().code(), Some(0));
    assert!(healed.elapsed() < FORGOTTEN_AFTER + MARGIN);
}

/// NATS says that nobody hears at a host before its silence does.
#[test]
fn the_requests_of_a_host_end_when_nobody_hears_there() {
    // Silence says nothing for as long as this test may take.
    let cluster = Cluster::new(&format!("--lost-after 60s {SHORT_QUEUE} {FOR_EVER}"));
    let first = cluster.both("misbehave", "--workers 2");
    let mut second = cluster.both("misbehave", "--workers 1");
    first.wait_there(&[&second]);
    second.wait_there(&[&first]);
    let _own = second.send("/slow?ms=600000");
    wait_running(&[&second], 1);
    let _there = second.send("/slow?ms=600000");
    wait_running(&[&first], 1);
    let _busy = first.send("/slow?ms=600000");
    wait_running(&[&first], 2);

    let killed = Instant::now();
    second.signal(Signal::KILL);
    second.wait_exit();
    // The first host is full, and so it asks the second. It may have room again by then.
    let reply = first.get("/ok");
    assert!([200, 503].contains(&reply.status), "{reply:?}");
    first.wait_told("host is lost", &second);
    let ended = &first.wait_entries("process ended", 1)[0];
    assert_eq!(ended["exit"], "client-left", "{ended}");
    wait_running(&[&first], 1);
    assert!(killed.elapsed() < MARGIN, "{:?}", killed.elapsed());
}

/// A counter that begins anew goes on behind the hosts that are there.
#[test]
fn no_number_is_given_twice_although_the_counter_is_lost() {
    let mut cluster = Cluster::new(HASTY);
    let front = cluster.front("");
    let worker = cluster.worker("misbehave", "--workers 1");
    front.wait_there(&[&worker]);
    cluster.nats.kill();
    for host in [&front, &worker] {
        host.wait_entries("cut off from the cluster", 1);
    }
    cluster.nats.forget();
    cluster.nats.restart();
    for host in [&front, &worker] {
        host.wait_entries("the cluster is back", 1);
    }
    let joined = [(); 2].map(|()| cluster.worker("misbehave", "--workers 1"));
    let mut numbers = [&front, &worker, &joined[0], &joined[1]].map(|host| host.number);
    numbers.sort_unstable();
    let is_given_once = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(is_given_once, "{numbers:?}");
    front.wait_there(&[&joined[0], &joined[1]]);
    wait_answered_by(&front, &[&worker, &joined[0], &joined[1]]);
}
