//! Bodies through a front: exact to the byte at every size, and never held as a whole.

use std::thread;
use std::time::{Duration, Instant};

use super::{Cluster, Host, in_chunks};
use crate::support::cable::Cable;
use crate::support::server::component;
use crate::support::table::upload;
use crate::support::{Client, Folder, pattern, sparse, wat};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// No host and no server holds more of a body. A window is 256 KiB, and NATS's server has some
/// buffers for each connection.
const HELD: u64 = 32 << 20;

/// Sizes around those of a chunk and of a message of NATS.
fn sizes() -> Vec<usize> {
    let around = |size: usize| [size - 1, size, size + 1];
    let steps = [64 * KIB, 256 * KIB, MIB];
    [0, 1]
        .into_iter()
        .chain(steps.map(around).concat())
        .collect()
}

#[test]
fn files_of_every_size() {
    let sizes: Vec<usize> = sizes().into_iter().chain([64 * MIB]).collect();
    let folder = sizes.iter().fold(Folder::new(), |folder, size| {
        folder.file(&size.to_string(), pattern(*size))
    });
    let cluster = Cluster::new("");
    let front = cluster.front("");
    let worker = cluster.worker_over(folder, "--workers 2");
    front.wait_there(&[&worker]);
    let mut client = front.client();
    for size in sizes {
        let target = format!("/{size}");
        let reply = client.get(&target);
        assert_eq!(reply.status, 200, "{size} bytes");
        assert_eq!(reply.field("content-length"), Some(&*size.to_string()));
        assert!(
            reply.body == pattern(size),
            "{size}: {} came",
            reply.body.len()
        );
        let head = client.request("HEAD", &target, &[], b"");
        assert_eq!(head.field("content-length"), Some(&*size.to_string()));
    }
    let range = [("range", "bytes=65535-1048577")];
    let reply = client.request("GET", &format!("/{}", 64 * MIB), &range, b"");
    assert_eq!(reply.status, 206);
    assert!(reply.body == pattern(64 * MIB)[65_535..=1_048_577]);
}

#[test]
fn a_gibibyte() {
    let cluster = Cluster::new("");
    let front = cluster.front("");
    let worker = cluster.worker_over(sparse::gibibyte(), "--workers 2");
    front.wait_there(&[&worker]);
    sparse::read_gibibyte(&mut front.client());
}

#[test]
fn uploads_of_every_size() {
    let cluster = Cluster::new("--max-body 2MiB");
    let front = cluster.front("");
    let worker = cluster.worker("misbehave", "--workers 2");
    front.wait_there(&[&worker]);
    let mut client = front.client();
    for size in sizes() {
        let body = pattern(size);
        let reply = upload(&mut client, "/echo", &[], &body);
        assert_eq!(reply.status, 200, "{size} bytes");
        let echo = reply.body.strip_suffix(&*body);
        let head = echo.unwrap_or_else(|| panic!("{size}: {} came", reply.body.len()));
        assert!(
            head.starts_with(b"POST /echo\n") && head.ends_with(b"\n\n"),
            "{size}"
        );
    }
    let reply = front.request("POST", "/echo", &[("content-length", "99999999999")], b"");
    assert_eq!(reply.status, 413);
}

/// A head and the beginning of a body go in one message. The largest head takes a quarter of it.
#[test]
fn bodies_behind_the_largest_heads() {
    /// 250 fields of 903 bytes, each counted with 48 more, and the body that came.
    const MANY_FIELDS: &str = "
        (memory.fill (i32.const 32000) (i32.const 120) (i32.const 903))
        (local.set $at (i32.const 2048))
        (loop $next
          (i32.store (local.get $at) (i32.const 32000))
          (i32.store offset=4 (local.get $at) (i32.const 3))
          (i32.store offset=8 (local.get $at) (i32.const 32003))
          (i32.store offset=12 (local.get $at) (i32.const 900))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br_if $next (i32.lt_u (local.get $at) (i32.const 6048))))
        (i32.store (i32.const 1028) (i32.const 2048))
        (i32.store (i32.const 1032) (i32.const 250))
        (i32.store (i32.const 1048) (local.get $body))
        (i32.store (i32.const 1052) (local.get $body-length))";
    let cluster = Cluster::new("--max-body 2MiB");
    let front = cluster.front("");
    let flags = cluster.direct("--role worker --workers 1");
    let worker = component(&wat::worker(MANY_FIELDS), Folder::new(), &flags);
    let worker = Host::joined(worker);
    front.wait_there(&[&worker]);
    // 64 KiB is the most that a client may send.
    let (names, value) = ((0..60).map(|at| format!("x-{at}")), "v".repeat(1000));
    let names: Vec<_> = names.collect();
    let fields: Vec<_> = names.iter().map(|name| (&**name, &*value)).collect();
    for size in [0, 64 * KIB, MIB] {
        let body = pattern(size);
        let reply = upload(&mut front.client(), "/", &fields, &body);
        assert_eq!(reply.status, 200, "{size} bytes");
        let came = reply.fields.iter().filter(|(name, _)| name == "xxx");
        assert!(came.clone().all(|(_, value)| *value == "x".repeat(900)));
        assert_eq!(came.count(), 250, "{size} bytes");
        assert!(reply.body == body, "{size}: {} came", reply.body.len());
    }
}

#[test]
fn uploads_in_chunks() {
    let cluster = Cluster::new("--max-body 2MiB");
    let front = cluster.front("");
    let worker = cluster.worker("misbehave", "--workers 2");
    front.wait_there(&[&worker]);
    for (chunk, chunks) in [(1, 1000), (KIB, 1024), (64 * KIB, 16), (100_000, 10)] {
        let body = pattern(chunk * chunks);
        let mut client = front.client();
        client.send_meanwhile(in_chunks("/echo", &body, chunk));
        let reply = client.reply("POST").expect("a reply");
        assert_eq!(reply.status, 200, "{chunk} bytes a chunk");
        assert!(reply.body.ends_with(&body), "{chunk} bytes a chunk");
    }
}

#[test]
fn a_slow_client_takes_nobodys_memory_and_nobodys_time() {
    const SIZE: u64 = 100 << 20;
    /// The last bytes take some seconds.
    const SPEED: u64 = 30 << 20;
    const ROUNDS: usize = 5;
    let folder = Folder::new().file("small", "small").sparse("big", SIZE);
    let cluster = Cluster::new("");
    let front = cluster.front("");
    let worker = cluster.worker_over(folder, "--workers 2");
    front.wait_there(&[&worker]);
    let mut other = front.client();
    let alone = slowest(&mut other, ROUNDS);
    let before = [&front, &worker].map(|host| host.memory("VmHWM"));
    let before_nats = cluster.nats.memory("VmHWM");

    let cable = Cable::to(front.address());
    let mut slow = Client::connect(cable.address());
    slow.ask("GET", "/big", b"");
    let head = slow.head().expect("a head");
    // It takes nothing for as long as these take.
    let beside_stalled = slowest(&mut other, ROUNDS);
    cable.slow(SPEED);
    let mut count = 0;
    let beside_slow = thread::scope(|scope| {
        let others = scope.spawn(|| slowest(&mut other, ROUNDS));
        let body = slow.body("GET", &head, |piece| count += piece.len() as u64);
        body.expect("the whole file");
        others.join().expect("others are served")
    });
    assert_eq!(count, SIZE);
    // Other tests take their time as well, now more and now less.
    let alone = alone.max(slowest(&mut other, ROUNDS));
    for beside in [beside_stalled, beside_slow] {
        let most = 3 * alone + Duration::from_millis(50);
        assert!(beside < most, "{beside:?}, and alone {alone:?}");
    }
    for (host, before) in [&front, &worker].into_iter().zip(before) {
        let grown = host.grown(before);
        assert!(grown < HELD, "host {}: {grown} bytes", host.number);
    }
    let grown = cluster.nats.grown(before_nats);
    assert!(grown < HELD, "the server: {grown} bytes");
}

/// The longest time of a request, but for one in a hundred: the least of so many rounds, since what
/// happens in only some of them comes from the machine.
fn slowest(client: &mut Client, rounds: usize) -> Duration {
    let round = |_| {
        let mut times = [(); 100].map(|()| {
            let start = Instant::now();
            assert_eq!(client.get("/small").text(), "small");
            start.elapsed()
        });
        times.sort_unstable();
        times[98]
    };
    (0..rounds).map(round).min().expect("a round")
}
