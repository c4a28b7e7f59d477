//! More load than all hosts can serve: every client is answered, and no host takes too many.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::hosts::hosts;
use super::{Cluster, answerer, wait_running};
use crate::support::{Reply, eventually, meanwhile};

const CLIENTS: usize = 200;

/// Processes of one host.
const SEATS: u64 = 4;

#[test]
fn everybody_is_answered_and_no_host_has_too_many() {
    let cluster = Cluster::new("");
    let front = cluster.front("--queue 100 --queue-timeout 100s --max-connections 1000");
    let workers = [(); 2].map(|()| cluster.worker("misbehave", &format!("--workers {SEATS}")));
    front.wait_there(&workers.each_ref());
    let connected = Barrier::new(CLIENTS);
    let client = || {
        let mut client = front.client();
        connected.wait();
        client.get("/slow?ms=300")
    };
    let most = workers.each_ref().map(|_| AtomicU64::new(0));
    let watch = |goes_on: &dyn Fn() -> bool| {
        while goes_on() {
            for entry in hosts(&front, &cluster) {
                let at = workers
                    .iter()
                    .position(|host| entry["number"] == host.number);
                let count = |name: &str| entry[name].as_u64().expect("a number");
                assert!(count("running") <= SEATS, "{entry}");
                if let Some(at) = at {
                    most[at].fetch_max(count("running") + count("waiting"), Ordering::Relaxed);
                }
            }
        }
    };
    let replies: Vec<Reply> = meanwhile(1, watch, || {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            let join = clients.into_iter().map(|client| client.join());
            join.map(|reply| reply.expect("a client was answered"))
                .collect()
        })
    });
    // As many wait at a host as it has processes.
    let most = most.map(AtomicU64::into_inner);
    assert!(most.iter().all(|most| *most <= 2 * SEATS), "{most:?}");
    let (served, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    // The line, and those that run while it is filled.
    assert!(served.len() >= 100 + 2 * SEATS as usize, "{}", served.len());
    for reply in &refused {
        assert_eq!(reply.status, 503, "{reply:?}");
        let seconds = reply.field("retry-after").map(str::parse::<u64>);
        assert!(matches!(seconds, Some(Ok(1..=60))), "{reply:?}");
    }
    for worker in &workers {
        assert_eq!(worker.living().len() as u64, SEATS);
        assert_eq!(
            worker.entries("process ended").len(),
            0,
            "nobody was killed"
        );
    }
}

/// The load is spread: a host that is busy gets less.
#[test]
fn the_less_busy_host_is_asked() {
    let cluster = Cluster::new("");
    let front = cluster.front("");
    let workers = [(); 2].map(|()| cluster.worker("misbehave", "--workers 8"));
    front.wait_there(&workers.each_ref());
    let _running: Vec<_> = (0..8).map(|_| front.send("/slow?ms=100000")).collect();
    let counts = wait_running(&workers.each_ref(), 8);
    assert!(
        counts.iter().all(|count| (2..=6).contains(count)),
        "{counts:?}"
    );
}

/// The slow one says of itself what the fast one says. That it has more to do is all that tells.
#[test]
fn a_host_that_is_twice_as_slow_gets_half_as_much() {
    const CLIENTS: usize = 24;
    const REQUESTS: usize = 400;
    let cluster = Cluster::new("");
    let front = cluster.front("");
    // What a busy machine adds is little beside these.
    let workers = [100, 200].map(|pace| {
        let flags = format!("--workers {CLIENTS} --env PACE={pace}");
        cluster.worker("ours", &flags)
    });
    front.wait_there(&workers.each_ref());
    let answered = workers.each_ref().map(|_| AtomicUsize::new(0));
    let client = |goes_on: &dyn Fn() -> bool| {
        let mut client = front.client();
        while goes_on() {
            let number = answerer(&client.get("/do?pace"));
            let at = usize::from(number == workers[1].number);
            answered[at].fetch_add(1, Ordering::Relaxed);
        }
    };
    let counts = || {
        answered
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    };
    let [fast, slow] = meanwhile(CLIENTS, client, || {
        eventually("requests are answered", || {
            let counts = counts();
            (counts.iter().sum::<usize>() >= REQUESTS).then_some(counts)
        })
    });
    let share = slow as f64 / fast as f64;
    assert!((0.35..0.7).contains(&share), "{slow} and {fast}");
}

/// A front's own line is bounded in time.
#[test]
fn waiting_at_a_front_has_an_end() {
    let cluster = Cluster::new("--request-timeout 600s");
    let front = cluster.front("--queue-timeout 1s");
    let worker = cluster.worker("misbehave", "--workers 1");
    front.wait_there(&[&worker]);
    let running = front.send("/slow?ms=500000");
    wait_running(&[&worker], 1);
    // One may wait at the worker, as it has one process.
    let _waiting = front.send("/slow?ms=500000");
    let reply = eventually("all places are taken", || {
        let reply = front.get("/ok");
        (reply.status == 503).then_some(reply)
    });
    assert!(reply.field("retry-after").is_some(), "{reply:?}");
    assert!(front.wait_request(reply.request_id())["pid"].is_null());
    running.reset();
}
