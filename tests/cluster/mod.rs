//! Many hosts with one pool, on a real `nats-server`: any host answers any request, and hosts come,
//! go, crash and are cut off under load.
//!
//! Each test has a server and a cluster of its own. Hosts are ready when their start lines and logs
//! say so.

mod alike;
mod answers;
mod apart;
mod bodies;
mod counts;
mod flags;
mod hosts;
mod leaving;
mod links;
mod lost;
mod malformed;
mod messages;
mod names;
mod once;
mod overload;
mod push;
mod queues;
mod rolling;
mod servers;
mod slow;

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde_json::Value;

use crate::admin;
use crate::support::cable::Cable;
use crate::support::nats::Nats;
use crate::support::server::{guest, guest_over, serve};
use crate::support::steer::json;
use crate::support::{Folder, Reply, Server, eventually};

/// How soon hosts are lost in tests where some are. All other hosts of a cluster must then be heard
/// three times in this time, so tests without losses keep the default.
const HASTY: &str = "--lost-after 600ms";

/// What [`HASTY`] says.
const LOST_AFTER: Duration = Duration::from_millis(600);

/// What a busy machine may add to a time that is promised.
const MARGIN: Duration = Duration::from_secs(10);

/// The bits of a pid below the number of its host.
const SERIAL_BITS: u32 = 44;

/// A cluster's server. Hosts join by it, and end before it does.
struct Cluster {
    nats: Nats,
    /// Flags that all hosts have.
    flags: String,
}

/// A host that has joined.
struct Host {
    server: Server,
    number: u64,
}

impl Cluster {
    fn new(flags: &str) -> Self {
        Self {
            nats: Nats::start(),
            flags: format!("--expose-pid {flags}"),
        }
    }

    /// The flag with the server's URL.
    fn url(&self) -> String {
        format!("--nats nats://{}", self.nats.address())
    }

    /// The flags of a host that reaches the server directly.
    fn direct(&self, flags: &str) -> String {
        format!("{} {} {flags}", self.url(), self.flags)
    }

    /// The flags of a host that reaches the server over this cable.
    fn over(&self, cable: &Cable, flags: &str) -> String {
        let address = cable.address();
        format!("--nats nats://{address} {} {flags}", self.flags)
    }

    /// A front.
    fn front(&self, flags: &str) -> Host {
        let flags = self.direct(&format!("--role front {flags}"));
        Host::joined(serve(Folder::new(), &flags))
    }

    /// A worker with one of the example guests.
    fn worker(&self, name: &str, flags: &str) -> Host {
        let flags = self.direct(&format!("--role worker {flags}"));
        Host::joined(guest(name, &flags))
    }

    /// A worker with one of the example guests over this folder.
    fn guest_over(&self, name: &str, folder: Folder, flags: &str) -> Host {
        let flags = self.direct(&format!("--role worker {flags}"));
        Host::joined(guest_over(name, folder, &flags))
    }

    /// A worker with the default guest over this folder.
    fn worker_over(&self, folder: Folder, flags: &str) -> Host {
        let flags = self.direct(&format!("--role worker {flags}"));
        Host::joined(serve(folder, &flags))
    }

    /// A host with one of the example guests that clients can talk to.
    fn both(&self, name: &str, flags: &str) -> Host {
        Host::joined(guest(name, &self.direct(flags)))
    }

    /// A host with one of the example guests that reaches the server over this cable.
    fn behind(&self, cable: &Cable, name: &str, flags: &str) -> Host {
        Host::joined(guest(name, &self.over(cable, flags)))
    }
}

impl Host {
    /// # Panics
    /// If its start line names no host of a cluster.
    fn joined(server: Server) -> Self {
        let line = &server.start_line;
        let number = line.rsplit_once(", host ").and_then(|(_, rest)| {
            let (number, _) = rest.split_once(" (")?;
            number.parse().ok()
        });
        let number = number.unwrap_or_else(|| panic!("no host in a cluster: {line:?}"));
        Self { server, number }
    }

    /// Waits until this host has heard of these.
    fn wait_there(&self, others: &[&Self]) {
        for other in others {
            self.wait_told("host is there", other);
        }
    }

    /// Waits until this host has logged this about another one.
    fn wait_told(&self, message: &str, other: &Self) {
        self.wait_entry(message, |entry| entry["host"] == other.number);
    }

    /// The requests that run here now, as `ps` tells.
    fn running(&self) -> usize {
        let list = json(self, "ps --json");
        let list = list.as_array().expect("a list");
        let runs = |process: &&Value| process["request"].is_number();
        list.iter().filter(runs).count()
    }

    /// The metric whose series contains this. The host has an admin address.
    fn metric(&self, part: &str) -> f64 {
        let text = admin::get(self, "/metrics").text();
        let samples = admin::samples(&text);
        let found = samples.iter().find(|(series, _)| series.contains(part));
        *found.unwrap_or_else(|| panic!("no {part} in\n{text}")).1
    }

    /// The number of frames that this host has dropped. It has an admin address.
    fn dropped(&self) -> f64 {
        self.metric("cluster_dropped_frames_total")
    }

    /// The number of times that a request for `/print` was executed here, so far.
    fn printed(&self) -> usize {
        let entries = self.entries("guest output");
        let lines = entries.iter().filter(|entry| entry["stream"] == "stdout");
        lines.count()
    }
}

impl Deref for Host {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// The bytes of a request whose body comes in chunks of this size.
fn in_chunks(target: &str, body: &[u8], chunk: usize) -> Vec<u8> {
    let mut bytes = begun_in_chunks(target, body, chunk);
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// The same without the end of the body.
fn begun_in_chunks(target: &str, body: &[u8], chunk: usize) -> Vec<u8> {
    let head = format!("POST {target} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    for piece in body.chunks(chunk) {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
        bytes.extend(piece);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// The number of the host that answered.
fn answerer(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.pid() >> SERIAL_BITS
}

/// Waits until so many requests run at these hosts together, and returns how many at each.
fn wait_running(hosts: &[&Host], count: usize) -> Vec<usize> {
    eventually(&format!("{count} requests run"), || {
        let running: Vec<usize> = hosts.iter().map(|host| host.running()).collect();
        (running.iter().sum::<usize>() == count).then_some(running)
    })
}

/// Asks this host until each of these others has answered a request.
fn wait_answered_by(front: &Host, others: &[&Host]) {
    for other in others {
        eventually("each host answers", || {
            let reply = front.get("/ok");
            (reply.status == 200 && answerer(&reply) == other.number).then_some(())
        });
    }
}
