//! A request: the processes that hold it, send it on, and answer it.

use crate::support::eventually;
use crate::support::scripts::{FOR_EVER, ask, outcome, send, wait_print};
use crate::support::server::guest;

#[test]
fn a_request_arrives_with_its_client() {
    let server = guest("actor", FOR_EVER);
    assert_eq!(ask(&server, "same sender client; answer").text(), "yes");
    let reply = server.request("PUT", "/some/%20path?a=b", &[], b"path; answer");
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, "/some/%20path")
    );
    // The client has its own pid, different from all others.
    let own = "spawn a { receive; same sender client; tell; same sender parent; tell }; forward a;
        receive-from a; receive-from a; respond client 200 mine";
    let reply = ask(&server, &format!("{own}; answer"));
    assert_eq!(reply.status, 502, "nobody holds it any more: {reply:?}");
    assert_eq!(ask(&server, "respond client 201 made").status, 201);
    assert_eq!(server.wait_living(1).len(), 1);
}

#[test]
fn who_answers_is_named() {
    let server = guest("actor", &format!("{FOR_EVER} --expose-pid"));
    let by_root = ask(&server, "pid; answer");
    assert_eq!(by_root.text(), by_root.pid().to_string());
    let child = "spawn a { receive; pid; answer; receive }; forward a";
    let by_child = ask(&server, child);
    assert_eq!(
        by_child.text().lines().nth(1),
        Some(&*by_child.pid().to_string())
    );
    assert_ne!(by_child.pid(), by_root.pid());
    let log = server.wait_entries("request", 2);
    let logged: Vec<_> = log
        .iter()
        .filter_map(|entry| entry["pid"].as_u64())
        .collect();
    assert_eq!(logged, [by_root.pid(), by_child.pid()]);
}

#[test]
fn a_request_can_go_through_many_hands() {
    let server = guest("actor", &format!("{FOR_EVER} --expose-pid"));
    let script = "spawn a { receive; answer; receive }
        ; spawn b { receive; forward a; tell; respond client 200 no; tell }
        ; spawn c { receive; forward-wait b 60000; tell }
        ; forward c";
    let reply = ask(&server, script);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.text(), "POST /");
    // Each held the request until it had sent it on.
    assert_eq!(outcome(&server, "receive-from c"), "c: ok");
    assert_eq!(outcome(&server, "receive-from b"), "b: ok");
}

#[test]
fn what_was_sent_on_does_not_come_back() {
    let server = guest("actor", FOR_EVER);
    // `t` does not take the request, but sends another for the same client on. So the request is
    // not returned to the root when the root's time is over. If `t` is too late, the request is
    // returned.
    let mut nth = 0;
    eventually("the request is sent on in time", || {
        nth += 1;
        let script = format!(
            "spawn x {{ receive; there tried-{nth}; answer; receive }}
            ; spawn t {{ insist {{ invent client x }}; there tried-{nth}; receive-from parent; receive }}
            ; forward-wait t 300; respond client 200 no; register tried-{nth}"
        );
        let reply = ask(&server, &script);
        assert_eq!(reply.status, 200, "{reply:?}");
        drop(ask(&server, "kill t; answer"));
        (reply.text() != "no").then_some(())
    });
}

#[test]
fn only_the_holder_answers() {
    let server = guest("actor", FOR_EVER);
    #[rustfmt::skip] // one line per case
    let cases = [
        ("forward a; respond client 200 x", "not-yours"),
        ("forward a; forward a", "not-yours"),
        ("forward-wait a 60000; forward a", "not-yours"),
        ("send client 1 x", "not-yours"),
        ("send-wait client 1 x 60000", "not-yours"),
        ("forward client", "not-yours"),
        ("monitor client", "no-process"),
        ("kill client", "no-process"),
        ("receive-from client", "no-process"),
        ("answer", "ok"),
        ("answer; respond client 200 twice", "no-process"),
        ("answer; forward self", "no-process"),
        ("answer; send client 1 x", "no-process"),
        ("respond a 200 x", "not-yours"),
        ("respond self 200 x", "not-yours"),
        ("respond 9999 200 x", "no-process"),
        ("respond 0 200 x", "no-process"),
        ("invent 9999 self", "no-process"),
        ("invent a self", "not-yours"),
        ("forward 9999", "no-process"),
        ("forward 0", "no-process"),
        ("watch a { }; receive-from a; forward a", "no-process"),
        ("watch a { }; receive-from a; forward-wait a 60000", "no-process"),
    ];
    for (nth, (script, expected)) in cases.iter().enumerate() {
        let play = format!("spawn a {{ receive; receive }}; {script}; say {nth}; kill a; answer");
        let status = ask(&server, &play).status;
        let forwarded = script.starts_with("forward")
            && *expected == "not-yours"
            && !script.ends_with("client");
        assert_eq!(status, if forwarded { 502 } else { 200 }, "{script}");
        wait_print(&server, &format!("{nth}: {expected}"));
    }
}

#[test]
fn a_request_that_is_not_taken_comes_back() {
    let server = guest("actor", &format!("{FOR_EVER} --max-mailbox 3"));
    let full = "spawn a { there awake; receive }; repeat 9 { send a 1 x }";
    assert_eq!(outcome(&server, full), "3 ok, then mailbox-full");
    let reply = ask(&server, "forward a; forward-wait a 20; answer");
    assert_eq!(
        reply.text(),
        "mailbox-full\ntimed-out",
        "the root holds it still"
    );
    // The request was withdrawn. Otherwise `a` would find it.
    let rest = "monitor a; register awake; receive-from a";
    assert_eq!(outcome(&server, rest), "a is down: normal");
    let found = "spawn a { there again; receive; tell }; forward-wait a 20; send a 1 x; register again; receive-from a";
    assert_eq!(outcome(&server, found), "a: parent 1 x");
}

#[test]
fn a_client_is_answered_and_the_next_awaited_at_once() {
    let server = guest("actor", FOR_EVER);
    let script = "spawn a { receive; forever { respond-and-receive client hello } }; forward a";
    assert_eq!(ask(&server, script).text(), "hello");
    for _ in 0..3 {
        let script = "forward-and-receive a; respond client 200 next";
        assert_eq!(ask(&server, script).text(), "hello");
        // The root waited for this request in the middle of its script.
        assert_eq!(ask(&server, "nothing").text(), "next");
    }
    let cases = [
        ("call client x 60000", "not-yours"),
        ("send-and-receive client 1 x", "not-yours"),
        ("answer; respond-and-receive client x", "no-process"),
        ("forward b; respond-and-receive client x", "not-yours"),
    ];
    for (nth, (script, expected)) in cases.iter().enumerate() {
        let play = format!("spawn b {{ receive; receive }}; {script}; say {nth}; kill b; answer");
        let _client = send(&server, &play);
        wait_print(&server, &format!("{nth}: {expected}"));
    }
}
