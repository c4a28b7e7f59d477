//! What a client sees through a front is what it would see of the worker alone.

use std::io;

use super::{Cluster, Host, in_chunks};
use crate::support::door::{Address, Door};
use crate::support::server::{guest, guest_with_tls, serve};
use crate::support::table::upload;
use crate::support::{Client, Folder, Reply, Server};

const KIB: usize = 1 << 10;

/// The target of a stream with the body of its request.
const ECHO: &str = "/do?head&echo";

#[test]
fn the_head_of_a_stream() {
    const STREAM: &str = "/do?head&say=begun&sleep=300&say=ended";
    const WITH_TRAILER: &str =
        "/do?field=trailer:x-sum&trailer=x-sum:1&head&say=begun&sleep=300&say=ended";
    for name in ["http02", "http03", "commander"] {
        let cluster = Cluster::new("");
        let front = cluster.front("");
        let worker = cluster.worker(name, "--workers 1");
        front.wait_there(&[&worker]);
        let alone = guest(name, "--workers 1");
        for (method, target) in [
            ("HEAD", STREAM),
            ("GET", STREAM),
            ("HEAD", WITH_TRAILER),
            ("GET", WITH_TRAILER),
        ] {
            let ask = |server: &Server| server.request(method, target, &[("te", "trailers")], b"");
            let (through, alone) = (ask(&front), ask(&alone));
            let case = format!("{name}: {method} {target}: {through:?}");
            assert_eq!(through.status, alone.status, "{case}");
            // Whether the length is known is a matter of time.
            assert_ne!(through.field("content-length"), Some("0"), "{case}");
            assert_eq!(through.field("trailer"), alone.field("trailer"), "{case}");
            assert_eq!(through.text(), alone.text(), "{case}");
        }
    }
}

/// A front and a worker, which takes smaller bodies.
fn bounded(cluster: &Cluster, name: &str) -> (Host, Host) {
    let front = cluster.front("--max-body 4MiB");
    let worker = cluster.worker(name, "--workers 2 --max-body 1KiB");
    front.wait_there(&[&worker]);
    (front, worker)
}

/// A body in chunks, and the reply as far as it comes.
fn chunked(front: &Host, target: &str, body: &[u8]) -> io::Result<Reply> {
    let mut client = front.client();
    client.send_meanwhile(in_chunks(target, body, 500));
    client.reply("POST")
}

#[test]
fn a_body_that_is_too_large_for_the_worker() {
    for (name, target) in [
        ("misbehave", "/echo"),
        ("commander", ECHO),
        ("http02", ECHO),
    ] {
        let cluster = Cluster::new("");
        let (front, _worker) = bounded(&cluster, name);
        // Those that go to the worker with the head, and behind it.
        for (size, status) in [(KIB, 200), (2 * KIB, 413), (100 * KIB, 413)] {
            let body = vec![b'x'; size];
            let reply = upload(&mut front.client(), target, &[], &body);
            assert_eq!(reply.status, status, "{name}: {size} bytes");
            if name != "http02" {
                let reply = chunked(&front, target, &body).expect("a reply");
                assert_eq!(reply.status, status, "{name}: {size} bytes in chunks");
            }
        }
    }
}

/// Alone, a guest that has begun to answer when its limit is reached finds the body broken off.
#[test]
fn a_stream_that_is_too_large_for_the_worker() {
    for name in ["http02", "http03"] {
        let cluster = Cluster::new("");
        let (front, _worker) = bounded(&cluster, name);
        for size in [2 * KIB, 100 * KIB] {
            let reply = chunked(&front, ECHO, &vec![b'x'; size]);
            let is_whole = reply.is_ok_and(|reply| reply.body.len() == size);
            assert!(!is_whole, "{name}: the guest got {size} bytes");
        }
    }
}

/// What `/echo` has seen, but for the field that is new in each request.
fn dump(reply: &Reply) -> Vec<String> {
    let text = reply.text();
    let lines = text.lines().filter(|line| !line.starts_with("traceparent"));
    lines.map(str::to_owned).collect()
}

/// HTTP/2 bounds the bytes of a head, and not its fields.
#[test]
fn many_fields() {
    const PLACES: &str = "--listen http://127.0.0.1:0 --listen https://127.0.0.1:0";
    let cluster = Cluster::new("");
    let folder = Folder::new();
    let pair = Door::Tls.flags(folder.path(), PLACES).join(" ");
    let flags = cluster.direct(&format!("--role front {PLACES} {pair}"));
    let front = Host::joined(serve(folder, &flags));
    let worker = cluster.worker("misbehave", "--workers 1");
    front.wait_there(&[&worker]);
    let alone = guest_with_tls("misbehave", "--workers 1");
    for count in [99, 513, 1_500] {
        let names: Vec<String> = (0..count).map(|number| format!("x-{number}")).collect();
        let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "v")).collect();
        let ask = |server: &Server| {
            let mut client = Client::connect(Address::Http2(server.tls_address()));
            client.request("GET", "/echo", &fields, b"")
        };
        let (through, alone) = (ask(&front), ask(&alone));
        assert_eq!(through.status, alone.status, "{count} fields: {through:?}");
        assert_eq!(alone.status, 200, "{count} fields: {alone:?}");
        assert_eq!(dump(&through), dump(&alone), "{count} fields");
    }
}
