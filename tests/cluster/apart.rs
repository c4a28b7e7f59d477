//! Hosts that can't reach the cluster for a while: what they do alone, and how they come back.

use std::time::Instant;

use super::{Cluster, HASTY, Host, LOST_AFTER, MARGIN, answerer, wait_answered_by};
use crate::support::cable::Cable;
use crate::support::server::serve;
use crate::support::{Folder, eventually, meanwhile};

const CUT_OFF: &str = "cut off from the cluster";
const BACK: &str = "the cluster is back";

#[test]
fn a_worker_that_is_cut_off_comes_back_and_runs_nothing_stale() {
    let cluster = Cluster::new(&format!("--queue-timeout 2s {HASTY}"));
    let front = cluster.front("");
    let cable = Cable::to(cluster.nats.address());
    let worker = cluster.behind(&cable, "misbehave", "--role worker --workers 1");
    front.wait_there(&[&worker]);
    assert_eq!(front.get("/print").status, 200);
    worker.wait_entries("guest output", 2);

    cable.cut();
    let start = Instant::now();
    let mut clients = [(); 4].map(|()| front.client());
    for client in &mut clients {
        client.ask("POST", "/print", b"");
    }
    for client in &mut clients {
        let reply = client.reply("POST").expect("a reply");
        assert!([502, 503].contains(&reply.status), "{reply:?}");
    }
    assert!(start.elapsed() < LOST_AFTER * 2 + MARGIN);
    front.wait_told("host is lost", &worker);
    worker.wait_entries(CUT_OFF, 1);
    let list = super::hosts::hosts(&front, &cluster);
    assert!(
        list.iter().all(|entry| entry["number"] != worker.number),
        "{list:?}"
    );

    cable.heal();
    worker.wait_entries(BACK, 1);
    eventually("it is in the list again", || {
        let list = super::hosts::hosts(&front, &cluster);
        list.iter()
            .find(|entry| entry["number"] == worker.number)
            .map(|_| ())
    });
    wait_answered_by(&front, &[&worker]);
    assert_eq!(front.get("/print").status, 200);
    worker.wait_entries("guest output", 4);
    assert_eq!(worker.printed(), 2, "the first, the last, and none between");
}

/// The same under load, over and over: what is executed was answered by 200 or lost, never refused.
#[test]
fn no_request_is_executed_that_was_refused() {
    const CUTS: usize = 3;
    let cluster = Cluster::new(&format!("--queue-timeout 1s {HASTY}"));
    let front = cluster.front("");
    let cables = [(); 2].map(|()| Cable::to(cluster.nats.address()));
    let workers = cables
        .each_ref()
        .map(|cable| cluster.behind(cable, "misbehave", "--role worker --workers 2"));
    front.wait_there(&workers.each_ref());
    let counts = super::counts::Counts::default();
    let client = |goes_on: &dyn Fn() -> bool| {
        let mut client = front.client();
        while goes_on() {
            counts.add(&client.request("POST", "/print", &[], b""));
            // The log has room for so many lines a second.
            client.get("/slow?ms=20");
        }
    };
    meanwhile(4, client, || {
        for cut in 0..CUTS {
            let (cable, worker) = (&cables[cut % 2], &workers[cut % 2]);
            counts.wait_served(50);
            cable.cut();
            worker.wait_entries(CUT_OFF, cut / 2 + 1);
            counts.wait_served(50);
            cable.heal();
            worker.wait_entries(BACK, cut / 2 + 1);
        }
        counts.wait_served(50);
    });
    // What clients have been told is in the logs a moment later.
    wait_answered_by(&front, &workers.each_ref());
    let served = counts.with(200);
    let executed = eventually("all lines are logged", || {
        let executed: usize = workers.iter().map(Host::printed).sum();
        (executed >= served).then_some(executed)
    });
    let lost = counts.with(502);
    assert!(
        executed <= served + lost,
        "{executed} executed, {served} answered, {lost} lost"
    );
    assert_eq!(counts.all(), served + lost + counts.with(503));
}

#[test]
fn a_closed_connection_is_made_again() {
    let cluster = Cluster::new("");
    let front = cluster.front("--queue-timeout 100s");
    let cable = Cable::to(cluster.nats.address());
    let worker = cluster.behind(&cable, "misbehave", "--role worker --workers 2");
    front.wait_there(&[&worker]);
    for _ in 0..5 {
        assert_eq!(front.get("/ok").status, 200);
        cable.close();
        let reply = front.get("/ok");
        assert!([200, 502].contains(&reply.status), "{reply:?}");
        wait_answered_by(&front, &[&worker]);
    }
}

#[test]
fn a_host_that_is_cut_off_serves_alone() {
    let cluster = Cluster::new(HASTY);
    let cable = Cable::to(cluster.nats.address());
    let alone = cluster.behind(&cable, "misbehave", "--workers 2");
    let other = cluster.both("misbehave", "--workers 2");
    alone.wait_there(&[&other]);
    other.wait_there(&[&alone]);
    cable.cut();
    alone.wait_entries(CUT_OFF, 1);
    other.wait_told("host is lost", &alone);
    let mut client = alone.client();
    for _ in 0..50 {
        assert_eq!(answerer(&client.get("/ok")), alone.number);
    }
    cable.heal();
    alone.wait_entries(BACK, 1);
    let busy = [alone.send("/slow?ms=50000"), alone.send("/slow?ms=50000")];
    super::wait_running(&[&alone], 2);
    wait_answered_by(&alone, &[&other]);
    drop(busy);
}

/// A front that is cut off tells its clients so. When it is back, it serves.
#[test]
fn a_front_that_is_cut_off() {
    let cluster = Cluster::new(&format!("--queue-timeout 1s {HASTY}"));
    let worker = cluster.worker("misbehave", "--workers 2");
    let cable = Cable::to(cluster.nats.address());
    let flags = cluster.over(&cable, "--role front");
    let front = Host::joined(serve(Folder::new(), &flags));
    front.wait_there(&[&worker]);
    let mut running = front.client();
    running.ask("POST", "/slow?ms=20000", b"");
    super::wait_running(&[&worker], 1);
    cable.cut();
    let reply = running.reply("POST").expect("a reply");
    assert_eq!(reply.status, 502, "{reply:?}");
    front.wait_entries(CUT_OFF, 1);
    let reply = front.get("/ok");
    assert!([502, 503].contains(&reply.status), "{reply:?}");
    // The worker has given up the front's request by itself.
    worker.wait_entries("process ended", 1);
    cable.heal();
    front.wait_entries(BACK, 1);
    wait_answered_by(&front, &[&worker]);
}
