//! Slow clients and slow guests: they take their own time, and neither the places nor the memory of
//! others. Whoever waits is served in turn.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use wasm_pool_host::{self as library, ClusterSettings, HostSettings, Line, Role};

use super::hosts::hosts;
use super::{Cluster, Host, begun_in_chunks, in_chunks, wait_running};
use crate::support::{Client, Folder, eventually};

/// Processes of the worker.
const SEATS: usize = 2;

/// A host takes twice as many requests as it has processes. With one more, none would have room.
const MANY: usize = 2 * SEATS + 1;

/// A front without a line: a request that finds no room is refused at once.
const NO_LINE: &str = "--queue 0 --header-timeout 600s --admin 0";

/// A front without a line, and a worker that has a file `small`, and a file `big` that no buffers
/// hold.
fn hosts_with_files(cluster: &Cluster) -> (Host, Host) {
    let folder = Folder::new()
        .file("small", "small")
        .sparse("big", 256 << 20);
    let front = cluster.front(NO_LINE);
    let flags = format!("--workers {SEATS} --request-timeout 600s --admin 0");
    let worker = cluster.worker_over(folder, &flags);
    front.wait_there(&[&worker]);
    (front, worker)
}

#[test]
fn stalled_downloads_take_no_place() {
    let cluster = Cluster::new("");
    let (front, _worker) = hosts_with_files(&cluster);
    let stalled = [(); MANY].map(|()| {
        let mut client = front.send("/big");
        assert_eq!(client.head().expect("a head").status, 200);
        client
    });
    let reply = front.get("/small");
    assert_eq!((reply.status, &*reply.text()), (200, "small"));
    drop(stalled);
}

#[test]
fn stalled_uploads_take_no_place() {
    let cluster = Cluster::new("");
    let (front, worker) = hosts_with_files(&cluster);
    let begun = begun_in_chunks("/small", &[b'x'; 1000], 1000);
    let mut stalled = Vec::new();
    for count in 1..=MANY {
        let mut client = front.client();
        client.send(&begun).expect("it is sent");
        eventually("the upload is at the worker, or refused", || {
            let is_there = worker.metric("cluster_served_total") >= count as f64;
            (is_there || client.has_news()).then_some(())
        });
        assert!(!client.has_news(), "upload {count} is answered");
        stalled.push(client);
    }
    let reply = front.get("/small");
    assert_eq!((reply.status, &*reply.text()), (200, "small"));
}

/// A process of these kinds is busy until its body has ended, although the head was sent before.
#[test]
fn a_worker_whose_processes_stream_is_busy() {
    for name in ["http02", "http03", "commander"] {
        let cluster = Cluster::new("--request-timeout 600s");
        let front = cluster.front("--queue-timeout 200ms");
        let worker = cluster.worker(name, &format!("--workers {SEATS}"));
        front.wait_there(&[&worker]);
        let streaming = [(); SEATS].map(|()| {
            let mut client = front.send("/do?head&say=begun&sleep=600000");
            assert_eq!(client.head().expect("a head").status, 200, "{name}");
            client
        });
        let list = hosts(&front, &cluster);
        let told = list.iter().find(|entry| entry["number"] == worker.number);
        let told = told.unwrap_or_else(|| panic!("{name}: {list:?}"));
        assert_eq!(told["running"], SEATS, "{name}: {told}");
        assert_eq!(told["seats"], SEATS, "{name}: {told}");
        drop(streaming);
    }
}

/// A message for each byte costs much more than a byte.
#[test]
fn single_bytes_that_nobody_reads_take_no_memory() {
    const BYTES: usize = 50_000;
    const HELD: u64 = 16 << 20;
    let cluster = Cluster::new("--admin 0");
    let front = cluster.front("");
    let worker = cluster.worker("http02", "--workers 1");
    front.wait_there(&[&worker]);
    let mut client = front.client();
    for _ in 0..20 {
        client.send_meanwhile(in_chunks("/do?head&count", b"warm", 1));
        assert_eq!(client.reply("POST").expect("a reply").text(), "4");
    }
    let before = worker.memory("VmHWM");
    // The guest reads nothing for a while, or a first piece, and then all that is left.
    for steps in ["sleep=1000&head&count", "read&head&sleep=1000&count"] {
        let bytes = in_chunks(&format!("/do?{steps}"), &[b'x'; BYTES], 1);
        client.send_meanwhile(bytes);
        let reply = client.reply("POST").expect("a reply");
        assert_eq!(reply.status, 200, "{steps}");
        let count: usize = reply.text().parse().expect("a number");
        let is_all = match steps.starts_with("read") {
            true => (1..BYTES).contains(&count),
            false => count == BYTES,
        };
        assert!(is_all, "{steps}: {count}");
    }
    let grown = worker.grown(before);
    assert!(grown < HELD, "{grown} bytes");
    assert_eq!((front.dropped(), worker.dropped()), (0.0, 0.0));
}

/// The head of a response may be on its way before the guest wants the body of the request.
#[test]
fn a_guest_that_answers_before_it_reads_gets_the_body() {
    const SIZE: usize = 150_000;
    for name in ["http02", "http03"] {
        let cluster = Cluster::new("--request-timeout 5s");
        let front = cluster.front("");
        let worker = cluster.worker(name, "--workers 1");
        front.wait_there(&[&worker]);
        let mut client = front.client();
        let target = "/do?head&say=begun&sleep=300&count";
        client.send_meanwhile(in_chunks(target, &[b'x'; SIZE], 10_000));
        let reply = client.reply("POST").expect("a reply");
        assert_eq!(reply.text(), format!("begun{SIZE}"), "{name}");
    }
}

/// A front in this process tells how many wait.
#[test]
fn the_line_of_a_front_is_in_order() {
    const WAITERS: usize = 20;
    /// Those that find room at the same time are sent in any order.
    const OUT_OF_TURN: usize = 3;
    let cluster = Cluster::new("");
    let worker = cluster.worker("misbehave", "--workers 1");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let settings = ClusterSettings {
        servers: vec![format!("nats://{}", cluster.nats.address())],
        role: Role::Front,
        line: Line {
            queue: WAITERS,
            queue_timeout: Duration::from_secs(100),
            ..Line::default()
        },
        ..ClusterSettings::default()
    };
    let joined = runtime.block_on(library::Cluster::join(settings));
    let joined = joined.expect("it joins");
    let starting = library::Host::in_cluster(joined.clone(), HostSettings::default(), Vec::new());
    let front = runtime.block_on(starting).expect("it starts");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("its address");
    runtime.spawn(async move { front.serve(listener).await });
    eventually("the worker is there", || {
        let mut hosts = joined.hosts().into_iter();
        hosts.find(|host| u64::from(host.number) == worker.number)
    });

    let send = |target: &str| {
        let mut client = Client::connect(address);
        client.ask("GET", target, b"");
        client
    };
    // One runs, and one waits at the worker: it has one process.
    let mut first = vec![send("/slow?ms=3000")];
    wait_running(&[&worker], 1);
    first.push(send("/ok"));
    eventually("both are at the worker", || {
        (joined.counts().asked == 2).then_some(())
    });
    let spy = cluster.nats.client();
    spy.subscribe(&format!("wph1.default.h.{}", worker.number));
    let mut waiting = Vec::new();
    for turn in 0..WAITERS {
        waiting.push(send(&format!("/ok?turn={turn:02}")));
        eventually("it is in line, or the line moves", || {
            let counts = joined.counts();
            (counts.waiting == turn as u64 + 1 || counts.asked > 2).then_some(())
        });
    }
    for client in first.iter_mut().chain(&mut waiting) {
        assert_eq!(client.reply("GET").expect("a reply").status, 200);
    }
    let asked = spy.all();
    let turns: Vec<usize> = asked
        .iter()
        .filter_map(|frame| {
            let text = frame.text();
            let (_, rest) = text.split_once("turn=")?;
            rest.get(..2)?.parse().ok()
        })
        .collect();
    assert_eq!(turns.len(), WAITERS, "each is sent once: {turns:?}");
    for (place, turn) in turns.iter().enumerate() {
        assert!(place.abs_diff(*turn) <= OUT_OF_TURN, "{turns:?}");
    }
}
