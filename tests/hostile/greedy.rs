//! Clients and guests that take more than their share: the server has time and room for others.

use crate::support::door::Door;
use crate::support::http::request_bytes;
use crate::support::server::{component, guest, serve};
use crate::support::wat::worker;
use crate::support::{Client, Folder, eventually};

#[test]
fn a_thousand_idle_connections() {
    let server = serve(
        Folder::new().file("file", "content"),
        "--workers 2 --max-connections 2000 --header-timeout 600s",
    );
    assert_eq!(server.get("/file").status, 200);
    let before = server.memory("VmRSS");
    let mut idle: Vec<Client> = (0..1000).map(|_| server.client()).collect();
    // Half of the clients have sent a request before, and half have sent a part of a head. Over
    // HTTP/2, all have sent a request before.
    let has_half = |number: usize| number % 2 == 1 && Door::chosen().takes_bytes();
    for (number, client) in idle.iter_mut().enumerate() {
        if has_half(number) {
            client.send(b"GET /fi").expect("some of a head");
        } else {
            assert_eq!(client.get("/file").status, 200);
        }
    }
    let mut client = server.client();
    for _ in 0..100 {
        assert_eq!(client.get("/file").body, b"content");
    }
    let grown = server.memory("VmRSS").saturating_sub(before);
    assert!(grown < 64 << 20, "64 KiB for each is enough: {grown} B");
    for (number, client) in idle.iter_mut().enumerate().skip(1).step_by(100) {
        if has_half(number) {
            client
                .send(b"le HTTP/1.1\r\nhost: x\r\n\r\n")
                .expect("the rest of a head");
        } else {
            client.ask("GET", "/file", b"");
        }
        assert_eq!(
            client.reply("GET").expect("a reply").body,
            b"content",
            "connection {number}"
        );
    }
}

#[test]
fn slow_heads_give_their_connections_back() {
    let server = serve(
        Folder::new().file("file", "content"),
        "--workers 1 --max-connections 20 --header-timeout 1s",
    );
    let slow: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = server.client();
            // Over HTTP/2, it sends nothing.
            if Door::chosen().takes_bytes() {
                client
                    .send(b"GET /file HTTP/1.1\r\nx-slow: ")
                    .expect("some of a head");
            }
            client
        })
        .collect();
    server.wait_served("/file"); // while the slow clients are still connected
    drop(slow);
}

#[test]
fn clients_that_come_and_go() {
    let server = serve(
        Folder::new().file("file", "content"),
        "--workers 1 --max-connections 100",
    );
    assert_eq!(server.get("/file").status, 200);
    let before = server.descriptors();
    for number in 0..500 {
        // The server turns away those for whom it has no room yet.
        let Ok(mut client) = server.try_client() else {
            continue;
        };
        let bytes = request_bytes("GET", "/file", &[], b"");
        let _sent = match Door::chosen().takes_bytes() {
            true => client.send(&bytes[..number % (bytes.len() + 1)]),
            false if number % 2 == 1 => client.try_ask("GET", "/file", &[], b""),
            false => Ok(()),
        };
    }
    // The clients count as connections until the host has noticed that they are gone.
    server.wait_served("/file");
    eventually("their descriptors are closed", || {
        (server.descriptors() <= before + 1).then_some(())
    });
}

#[test]
fn a_head_that_is_mostly_a_name() {
    // The field's name has 24 MiB of DEL, which a log would have to escape.
    let long_name = "
        (drop (memory.grow (i32.const 400)))
        (memory.fill (i32.const 1048576) (i32.const 0x7f) (i32.const 25165824))
        (i32.store (i32.const 1028) (i32.const 2048))
        (i32.store (i32.const 1032) (i32.const 1))
        (i32.store (i32.const 2048) (i32.const 1048576))
        (i32.store (i32.const 2052) (i32.const 25165824))
        (i32.store (i32.const 2056) (i32.const 1048576))";
    let server = component(&worker(long_name), Folder::new(), "--workers 1");
    let before = server.memory("VmHWM");
    let reply = server.get("/");
    assert_eq!(reply.status, 502, "{reply:?}");
    let grown = server.grown(before);
    assert!(
        grown < 128 << 20,
        "the name, twice, and not more: {grown} B"
    );
    let end = server.wait_entry("process ended", |entry| entry["exit"] == "response");
    let reason = end["reason"].as_str().expect("a reason");
    assert!(reason.len() < 1000, "{} B of reason", reason.len());
}

#[test]
fn an_answer_that_nobody_reads() {
    // The answer is larger than the sockets' buffers, so the server can't finish sending it.
    let server = guest("misbehave", "--workers 1 --memory 128MiB");
    let mut stuck = server.send("/big?bytes=40000000");
    assert_eq!(stuck.head().expect("a head").status, 200);
    assert_eq!(
        server.get("/ok").status,
        200,
        "the process is free while its answer is sent"
    );
}
