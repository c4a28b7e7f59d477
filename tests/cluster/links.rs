//! Links that are really down, between namespaces of the kernel: what the [`Cable`] of other tests
//! only plays. TCP retransmits, gives up routes and answers with errors here as between machines.
//!
//! [`Cable`]: crate::support::cable::Cable

use std::time::{Duration, Instant};

use super::hosts::hosts;
use super::{Cluster, Host, MARGIN, answerer, wait_answered_by, wait_running};
use crate::support::nats::Nats;
use crate::support::network::{Cut, Hub};
use crate::support::server::{guest_over, serve};
use crate::support::{Client, Folder, Reply, eventually};

/// The default, since nobody else is lost here.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// The interval of beats.
const BEAT: Duration = Duration::from_secs(1);

/// How soon a host is in the list again whose link is up again.
const BACK: Duration = Duration::from_secs(2);

/// Processes of each host that is lost. The one that is left has twice as many.
const SEATS: usize = 8;

/// What takes longer than it takes to send all of these and to notice a loss.
const SLOW: &str = "/slow?ms=20000";

/// How many beats the links are down, of the two hosts that hear each other: ten seconds.
const BEATS: usize = 20;

/// All hosts but the three at the ends of links are on the hub, where the server is.
#[test]
fn links_that_are_down() {
    const CUTS: [Cut; 3] = [Cut::OwnEnd, Cut::HubsEnd, Cut::Packets];
    let Some(hub) = Hub::new() else { return };
    let cluster = Cluster {
        nats: hub.within(|| Nats::at(hub.address())),
        flags: "--expose-pid --queue-timeout 100s".to_owned(),
    };
    let front = hub.within(|| reached(&cluster, "--role front"));
    let near = hub.within(|| cluster.worker("misbehave", &format!("--workers {}", 2 * SEATS)));
    let spokes = [1, 2, 3].map(|number| hub.spoke(number));
    let start = || reached(&cluster, &format!("--workers {SEATS}"));
    let far = spokes.each_ref().map(|spoke| spoke.within(start));
    front.wait_there(&[&near]);
    front.wait_there(&far.each_ref());
    near.wait_there(&far.each_ref());
    far.iter().for_each(|host| host.wait_there(&[&front]));

    let (posts, there) = under_way(&front, "POST", &far, &near);
    let (gets, _) = under_way(&front, "GET", &far, &near);
    let beats = hub.within(|| cluster.nats.client());
    let down = Instant::now();
    for (spoke, how) in spokes.iter().zip(CUTS) {
        spoke.cut(how);
    }
    beats.subscribe("wph1.default.beat");
    // These are sent to hosts that nobody knows to be lost.
    let printing: Vec<_> = (0..SEATS).map(|_| ask(&front, "POST", "/print")).collect();

    for host in &far {
        for other in [&front, &near] {
            other.wait_told("host is lost", host);
        }
    }
    let noticed = down.elapsed();
    assert!(noticed < LOST_AFTER + BEAT + MARGIN, "{noticed:?}");
    for host in &far {
        host.wait_entries("cut off from the cluster", 1);
        for _ in 0..20 {
            assert_eq!(answerer(&host.get("/ok")), host.number, "it serves alone");
        }
    }
    let told = replies("POST", posts);
    let (failed, served): (Vec<_>, Vec<_>) = told.iter().partition(|reply| reply.status == 502);
    assert_eq!(
        failed.len(),
        there,
        "those that were at hosts that are lost"
    );
    for reply in failed {
        let text = reply.text();
        assert!(
            text.contains("the host that served this request was lost"),
            "{text}"
        );
    }
    for reply in served {
        assert_eq!(answerer(reply), near.number);
    }
    let told = replies("POST", printing);
    let with = |status| told.iter().filter(|reply| reply.status == status).count();
    let printed = with(200);
    assert_eq!(printed + with(502), SEATS, "{told:?}");

    for _ in 0..BEATS {
        let _beat = beats.next();
    }
    // It has tried to connect, and tries again now and a second later.
    far[2].wait_entry("NATS", |entry| {
        entry["event"]
            .as_str()
            .is_some_and(|event| event.contains("timed out"))
    });
    let up = Instant::now();
    for (spoke, how) in spokes.iter().zip(CUTS) {
        spoke.heal(how);
    }
    eventually("all are in the list again", || {
        let list = hub.within(|| hosts(&front, &cluster));
        let is_listed = |host: &Host| list.iter().any(|entry| entry["number"] == host.number);
        far.iter().all(is_listed).then_some(())
    });
    let back = up.elapsed();
    assert!(back < BACK + MARGIN, "{back:?}");
    for host in &far {
        host.wait_entries("the cluster is back", 1);
    }
    wait_answered_by(&front, &far.each_ref());
    for reply in replies("GET", gets) {
        assert_eq!(answerer(&reply), near.number, "there, or there once more");
    }

    // What came late would have come before this.
    near.wait_entries("guest output", 2 * printed);
    assert_eq!(near.printed(), printed, "each is executed once");
    for host in &far {
        assert_eq!(host.get("/print").status, 200);
        host.wait_entries("guest output", 2);
        assert_eq!(host.printed(), 1, "only that of its own client");
        assert_eq!(host.entries("cut off from the cluster").len(), 1);
    }
}

/// A host that clients reach from everywhere: a Unix socket is in no network.
fn reached(cluster: &Cluster, flags: &str) -> Host {
    let folder = Folder::new();
    let socket = folder.path().join("reached").display().to_string();
    let flags = cluster.direct(&format!("--listen unix:{socket} {flags}"));
    Host::joined(match flags.contains("--role front") {
        true => serve(folder, &flags),
        false => guest_over("misbehave", folder, &flags),
    })
}

fn ask(host: &Host, method: &str, target: &str) -> Client {
    let mut client = host.client();
    client.ask(method, target, b"");
    client
}

/// Requests that take longer than it takes to notice a loss, of which each of these hosts has one
/// at least. Returns how many those have together, too.
fn under_way(front: &Host, method: &str, far: &[Host], near: &Host) -> (Vec<Client>, usize) {
    let hosts: Vec<_> = far.iter().chain([near]).collect();
    let running = || hosts.iter().map(|host| host.running()).collect::<Vec<_>>();
    let before = running();
    let ask = || ask(front, method, SLOW);
    let mut clients: Vec<_> = far.iter().map(|_| ask()).collect();
    loop {
        clients.push(ask());
        let now = wait_running(&hosts, before.iter().sum::<usize>() + clients.len());
        let each = now.iter().zip(&before).map(|(now, before)| now - before);
        let there: Vec<usize> = each.take(far.len()).collect();
        if there.iter().all(|count| *count > 0) {
            return (clients, there.iter().sum());
        }
    }
}

fn replies(method: &str, clients: Vec<Client>) -> Vec<Reply> {
    let replies = clients.into_iter().map(|mut client| client.reply(method));
    replies.map(|reply| reply.expect("an answer")).collect()
}
