//! Components of `wasi:http` 0.2 and 0.3. Each request says in its query what the guest does with
//! it (`tests/support/script`). The tests say what the client sees then.

mod bodies;
mod ends;
mod heads;
mod leaving;
mod stopping;
mod turns;
mod uploads;

use crate::support::Server;
use crate::support::server::guest;

const MIB: usize = 1 << 20;

/// So many bytes are more than the host and the guest hold of a body: the head is sent before all
/// are written.
const MUCH: usize = 2 * MIB;

/// A server for each of both contracts.
fn both(flags: &str) -> [(&'static str, Server); 2] {
    ["http02", "http03"].map(|kind| (kind, guest(kind, &format!("{flags} --expose-pid"))))
}

/// The target of a request with this script.
fn script(steps: &str) -> String {
    format!("/do?{steps}")
}
