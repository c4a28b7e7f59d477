//! Bodies through a front: exact to the byte at every size, and never held as a whole.

use super::{Cluster, in_chunks};
use crate::support::cable::Cable;
use crate::support::table::upload;
use crate::support::{Client, Folder, pattern, sparse};

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
    let folder = Folder::new().file("small", "small").sparse("big", SIZE);
    let cluster = Cluster::new("");
    let front = cluster.front("");
    let worker = cluster.worker_over(folder, "--workers 2");
    front.wait_there(&[&worker]);
    let mut other = front.client();
    for _ in 0..200 {
        assert_eq!(other.get("/small").text(), "small");
    }
    let before = [&front, &worker].map(|host| host.memory("VmHWM"));
    let before_nats = cluster.nats.memory("VmHWM");

    let cable = Cable::to(front.address());
    let mut slow = Client::connect(cable.address());
    slow.ask("GET", "/big", b"");
    let head = slow.head().expect("a head");
    // It takes nothing for as long as these take.
    for _ in 0..200 {
        assert_eq!(other.get("/small").text(), "small");
    }
    cable.slow(SPEED);
    let mut count = 0;
    let body = slow.body("GET", &head, |piece| count += piece.len() as u64);
    body.expect("the whole file");
    assert_eq!(count, SIZE);
    for (host, before) in [&front, &worker].into_iter().zip(before) {
        let grown = host.grown(before);
        assert!(grown < HELD, "host {}: {grown} bytes", host.number);
    }
    let grown = cluster.nats.grown(before_nats);
    assert!(grown < HELD, "the server: {grown} bytes");
}
