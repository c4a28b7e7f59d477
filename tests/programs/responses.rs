//! Responses: invalid responses are refused, and files are given away.

use crate::support::scripts::{FOR_EVER, ask, outcome, send};
use crate::support::server::{guest, guest_over};
use crate::support::{Folder, eventually, pattern};

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
    // The head has its own limit, 256 KiB, even if it is too large to be copied.
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
    let size = 1 << 30;
    let folder = Folder::new()
        .file("small", "s")
        .file("empty", "")
        .file("large", &content)
        .sparse("huge", size);
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
    // Smaller files are copied when they are opened, and need no descriptor.
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
