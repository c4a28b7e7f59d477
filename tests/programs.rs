//! Programs that serve HTTP: requests arrive as messages, whoever holds one answers it, and the
//! client hears of every end. The scripts are for `support/actor`, whose root runs the body of each
//! request.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::http::request_bytes;
use crate::support::server::{guest, guest_over};
use crate::support::{Client, Folder, Reply, Server, eventually, pattern};

/// A deadline that no test waits for.
const FOR_EVER: &str = "--request-timeout 600s";

/// A deadline that tests wait for, and before which processes that are slow come to their places.
const DEADLINE: &str = "--request-timeout 4s --expose-pid";

#[test]
fn a_request_arrives_with_its_client() {
    let server = guest("actor", FOR_EVER);
    assert_eq!(ask(&server, "same sender client; answer").text(), "yes");
    let reply = server.request("PUT", "/some/%20path?a=b", &[], b"path; answer");
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, "/some/%20path")
    );
    // The client has a pid of its own, and no two have the same.
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
    // Each held it until it had sent it on.
    assert_eq!(outcome(&server, "receive-from c"), "c: ok");
    assert_eq!(outcome(&server, "receive-from b"), "b: ok");
}

#[test]
fn what_was_sent_on_does_not_come_back() {
    let server = guest("actor", FOR_EVER);
    // `t` does not take the request, but sends another for the same client on. So it isn't the
    // root's again when the root's patience is over. Where `t` is late for that, it is.
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
    // It was withdrawn, or else `a` would find it.
    let rest = "monitor a; register awake; receive-from a";
    assert_eq!(outcome(&server, rest), "a is down: normal");
    let found = "spawn a { there again; receive; tell }; forward-wait a 20; send a 1 x; register again; receive-from a";
    assert_eq!(outcome(&server, found), "a: parent 1 x");
}

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
    // One is killed; one ends by itself, having answered the second of its clients and not the
    // first.
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
    // It waits for whatever else, or does something for somebody else: one client's patience is not
    // its own.
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
fn a_client_is_answered_and_the_next_awaited_at_once() {
    let server = guest("actor", FOR_EVER);
    let script = "spawn a { receive; forever { respond-and-receive client hello } }; forward a";
    assert_eq!(ask(&server, script).text(), "hello");
    for _ in 0..3 {
        let script = "forward-and-receive a; respond client 200 next";
        assert_eq!(ask(&server, script).text(), "hello");
        // The root has waited for this request, in the middle of its script.
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

    let client = send(
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

#[test]
fn a_full_root_refuses_at_once() {
    let server = guest("actor", &format!("{FOR_EVER} --max-mailbox 2"));
    // The root is busy until there is a file of this name.
    let mut busy = send(&server, "print busy; there-is go; answer");
    wait_print(&server, "busy");
    let mut clients: Vec<_> = (0..5).map(|_| send(&server, "answer")).collect();
    let refused = server.wait_entries("request", 3);
    for entry in &refused {
        assert_eq!(entry["status"], 503, "{entry}");
        assert!(entry["pid"].is_null(), "no process was involved: {entry}");
    }
    File::create(server.folder.root().join("go")).expect("a file");
    assert_eq!(busy.reply("POST").expect("a reply").status, 200);
    let mut statuses: Vec<u16> = Vec::new();
    for client in &mut clients {
        let reply = client.reply("POST").expect("a reply");
        assert_eq!(
            reply.status == 503,
            reply.field("retry-after").is_some(),
            "{reply:?}"
        );
        statuses.push(reply.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503, 503]);
}

#[test]
fn a_root_that_ends_is_started_again() {
    let server = guest("actor", &format!("{FOR_EVER} --expose-pid"));
    let mut last = ask(&server, "answer").pid();
    for (end, exit) in [
        ("exit 0", "normal"),
        ("exit 3", "code"),
        ("trap", "trap"),
        ("oom", "memory"),
    ] {
        // A client of a child is lost as well: children end with their parent.
        let mut child_s = send(
            &server,
            &format!("spawn a {{ receive; print {exit}; receive }}; forward a"),
        );
        wait_print(&server, exit);
        let reply = ask(&server, end);
        assert_eq!(reply.status, 502, "{end}: {reply:?}");
        assert_eq!(server.wait_request(reply.request_id())["exit"], exit);
        assert_eq!(child_s.reply("POST").expect("a reply").status, 502);
        let next = eventually("there is a root again", || {
            let reply = ask(&server, "answer");
            assert!([200, 502, 503].contains(&reply.status), "{reply:?}");
            assert_eq!(reply.status == 503, reply.field("retry-after").is_some());
            (reply.status == 200).then(|| reply.pid())
        });
        assert_ne!(next, last);
        last = next;
        // The log may still be on its way.
        eventually("nobody else lives", || {
            (server.living() == BTreeSet::from([next])).then_some(())
        });
    }
}

#[test]
fn a_root_that_was_asked_is_replaced_before_the_next_request() {
    let server = guest("actor", FOR_EVER);
    for nth in 0..50 {
        assert_eq!(ask(&server, "trap").status, 502, "crash {nth}");
        let reply = ask(&server, "answer");
        assert_eq!(reply.status, 200, "after crash {nth}: {reply:?}");
    }
}

#[test]
fn a_root_that_takes_no_request_is_started_at_longer_and_longer_intervals() {
    let folder = Folder::new().file("end-at-once", "");
    let broken = folder.root().join("end-at-once");
    let server = guest_over("actor", folder, FOR_EVER);
    server.wait_entries("the root has ended, and is started again", 3);
    let mut refused = 0;
    eventually("50 requests are refused", || {
        let reply = ask(&server, "answer");
        match reply.status {
            503 => assert!(reply.field("retry-after").is_some(), "{reply:?}"),
            status => assert_eq!(
                status, 502,
                "it reached a root that was just ending: {reply:?}"
            ),
        }
        refused += usize::from(reply.status == 503);
        (refused == 50).then_some(())
    });
    assert!(
        server.entries("process started").len() < 20,
        "roots are not started without a pause"
    );
    std::fs::remove_file(broken).expect("the file is removed");
    eventually("there is a root again", || {
        (ask(&server, "answer").status == 200).then_some(())
    });
    server.wait_text("the root answers again");
}

#[test]
fn responses_that_are_not_http() {
    let server = guest(
        "actor",
        &format!("{FOR_EVER} --max-response 1KiB --expose-pid"),
    );
    let mut last = 0;
    for bad in [
        "respond client 999 x",
        "respond client 100 x",
        "respond client 0 x",
        "respond client 204 x",
    ] {
        let reply = ask(&server, bad);
        assert_eq!(reply.status, 502, "{bad}: {reply:?}");
        assert_eq!(server.wait_request(reply.request_id())["exit"], "response");
        assert_eq!(server.wait_end(reply.pid())["exit"], "response");
        assert!(reply.pid() > last, "its process has ended for it");
        last = reply.pid();
    }
    let root = ask(&server, "answer").pid();
    let reply = ask(&server, "respond-bytes client x*1025; answer");
    assert_eq!((reply.status, reply.text().as_str()), (200, "too-large"));
    assert_eq!(ask(&server, "respond-bytes client x*1024").body.len(), 1024);
    // The head has a limit of its own, 256 KiB, also where it can't even be copied.
    for fields in ["60 x*4096", "70 x*4096", "1000 x*4096"] {
        let reply = ask(&server, &format!("respond-fields client {fields}; answer"));
        let outcome = if fields.starts_with("60") {
            ""
        } else {
            "too-large"
        };
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (200, outcome),
            "{fields}"
        );
    }
    assert_eq!(ask(&server, "answer").pid(), root, "the process lives on");
}

#[test]
fn files_are_given_away() {
    let content = pattern(300_000);
    let folder = Folder::new()
        .file("small", "s")
        .file("empty", "")
        .file("large", &content);
    let size = 1 << 30;
    let huge = File::create(folder.root().join("huge")).expect("a file");
    huge.set_len(size).expect("a sparse file");
    let server = guest_over("actor", folder, &format!("{FOR_EVER} --max-open-files 2"));
    let before = server.memory("VmRSS");
    for _ in 0..5 {
        for (name, expected) in [
            ("small", b"s".as_slice()),
            ("empty", b""),
            ("large", &content),
        ] {
            assert!(
                ask(&server, &format!("respond-file client {name}")).body == expected,
                "{name}"
            );
        }
        let by_child = ask(
            &server,
            "spawn a { receive; respond-file client large }; forward a",
        );
        assert!(by_child.body == content, "who gave it has ended meanwhile");
    }
    let mut client = send(&server, "respond-file client huge");
    let head = client.head().expect("a head");
    let mut count = 0;
    client
        .body("POST", &head, |piece| count += piece.len() as u64)
        .expect("the whole file");
    assert_eq!(count, size);
    assert!(server.memory("VmRSS") < before + (64 << 20));
    eventually("all are closed", || {
        ["small", "large", "huge"]
            .iter()
            .all(|name| server.open_files(name) == 0)
            .then_some(())
    });
}

#[test]
fn files_of_who_has_ended_are_closed() {
    // Smaller ones are copied when they are opened, and need no descriptor.
    let folder = Folder::new().file("file", [b'x'; (64 << 10) + 1]);
    let server = guest_over("actor", folder, &format!("{FOR_EVER} --max-open-files 8"));
    let opens = "spawn a { receive-from parent; repeat 9 { open file }; tell; receive }; send a 1 x; receive-from a";
    let at_first = server.open_files("file");
    for _ in 0..3 {
        assert_eq!(
            outcome(&server, &format!("repeat 1 {{ {opens} }}")),
            "0 ok, then a: 8 ok, then too-many-open"
        );
        assert!(server.open_files("file") > at_first);
    }
    drop(ask(&server, "kill a; answer"));
    drop(ask(&server, "exit 0"));
    eventually("all are closed", || {
        (server.open_files("file") <= at_first).then_some(())
    });
}

#[test]
fn stopping_lets_requests_finish_and_ends_the_rest() {
    #[rustfmt::skip] // one line per case
    let cases = [
        ("spawn a { spin }; pause 300; answer", "50s", 200),
        ("spawn a { receive; spin }; forward a", "1s", 503),
        ("spawn a { receive; receive }; forward a", "1s", 503),
        ("spin", "1s", 503),
    ];
    for (script, grace, status) in cases {
        let mut server = guest("actor", &format!("{FOR_EVER} --grace {grace}"));
        let mut client = send(&server, &format!("print running; {script}"));
        wait_print(&server, "running");
        let start = Instant::now();
        server.signal(Signal::TERM);
        let reply = client.reply("POST").expect("a reply");
        assert_eq!(reply.status, status, "{script}: {reply:?}");
        assert_eq!(server.wait_exit().code(), Some(0), "{script}");
        assert!(start.elapsed().as_secs() < 30, "{script}");
        assert!(
            server.living().is_empty(),
            "{script}: {:?}",
            server.living()
        );
    }
}

pub(crate) fn send(server: &Server, script: &str) -> Client {
    let mut client = server.client();
    client
        .send(&request_bytes("POST", "/", &[], script.as_bytes()))
        .expect("the request is sent");
    client
}

/// Has the root run this script.
pub(crate) fn ask(server: &Server, script: &str) -> Reply {
    server.request("POST", "/", &[], script.as_bytes())
}

/// What the last statement of this script comes to.
pub(crate) fn outcome(server: &Server, script: &str) -> String {
    let reply = ask(server, &format!("{script}; answer"));
    assert_eq!(reply.status, 200, "{script}: {reply:?}");
    let text = reply.text();
    text.lines().last().unwrap_or_default().to_owned()
}

/// Waits until a process has printed this line, which no other does.
pub(crate) fn wait_print(server: &Server, line: &str) {
    server.wait_entry("guest output", |entry| entry["line"] == line);
}

fn left(server: &Server) -> usize {
    let requests = server.entries("request");
    requests
        .iter()
        .filter(|entry| entry["exit"] == "client-left")
        .count()
}
