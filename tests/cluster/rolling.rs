//! Hosts that are replaced one after the other, under load: nobody loses a request.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use super::hosts::hosts;
use super::{Cluster, Host, answerer, wait_running};
use crate::support::{eventually, meanwhile};

const CLIENTS: usize = 64;
const REQUESTS: usize = 20_000;

#[test]
fn every_host_is_replaced_and_no_request_is_lost() {
    let cluster = Cluster::new("--queue-timeout 100s --request-timeout 100s");
    let front = cluster.front("");
    let start = || cluster.worker("misbehave", "--workers 4 --grace 100s");
    let mut workers = [(); 3].map(|()| start());
    front.wait_there(&workers.each_ref());
    let answered = AtomicUsize::new(0);
    let client = |goes_on: &dyn Fn() -> bool| {
        let mut client = front.client();
        while goes_on() {
            for (method, target) in [("GET", "/ok"), ("POST", "/ok"), ("POST", "/slow?ms=20")] {
                let reply = client.request(method, target, &[], b"");
                assert_eq!(reply.status, 200, "{method} {target}: {reply:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let wait_more = |count: usize| {
        let goal = (answered.load(Ordering::Relaxed) + count).min(REQUESTS);
        eventually("requests are answered", || {
            (answered.load(Ordering::Relaxed) >= goal).then_some(())
        });
    };
    meanwhile(CLIENTS, client, || {
        for worker in &mut workers {
            wait_more(REQUESTS / 10);
            worker.signal(Signal::TERM);
            assert_eq!(worker.wait_exit().code(), Some(0));
            front.wait_told("host has left", worker);
            assert!(worker.living().is_empty(), "every process has ended");
            // Those that are left have had everything meanwhile, as in the guide.
            *worker = start();
            front.wait_there(&[&*worker]);
        }
        wait_more(REQUESTS);
    });
    assert!(answered.into_inner() >= REQUESTS);
    for entry in front.entries("request") {
        assert_eq!(entry["status"], 200, "{entry}");
    }
    assert!(front.entries("host is lost").is_empty());
}

/// The front stays reachable while it drains, as any host does.
#[test]
fn a_front_drains_too() {
    let cluster = Cluster::new("--grace 100s");
    let mut front = cluster.front("");
    let worker = cluster.worker("misbehave", "--workers 2");
    front.wait_there(&[&worker]);
    let mut running = front.send("/slow?ms=3000");
    wait_running(&[&worker], 1);
    front.signal(Signal::TERM);
    let reply = running.reply("GET").expect("a reply");
    assert_eq!(answerer(&reply), worker.number);
    assert_eq!(front.wait_exit().code(), Some(0));
    worker.wait_told("host has left", &front);
}

#[test]
fn a_draining_host_gets_nothing_new() {
    let cluster = Cluster::new("--grace 100s");
    let front = cluster.front("");
    let mut draining = cluster.worker("misbehave", "--workers 2");
    front.wait_there(&[&draining]);
    let mut running = front.send("/slow?ms=6000");
    wait_running(&[&draining], 1);
    let other = cluster.worker("misbehave", "--workers 2");
    front.wait_there(&[&other]);
    draining.signal(Signal::TERM);
    let is_draining = |host: &Host| {
        let list = hosts(host, &cluster);
        let entry = list
            .into_iter()
            .find(|entry| entry["number"] == draining.number);
        entry.is_some_and(|entry| entry["is_draining"] == true)
    };
    eventually("its beat says so", || is_draining(&front).then_some(()));
    for _ in 0..100 {
        assert_eq!(answerer(&front.get("/ok")), other.number);
    }
    assert_eq!(
        answerer(&running.reply("GET").expect("a reply")),
        draining.number
    );
    assert_eq!(draining.wait_exit().code(), Some(0));
    front.wait_told("host has left", &draining);
}
