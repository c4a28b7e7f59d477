//! Every limit is enforced: what it stops, what the client is told, and that just below it all is
//! well.

mod host;
mod process;
mod sizes;
mod times;

use crate::support::{Reply, Server};

/// The client got this status and text, and the log says the same of request and process.
fn failed(server: &Server, reply: &Reply, status: u16, exit: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let request = server.wait_request(reply.request_id());
    assert_eq!(request["exit"], exit, "{request}");
    let end = server.wait_end(request["pid"].as_u64().expect("a pid"));
    assert_eq!(end["exit"], exit, "{end}");
}
