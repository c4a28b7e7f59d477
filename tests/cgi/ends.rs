//! How a command ends, and what its client sees of it.

use crate::support::Folder;
use crate::support::command::{Command, command, plain};
use crate::support::server::{component, guest};

/// Before the head: an error, and the log says why.
#[test]
fn ends_before_the_head() {
    #[rustfmt::skip] // one line per case
    let cases: [(&str, Command, u16, &str); 10] = [
        ("nothing", command(), 502, "it printed nothing to standard output"),
        ("exit 0", command().exit(0), 502, "it printed nothing to standard output"),
        ("exit 3", command().exit(3), 502, "exit code 3"),
        ("exit 3 in the head", command().print("Status: 200\n").exit(3), 502, "exit code 3"),
        ("exit 255", command().exit(255), 502, "exit code 255"),
        ("trap", command().trap(), 502, "unreachable"),
        ("trap in the head", command().print("Status: 200\n").trap(), 502, "unreachable"),
        ("only errors", command().complain("a complaint\n"), 502, "it printed nothing to standard output"),
        ("spin", command().spin(), 504, "deadline"),
        ("spin in the head", command().print("Status: 200\n").spin(), 504, "deadline"),
    ];
    for (name, command, status, reason) in cases {
        let server = command.serve("--request-timeout 300ms");
        let reply = server.get("/");
        assert_eq!(reply.status, status, "{name}: {reply:?}");
        let logged = server.wait_reason(reply.request_id());
        assert!(logged.contains(reason), "{name}: {logged}");
        assert_eq!(server.get("/").status, status, "{name}, a second time");
    }
}

/// WASI as it was in 2019 had another name, and other numbers in a few functions.
#[test]
fn commands_of_2019() {
    let text = plain().print("an old one").exit(0).text();
    let text = text.replace("wasi_snapshot_preview1", "wasi_unstable");
    let server = component(&text, Folder::new(), "");
    assert_eq!(server.get("/").text(), "an old one");
}

/// After the head: the client sees that the body is not whole. The head is sent with the first
/// 64 KiB of the body, so the body here is larger.
#[test]
fn ends_behind_the_head() {
    let started = || plain().print_blocks(64, 4);
    #[rustfmt::skip] // one line per case
    let cases: [(&str, Command, Option<&str>); 5] = [
        ("end", started(), None),
        ("exit 0", started().exit(0), None),
        ("exit 3", started().exit(3), Some("code 3")),
        ("trap", started().trap(), Some("trap")),
        ("spin", started().spin(), Some("deadline")),
    ];
    for (name, command, failure) in cases {
        let server = command.serve("--request-timeout 2s");
        let mut client = server.send("/");
        let head = client.head().expect("a head");
        assert_eq!(head.status, 200, "{name}");
        let mut bytes = 0;
        let body = client.body("GET", &head, |piece| bytes += piece.len());
        assert!(bytes <= 256 << 10, "{name}: {bytes}");
        assert_eq!(body.is_err(), failure.is_some(), "{name}: {body:?}");
        match failure {
            None => assert_eq!(bytes, 256 << 10, "{name}"),
            Some(exit) => {
                server.wait_entry("process ended", |entry| entry["exit"] == exit);
            }
        }
    }
}

/// A client of HTTP/1.0 knows no chunks: only a reset tells it that the body is not whole.
#[test]
fn an_old_client_sees_it_too() {
    for (name, command, is_whole) in [
        ("exit 0", plain().print_blocks(64, 4).exit(0), true),
        ("exit 3", plain().print_blocks(64, 4).exit(3), false),
    ] {
        let server = command.serve("");
        let mut client = server.client();
        client.send(b"GET / HTTP/1.0\r\n\r\n").expect("a request");
        let read = client.reply("GET");
        assert_eq!(read.is_ok(), is_whole, "{name}: {read:?}");
    }
}

#[test]
fn each_request_has_a_process_of_its_own() {
    for mode in ["pool", "per-request", "single"] {
        let server = plain()
            .print("hello")
            .serve(&format!("--mode {mode} --expose-pid"));
        let mut client = server.client();
        let pids: Vec<u64> = (0..5).map(|_| client.get("/").pid()).collect();
        let mut distinct = pids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), pids.len(), "{mode}: {pids:?}");
    }
}

#[test]
fn standard_error_is_logged() {
    let server = command()
        .complain("before\n")
        .print("Status: 200\n\n")
        .complain("after\n")
        .serve("");
    let reply = server.get("/");
    assert_eq!((reply.status, &*reply.text()), (200, ""));
    for line in ["before", "after"] {
        let entry = server.wait_entry("guest output", |entry| entry["line"] == line);
        assert_eq!(entry["stream"], "stderr", "{entry}");
        assert!(entry["pid"].is_u64(), "{entry}");
    }
}

#[test]
fn a_component_ends_as_well() {
    let server = guest("commander", "");
    #[rustfmt::skip] // one line per case
    let cases = [("/", 200, "hello\n"), ("/exit-0", 200, ""), ("/upper", 200, "ABC"), ("/complain", 200, "")];
    for (path, status, text) in cases {
        let reply = server.request("POST", path, &[], b"abc");
        assert_eq!((reply.status, &*reply.text()), (status, text), "{path}");
    }
    for path in ["/exit-1", "/exit-3", "/panic"] {
        let reply = server.get(path);
        // Nothing of the body was sent yet, so there is room for an error.
        assert_eq!(reply.status, 502, "{path}: {reply:?}");
    }
}

/// Tasks go on after `run` has returned, and print the response.
#[test]
fn a_command_for_tasks_ends_with_its_last_task() {
    let server = guest("commander03", "");
    let reply = server.request("POST", "/path", &[], b"body");
    assert_eq!(
        (reply.status, &*reply.text()),
        (200, "/path\nbody\nthe end\n")
    );
    server.wait_entry("guest output", |entry| entry["line"] == "a complaint");
    assert_eq!(server.get("/fail").status, 502);
    assert_eq!(server.get("/again").text(), "/again\n\nthe end\n");
}
