//! Clients: they learn of the end of the process that holds their request, and of its deadline.
//! They may also leave.

use std::fs::File;
use std::time::Instant;

use crate::support::scripts::{FOR_EVER, ask, outcome, send, wait_print};
use crate::support::server::guest;
use crate::support::{Server, eventually};

/// A deadline that tests wait for. Slow processes get ready before it ends.
const DEADLINE: &str = "--request-timeout 4s --expose-pid";

#[test]
fn who_ends_loses_its_own_clients_and_no_others() {
    let server = guest("actor", FOR_EVER);
    let holder = |name: &str, label: &str| {
        let script = format!(
            "spawn {name} {{ receive; print {label}; receive; receive; answer }}; forward {name}"
        );
        let client = send(&server, &script);
        wait_print(&server, label);
        client
    };
    // One process is killed. The other ends by itself, after it has answered the second of its
    // clients and not the first.
    for (end, exit, second) in [("kill a", "killed", 502), ("send a 1 x", "normal", 200)] {
        let mut first_of_a = holder("a", &format!("{exit}-a"));
        let mut of_b = holder("b", &format!("{exit}-b"));
        let mut second_of_a = send(&server, &format!("forward a; print {exit}-second"));
        wait_print(&server, &format!("{exit}-second"));
        assert_eq!(ask(&server, &format!("{end}; answer")).status, 200);
        assert_eq!(second_of_a.reply("POST").expect("a reply").status, second);
        let lost = first_of_a.reply("POST").expect("a reply");
        assert_eq!(lost.status, 502, "{lost:?}");
        assert_eq!(server.wait_request(lost.request_id())["exit"], exit);
        assert!(!of_b.has_news(), "the other holder lives");
        assert_eq!(ask(&server, "send b 1 x; send b 1 x; answer").status, 200);
        assert_eq!(of_b.reply("POST").expect("a reply").status, 200);
    }
}

#[test]
fn who_is_late_with_a_request_is_ended() {
    let server = guest("actor", DEADLINE);
    for stuck in ["spin", "pause 60000"] {
        let start = Instant::now();
        let reply = ask(
            &server,
            &format!("spawn a {{ receive; {stuck} }}; monitor a; forward a"),
        );
        assert_eq!(reply.status, 504, "{stuck}: {reply:?}");
        assert!(start.elapsed().as_millis() >= 4000);
        assert_eq!(server.wait_end(reply.pid())["exit"], "deadline");
        assert_eq!(server.wait_request(reply.request_id())["exit"], "deadline");
        assert_eq!(outcome(&server, "receive-from a"), "a is down: deadline");
    }
}

#[test]
fn who_has_come_back_for_more_is_not() {
    // The process waits for other messages, or works for another client. It must not end because of
    // one client's deadline.
    let server = guest("actor", DEADLINE);
    let reply = ask(
        &server,
        "spawn a { receive; register a; receive; respond client 200 late; tell; receive }; forward a",
    );
    assert_eq!(reply.status, 504, "{reply:?}");
    assert_eq!(outcome(&server, "whereis a"), "a");
    assert_eq!(
        outcome(&server, "send a 1 x; receive-from a"),
        "a: no-process"
    );
}

#[test]
fn who_waits_in_a_call_is_not() {
    let server = guest("actor", DEADLINE);
    let reply = ask(
        &server,
        "spawn slow { receive; there go; reply fine; receive }; \
         spawn a { receive; register a; call slow x 60000; tell; receive }; forward a",
    );
    assert_eq!(reply.status, 504, "{reply:?}");
    assert_eq!(outcome(&server, "whereis a"), "a");
    assert_eq!(outcome(&server, "register go; receive-from a"), "a: fine");
}

#[test]
fn a_client_that_left_is_not_answered() {
    let server = guest("actor", FOR_EVER);
    File::create(server.folder.root().join("small")).expect("a file");
    for (nth, give) in ["answer", "respond-file client small", "forward parent"]
        .iter()
        .enumerate()
    {
        let then = format!("{give}; tell; receive");
        let client = send(
            &server,
            &format!("spawn a {{ receive; print held-{nth}; receive; {then} }}; forward a"),
        );
        wait_print(&server, &format!("held-{nth}"));
        let before = left(&server);
        client.reset();
        eventually("the host has noticed", || {
            (left(&server) > before).then_some(())
        });
        assert_eq!(
            outcome(&server, "send a 1 x; receive-from a"),
            "a: no-process",
            "{give}"
        );
        eventually("the file is closed", || {
            (server.open_files("small") == 0).then_some(())
        });
        drop(ask(&server, "kill a; answer"));
        server.wait_living(1);
    }
}

#[test]
fn a_client_that_has_said_all_it_had_to_say_is_answered_and_may_still_leave() {
    let server = guest("actor", FOR_EVER);
    let mut client = send(&server, "print first; answer");
    client.finish_sending().expect("one side is closed");
    assert_eq!(client.reply("GET").expect("a reply").status, 200);
    assert_eq!(client.rest().expect("an end"), b"");

    let mut client = send(
        &server,
        "spawn a { receive; print held; receive }; forward a",
    );
    client.finish_sending().expect("one side is closed");
    wait_print(&server, "held");
    assert_eq!(left(&server), 0);
    client.reset();
    eventually("the host has noticed", || {
        (left(&server) == 1).then_some(())
    });
}

fn left(server: &Server) -> usize {
    let requests = server.entries("request");
    requests
        .iter()
        .filter(|entry| entry["exit"] == "client-left")
        .count()
}
