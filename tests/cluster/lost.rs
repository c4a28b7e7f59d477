//! Hosts that are lost: killed, or frozen. Their clients are told soon, or answered elsewhere.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Cluster, HASTY, LOST_AFTER, MARGIN, wait_answered_by, wait_running};
use crate::support::eventually;

/// The age of a request that is probed, the interval of probes, and the time of an answer. Nobody
/// listens at the subject of a host that was killed, so the first probe says so.
const PROBED: Duration = Duration::from_millis(2_200);

/// Silence says nothing for as long as a test may take: a probe must.
const PATIENT: &str = "--lost-after 60s";

/// The age of a request that is probed, and the interval of probes.
const ASKED: Duration = Duration::from_secs(2);

#[test]
fn a_killed_host_fails_the_posts_that_it_had() {
    loses(Signal::KILL, "POST", PATIENT, PROBED);
}

#[test]
fn a_killed_host_fails_no_get() {
    loses(Signal::KILL, "GET", PATIENT, PROBED);
}

#[test]
fn a_frozen_host_fails_the_posts_that_it_had() {
    loses(Signal::STOP, "POST", HASTY, LOST_AFTER + ASKED);
}

#[test]
fn a_frozen_host_fails_no_get() {
    loses(Signal::STOP, "GET", HASTY, LOST_AFTER + ASKED);
}

/// Loses one of three hosts while all have requests.
fn loses(signal: Signal, method: &str, flags: &str, noticed: Duration) {
    const REQUESTS: usize = 12;
    let cluster = Cluster::new(&format!("--queue-timeout 100s {flags}"));
    let front = cluster.front("");
    let workers = [(); 3].map(|()| cluster.worker("misbehave", "--workers 8"));
    front.wait_there(&workers.each_ref());
    let (replies, there, lost_at) = thread::scope(|scope| {
        let ask = || {
            let reply = front.request(method, "/slow?ms=8000", &[], b"");
            (reply, Instant::now())
        };
        let clients: Vec<_> = (0..REQUESTS).map(|_| scope.spawn(ask)).collect();
        let running = wait_running(&workers.each_ref(), REQUESTS);
        let lost_at = Instant::now();
        if signal == Signal::STOP {
            workers[0].freeze();
        } else {
            workers[0].signal(signal);
        }
        let replies: Vec<_> = clients
            .into_iter()
            .map(|client| client.join().expect("a client was answered"))
            .collect();
        (replies, running[0], lost_at)
    });
    assert!(there > 0, "requests are spread over all hosts");
    let (served, failed): (Vec<_>, Vec<_>) =
        replies.iter().partition(|(reply, _)| reply.status == 200);
    let expected = if method == "POST" { there } else { 0 };
    assert_eq!(failed.len(), expected, "{failed:?}");
    assert_eq!(served.len(), REQUESTS - expected);
    for (reply, at) in failed {
        assert_eq!(reply.status, 502, "{reply:?}");
        let text = reply.text();
        assert!(
            text.contains("the host that served this request was lost"),
            "{text}"
        );
        let after = at.duration_since(lost_at);
        assert!(after < noticed + MARGIN, "told after {after:?}");
    }
    front.wait_told("host is lost", &workers[0]);
    // Nobody is sent there any more.
    for _ in 0..50 {
        assert_eq!(front.get("/ok").status, 200);
    }
    if signal == Signal::STOP {
        workers[0].signal(Signal::CONT);
        wait_answered_by(&front, &workers.each_ref());
    }
}

/// What was sent to a frozen host is in its sockets. When it wakes up, all of that is too old.
#[test]
fn a_frozen_host_runs_nothing_stale() {
    const REQUESTS: usize = 8;
    /// Long enough that the front still asks a host that was frozen a moment ago.
    const LOST_AFTER: Duration = Duration::from_secs(2);
    let cluster = Cluster::new("--queue-timeout 2s --lost-after 2s");
    let front = cluster.front("");
    let worker = cluster.worker("misbehave", "--workers 1");
    front.wait_there(&[&worker]);
    assert_eq!(front.get("/print").status, 200);
    worker.wait_entries("guest output", 2);
    let mut clients: Vec<_> = (0..REQUESTS).map(|_| front.client()).collect();
    worker.freeze();
    let start = Instant::now();
    for client in &mut clients {
        client.ask("POST", "/print", b"");
    }
    let replies = clients.iter_mut().map(|client| client.reply("POST"));
    let statuses: Vec<u16> = replies
        .map(|reply| reply.expect("a reply").status)
        .collect();
    // Some may not have been sent: the front knows how many the host takes.
    assert!(statuses.contains(&502), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| [502, 503].contains(status)),
        "{statuses:?}"
    );
    assert!(start.elapsed() < LOST_AFTER + ASKED + MARGIN);
    front.wait_told("host is lost", &worker);
    wake_late(&cluster, &front);
    worker.signal(Signal::CONT);
    // Whatever waited in its sockets comes before these.
    eventually("it serves again", || {
        (front.get("/ok").status == 200).then_some(())
    });
    assert_eq!(front.get("/print").status, 200);
    worker.wait_entries("guest output", 4);
    assert_eq!(worker.printed(), 2, "the first, the last, and none between");
}

/// Lets some beats of another host pass: what was sent before is older than any host accepts.
fn wake_late(cluster: &Cluster, other: &super::Host) {
    const BEATS: usize = 8;
    let listener = cluster.nats.client();
    listener.subscribe("wph1.default.beat");
    for _ in 0..BEATS {
        let _beat = listener.next();
    }
    assert!(other.entries("cut off from the cluster").is_empty());
}

/// All that a front has asked for ends with it.
#[test]
fn the_requests_of_a_killed_front_end() {
    let cluster = Cluster::new(HASTY);
    let front = cluster.front("");
    let worker = cluster.worker("misbehave", "--workers 2 --request-timeout 600s");
    front.wait_there(&[&worker]);
    worker.wait_there(&[&front]);
    let _clients = [front.send("/slow?ms=500000"), front.send("/spin")];
    wait_running(&[&worker], 2);
    front.signal(Signal::KILL);
    worker.wait_told("host is lost", &front);
    worker.wait_entries("process ended", 2);
    worker.wait_living(2);
    assert_eq!(worker.running(), 0);
}
