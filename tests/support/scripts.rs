//! Scripts for the guest `actor` that is served: its root runs the body of each request.

use super::{Client, Reply, Server};

/// A deadline that no test reaches.
pub(crate) const FOR_EVER: &str = "--request-timeout 600s";

pub(crate) fn send(server: &Server, script: &str) -> Client {
    let mut client = server.client();
    client.ask("POST", "/", script.as_bytes());
    client
}

/// Makes the root run this script.
pub(crate) fn ask(server: &Server, script: &str) -> Reply {
    server.request("POST", "/", &[], script.as_bytes())
}

/// The outcome of the last statement of this script.
pub(crate) fn outcome(server: &Server, script: &str) -> String {
    let reply = ask(server, &format!("{script}; answer"));
    assert_eq!(reply.status, 200, "{script}: {reply:?}");
    let text = reply.text();
    text.lines().last().unwrap_or_default().to_owned()
}

/// Waits until a process has printed this line. No other process prints it.
pub(crate) fn wait_print(server: &Server, line: &str) {
    server.wait_entry("guest output", |entry| entry["line"] == line);
}
