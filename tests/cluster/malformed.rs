//! What no host says: random bytes, and real frames that were cut or changed. A host drops them,
//! counts them, and goes on.

use super::{Cluster, HASTY, Host, answerer};
use crate::support::nats::client::{Frame, NatsClient};
use crate::support::scripts::{FOR_EVER, outcome};
use crate::support::{Random, eventually, seed};

/// The frames of each kind. Each is small, so the hosts' windows hold.
const FRAMES: usize = 500;

/// Both hosts answer, and soon by themselves: a changed request may have been one that runs.
fn goes_on(host: &Host, other: &Host) {
    for host in [host, other] {
        let mut client = host.client();
        eventually("it has its own process again", || {
            (answerer(&client.get("/ok")) == host.number).then_some(())
        });
    }
}

/// Two hosts, and the frames that they have exchanged.
fn exchanged(cluster: &Cluster) -> (Host, Host, NatsClient, Vec<Frame>) {
    let first = cluster.both("misbehave", "--workers 1 --admin 0");
    let second = cluster.both("misbehave", "--workers 1 --admin 0");
    first.wait_there(&[&second]);
    second.wait_there(&[&first]);
    let client = cluster.nats.client();
    client.subscribe("wph1.default.>");
    let busy = first.send("/slow?ms=500000");
    super::wait_running(&[&first], 1);
    for (method, body) in [
        ("GET", &b""[..]),
        ("POST", b"body"),
        ("POST", &[7; 200_000]),
    ] {
        let reply = first.request(method, "/echo", &[], body);
        assert_eq!(answerer(&reply), second.number);
    }
    busy.reset();
    first.wait_entries("process ended", 1);
    let frames = client.all();
    assert!(frames.len() > 5, "hosts talk: {frames:?}");
    (first, second, client, frames)
}

#[test]
fn random_bytes_are_dropped_and_counted() {
    let cluster = Cluster::new("");
    let (first, second, client, _) = exchanged(&cluster);
    let mut random = Random::new(seed());
    let before = second.dropped();
    for _ in 0..FRAMES {
        let length = random.below(200);
        let bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        for subject in [format!("h.{}", second.number), "beat".into(), "who".into()] {
            client.publish(&format!("wph1.default.{subject}"), &bytes);
        }
    }
    client.flush();
    eventually("they are counted", || {
        // Some are frames by chance.
        (second.dropped() >= before + FRAMES as f64 / 2.0).then_some(())
    });
    goes_on(&first, &second);
}

#[test]
fn frames_that_were_cut_are_dropped() {
    let cluster = Cluster::new("");
    let (first, second, client, frames) = exchanged(&cluster);
    let before = second.dropped();
    for frame in &frames {
        for length in 0..frame.payload.len().min(100) {
            let mut cut = frame.clone();
            cut.payload.truncate(length);
            client.send(&cut);
        }
        client.flush();
    }
    eventually("they are counted", || {
        (second.dropped() > before).then_some(())
    });
    goes_on(&first, &second);
}

#[test]
fn frames_with_other_bits_harm_nobody() {
    let cluster = Cluster::new("");
    let (first, second, client, frames) = exchanged(&cluster);
    let mut random = Random::new(seed());
    for frame in frames.iter().filter(|frame| !frame.payload.is_empty()) {
        for _ in 0..FRAMES / 10 {
            let mut changed = frame.clone();
            // The head of a frame comes first, and a body may be anything.
            for _ in 0..=random.below(3) {
                let at = random.below(changed.payload.len().min(100));
                changed.payload[at] ^= 1 << random.below(8);
            }
            client.send(&changed);
        }
        client.flush();
    }
    goes_on(&first, &second);
    assert!(first.dropped() + second.dropped() > 0.0);
}

/// Changed mail may be a message for anybody, or the end of a connection, which both sides notice.
#[test]
fn mail_with_other_bits_harms_nobody() {
    let cluster = Cluster::new(HASTY);
    let flags = format!("{FOR_EVER} --admin 0");
    let hosts = [(); 2].map(|()| cluster.both("actor", &flags));
    let [first, second] = &hosts;
    let client = cluster.nats.client();
    client.subscribe("wph1.default.h.*");
    for (host, other) in [(first, second), (second, first)] {
        eventually("it knows the other root process", || {
            let root = format!("root other {}", other.number);
            (outcome(host, &root) == "ok").then_some(())
        });
        let number = outcome(other, "spawn c { forever { receive; reply y } }; number c");
        let says = format!(
            "call-it c {number}; monitor c; send c 1 x; send-wait c 2 x*300000 60000; call c z 60000"
        );
        assert_eq!(outcome(host, &says), "y");
    }
    let mut frames = client.all();
    frames.sort_by(|one, other| one.payload.cmp(&other.payload));
    frames.dedup_by(|one, other| one.payload == other.payload);
    assert!(frames.len() > 10, "hosts talk: {frames:?}");
    let mut random = Random::new(seed());
    for frame in frames.iter().filter(|frame| !frame.payload.is_empty()) {
        for _ in 0..FRAMES / 10 {
            let mut changed = frame.clone();
            changed.payload.truncate(200); // the heads are shorter
            for _ in 0..=random.below(3) {
                let at = random.below(changed.payload.len().min(60));
                changed.payload[at] ^= 1 << random.below(8);
            }
            client.send(&changed);
        }
        client.flush();
    }
    for host in [first, second] {
        eventually("messages come again", || {
            (outcome(host, "send-wait other 1 x 1000") == "ok").then_some(())
        });
        eventually("and answers", || {
            (outcome(host, "call c z 1000") == "y").then_some(())
        });
    }
    assert!(first.dropped() + second.dropped() > 0.0);
}

/// A request that comes again, long after it was sent, is not executed again.
#[test]
fn a_request_that_is_sent_again_is_stale() {
    const BEATS: usize = 8;
    let cluster = Cluster::new(HASTY);
    let front = cluster.front("");
    let worker = cluster.worker("misbehave", "--workers 1");
    front.wait_there(&[&worker]);
    let subject = format!("wph1.default.h.{}", worker.number);
    let client = cluster.nats.client();
    client.subscribe(&subject);
    assert_eq!(front.get("/print").status, 200);
    worker.wait_entries("guest output", 2);
    let asked = client.all();
    assert!(!asked.is_empty(), "the request was seen");
    let beats = cluster.nats.client();
    beats.subscribe("wph1.default.beat");
    for _ in 0..2 * BEATS {
        let _beat = beats.next();
    }
    for frame in &asked {
        client.send(frame);
    }
    client.flush();
    for _ in 0..2 {
        assert_eq!(front.get("/print").status, 200);
    }
    worker.wait_entries("guest output", 6);
    assert_eq!(worker.printed(), 3, "three were asked for");
}
