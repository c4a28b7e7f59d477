//! `trace`, `drill` and `top`: a running host is watched by the call, tried by force, and shown
//! live.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::server::{PROGRAM, Server, guest, guest_over, serve};
use crate::support::steer::{ask, asking, json};
use crate::support::terminal::{RESTORED, Screen};
use crate::support::{Folder, eventually, meanwhile};

/// A trace that goes on.
struct Trace {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Trace {
    fn begin(server: &Server, arguments: &str) -> Self {
        let mut command = asking(server.folder.path(), &format!("trace {arguments}"));
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> Option<String> {
        self.lines.next().map(|line| line.expect("text"))
    }

    /// The lines up to the first that this is in.
    fn until(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line() {
            lines.push(line);
            if lines.last().is_some_and(|line| line.contains(text)) {
                return lines;
            }
        }
        panic!("the trace has ended before {text:?}: {lines:#?}");
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Does something while one client asks again and again.
fn beside<T>(again: impl Fn() + Sync, act: impl FnOnce() -> T) -> T {
    let client = |goes_on: &dyn Fn() -> bool| {
        while goes_on() {
            again();
        }
    };
    meanwhile(1, client, act)
}

#[test]
fn a_trace_shows_requests_and_calls() {
    let folder = Folder::new()
        .file("index.html", "home")
        .file("big", [b'x'; 100_000]);
    let server = serve(folder, "--workers 1");
    let mut trace = Trace::begin(&server, "--pool main");
    let lines = beside(
        || {
            assert_eq!(server.get("/").status, 200);
            assert_eq!(server.get("/none").status, 404);
        },
        || {
            trace.until(": GET /none");
            trace.until(": GET /none")
        },
    );
    let text = lines.join("\n");
    for (part, is) in [
        ("request ", ": GET /"),
        ("open", "index.html\""),
        ("= file ", " 4 bytes <"),
        ("request ", ": 200 <"),
        ("request ", ": 404 <"),
        (" us>", ""),
    ] {
        let found = lines
            .iter()
            .any(|line| line.contains(part) && line.contains(is));
        assert!(found, "{part:?} with {is:?} in\n{text}");
    }
    // The end of a process ends its trace.
    let pid = json(&server, "ps --json")[0]["pid"]
        .as_u64()
        .expect("a pid");
    let mut trace = Trace::begin(&server, &format!("{pid} --json"));
    beside(
        || {
            let _replaced = server.get("/");
        },
        || {
            let first: Value = serde_json::from_str(&trace.line().expect("a line")).expect("JSON");
            assert_eq!(first["pid"], pid);
            let (code, text) = ask(server.folder.path(), &format!("kill {pid}"));
            assert_eq!(code, 0, "{text}");
            let mut last = trace.until("\"killed\"");
            let last: Value = serde_json::from_str(&last.pop().expect("a line")).expect("JSON");
            assert_eq!(
                (&last["event"], &last["exit"]),
                (&"ended".into(), &"killed".into())
            );
            assert!(trace.line().is_none());
        },
    );
    assert!(trace.child.wait().expect("our own").success());
}

#[test]
fn a_trace_shows_messages() {
    let folder = Folder::new().file("index.html", "home");
    let server = guest_over("prefork", folder, "");
    let mut trace = Trace::begin(&server, "--pool main");
    let lines = beside(
        || assert_eq!(server.get("/").status, 200),
        || {
            trace.until("response 200");
            trace.until("response 200")
        },
    );
    let text = lines.join("\n");
    for part in [
        "receive() = request ",
        ": \"GET\" \"/\" <",
        "send-and-receive(to ",
        "request of client",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

#[test]
fn a_trace_of_nobody_is_refused_and_one_with_an_end_ends() {
    let server = guest("hello", "");
    for (arguments, code, said) in [
        ("trace 999999", 1, "there is no process 999999"),
        (
            "trace --pool none",
            1,
            "there is no pool \"none\"; there is main",
        ),
        ("trace", 2, "required"),
        ("trace --pool main --for 1ms", 0, ""),
    ] {
        let (ended, text) = ask(server.folder.path(), arguments);
        assert_eq!(ended, code, "{arguments}: {text}");
        assert!(text.contains(said), "{arguments}: {text}");
    }
}

#[test]
fn a_drill_finds_that_nobody_else_is_touched() {
    let server = guest("misbehave", "--workers 4..8");
    let load = || {
        let status = server.get("/slow?ms=5").status;
        assert!([200, 502].contains(&status), "{status}");
    };
    let (code, text) = beside(load, || {
        ask(server.folder.path(), "drill --rate 50/s --for 2s --yes")
    });
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("others touched     nobody\n"), "{text}");
    let number = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().split([',', ' ']).next());
        number
            .and_then(|number| number.parse().ok())
            .expect("a number")
    };
    let (killed, failed) = (number("processes killed"), number("requests failed"));
    assert!(killed > 0 && failed > 0 && failed <= killed, "{text}");
    assert!(number("replaced") > 0, "{text}");
    assert!(number("requests answered") > 0, "{text}");
}

#[test]
fn a_drill_names_who_else_was_touched() {
    let server = guest("misbehave", "--workers 2");
    let load = || assert_eq!(server.get("/trap").status, 502);
    let (code, text) = beside(load, || {
        ask(server.folder.path(), "drill --rate 1/s --for 500ms --yes")
    });
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("requests failed without a kill\n  request "),
        "{text}"
    );
    assert!(text.contains(" of main, process "), "{text}");
    assert!(
        text.contains(" (trap): the process that served this request ended"),
        "{text}"
    );
}

#[test]
fn a_drill_asks_first() {
    let server = guest("hello", "--workers 1");
    let before = server.wait_living(1);
    for (arguments, said) in [
        ("drill", "standard input is no terminal: give --yes"),
        (
            "drill --yes --pool none",
            "there is no pool \"none\"; there is main",
        ),
        ("drill --yes --rate 5", "is no rate; give one such as 5/s"),
    ] {
        let mut command = asking(server.folder.path(), arguments);
        let (code, text) = crate::support::server::outcome(command.stdin(Stdio::null()));
        assert_ne!(code, 0, "{arguments}");
        assert!(text.contains(said), "{arguments}: {text}");
    }
    let mut screen = screen(&server, "drill --for 10s");
    screen.wait("[y/N]");
    screen.press("n\n");
    let (code, text) = screen.ended();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("nothing was killed"), "{text}");
    assert_eq!(server.living(), before);
    // The processes of a program are meant to be touched by each other's ends.
    let program = guest_over("prefork", Folder::new(), "");
    let (code, text) = ask(program.folder.path(), "drill --yes --pool main");
    assert!(code == 1 && text.contains("main is a program"), "{text}");
}

fn screen(server: &Server, arguments: &str) -> Screen {
    let command = format!("exec {PROGRAM} {arguments} --host {}", server.pid());
    Screen::open(&command, server.folder.path())
}

#[test]
fn top_shows_pools_until_a_key() {
    let server = guest("misbehave", "--workers 2");
    let mut screen = screen(&server, "top");
    screen.wait("main");
    screen.press("q");
    let (code, text) = screen.ended();
    assert_eq!(code, 0, "{text}");
    assert!(text.ends_with(RESTORED), "{text:?}");
}

#[test]
fn top_ends_with_its_host() {
    let mut server = guest("misbehave", "--workers 2");
    let screen = screen(&server, "top");
    screen.wait("main");
    server.signal(Signal::TERM);
    assert!(server.wait_exit().success());
    let (code, text) = screen.ended();
    assert_eq!(code, 1, "{text}");
    let (_, after) = text.split_once(RESTORED).expect("the terminal is restored");
    assert!(after.contains("the host has ended"), "{text:?}");
}

#[test]
fn top_needs_a_terminal() {
    let server = guest("misbehave", "");
    let (code, text) = ask(server.folder.path(), "top");
    assert_eq!(code, 1);
    assert!(
        text.contains("top needs a terminal; ps and status print once"),
        "{text}"
    );
    eventually("it serves", || {
        (server.get("/ok").status == 200).then_some(())
    });
}
