//! The time limits of clients, for sending and for reading.

use crate::support::http::request_bytes;
use crate::support::server::{guest, serve};
use crate::support::{Client, Folder, Server, eventually};

/// A client that is connected. On a busy machine a handshake may take longer than a head may.
fn client(server: &Server) -> Client {
    eventually("a client connects in time", || server.try_client().ok())
}

#[test]
fn time_to_send_a_head() {
    let server = guest("misbehave", "--workers 1 --header-timeout 1s");
    let mut slow = client(&server);
    slow.send(b"GET /ok HT").expect("some of the head");
    let rest = slow.rest().expect("the connection is closed");
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"),
        "{:?}",
        String::from_utf8_lossy(&rest)
    );
    server.wait_served("/ok");
}

#[test]
fn time_to_send_a_body() {
    let server = guest(
        "misbehave",
        "--workers 1 --header-timeout 1s --request-timeout 2s",
    );
    let mut slow = client(&server);
    slow.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
        .expect("some of it");
    let reply = slow.reply("POST").expect("an answer");
    assert_eq!(reply.status, 408, "{reply:?}");
    server.wait_served("/ok"); // no process waits for a body
}

#[test]
fn time_to_do_nothing() {
    let server = guest("misbehave", "--workers 1 --header-timeout 1s");
    let mut silent = client(&server);
    assert_eq!(silent.rest().expect("an end"), b"", "after nothing at all");
    // On a busy machine even the client's first request may come too late.
    let after = |sent: &[u8]| {
        eventually("a client comes in time", || {
            let mut client = server.try_client().ok()?;
            client.send(sent).ok()?;
            let reply = client.reply("GET").ok()?;
            assert_eq!(reply.status, 200);
            Some(client.rest().expect("an end"))
        })
    };
    let request = request_bytes("GET", "/ok", &[], b"");
    assert_eq!(after(&request), b"", "after a request");
    let rest = after(&[&request, &b"GET /ok HT"[..]].concat());
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"),
        "after half a request"
    );
}

#[test]
fn time_to_take_an_answer() {
    let folder = Folder::new().sparse("big", 1 << 30);
    let server = serve(folder, "--workers 1 --header-timeout 1s");
    let _stuck = eventually("a client comes in time", || {
        let mut client = server.try_client().ok()?;
        client.try_ask("GET", "/big", &[], b"").ok()?;
        assert_eq!(client.head().ok()?.status, 200);
        Some(client)
    });
    eventually("nobody waits for it", || {
        (server.open_files("big") == 0).then_some(())
    });
}

#[test]
fn time_that_a_process_takes_is_not_the_clients() {
    let server = guest("misbehave", "--workers 1 --header-timeout 1s");
    eventually("a client comes in time for its second request", || {
        let mut client = server.try_client().ok()?;
        let mut ask = |target| client.try_request("GET", target, &[], b"").ok();
        (ask("/slow?ms=2500")?.status == 200 && ask("/ok")?.status == 200).then_some(())
    });
}
