//! The root: its mailbox is full, it ends and is started again, it is stopped.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::scripts::{FOR_EVER, ask, send, wait_print};
use crate::support::server::{guest, guest_over};
use crate::support::{Folder, eventually};

#[test]
fn a_full_root_refuses_at_once() {
    let server = guest("actor", &format!("{FOR_EVER} --max-mailbox 2"));
    // The root is busy until there is a file with this name.
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
        // The log may arrive later.
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
