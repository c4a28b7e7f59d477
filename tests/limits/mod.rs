//! Every limit is enforced. The tests check the error for the client, and that a value just below
//! the limit succeeds.

mod host;
mod process;
mod sizes;
mod times;

use crate::support::{Reply, Server};

/// Checks that the client got this status and text, and that the log agrees about request and
/// process.
fn failed(server: &Server, reply: &Reply, status: u16, exit: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let request = server.wait_request(reply.request_id());
    assert_eq!(request["exit"], exit, "{request}");
    let end = server.wait_end(request["pid"].as_u64().expect("a pid"));
    assert_eq!(end["exit"], exit, "{end}");
}
