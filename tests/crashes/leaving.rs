//! Clients that leave: their processes end, and nobody waits for them.

use crate::support::server::{SHORT_QUEUE, guest};

#[test]
fn a_client_that_leaves_while_its_process_waits() {
    a_client_that_leaves("/slow?ms=50000");
}

#[test]
fn a_client_that_leaves_while_its_process_computes() {
    a_client_that_leaves("/spin");
}

fn a_client_that_leaves(target: &str) {
    let flags = format!("--workers 1 --request-timeout 100s --expose-pid {SHORT_QUEUE}");
    for half_closed in [false, true] {
        let server = guest("misbehave", &flags);
        let before = server.get("/ok").pid();
        let mut client = server.client();
        client.ask("GET", target, b"");
        if half_closed {
            client.finish_sending().expect("one side is closed");
        }
        server.wait_until_busy();
        client.reset();
        assert_eq!(server.wait_end(before)["exit"], "client-left");
        let after = server.wait_living(1);
        assert!(
            !after.contains(&before),
            "{before} was replaced by {after:?}"
        );
        server.wait_served("/ok");
        let request = server.wait_entry("request", |entry| {
            target.starts_with(entry["path"].as_str().unwrap_or("-"))
        });
        assert_eq!(request["exit"], "client-left", "{request}");
    }
}

#[test]
fn clients_that_leave_the_line_take_nobodys_place() {
    let server = guest("misbehave", "--workers 1 --queue 120 --queue-timeout 100s");
    // The line has room for the requests of two rounds, in any order. For four rounds it has room
    // only if requests leave the line with their clients.
    for _ in 0..4 {
        let mut first = server.send("/slow?ms=500");
        for _ in 0..50 {
            let impatient = server.send("/slow?ms=50000");
            impatient.reset();
        }
        assert_eq!(server.get("/ok").status, 200);
        assert_eq!(first.reply("GET").expect("a reply").status, 200);
    }
}
