//! The log's lines about requests, and its other lines.

use std::fs;
use std::io::{BufRead, BufReader, Read};

use rustix::process::{Pid, Signal, kill_process};

use super::{plain, plain_json};
use crate::support::door::Address;
use crate::support::http::request_bytes;
use crate::support::server::{command, guest, serve};
use crate::support::{Client, Folder, Server, eventually};

#[test]
fn the_start_line_says_what_is_served() {
    let server = serve(Folder::new(), "--workers 2..3");
    let root = server.folder.root();
    for word in [
        &format!("http://{}", server.address()),
        "built-in",
        "pool",
        "2..3",
        &root.display().to_string(),
    ] {
        assert!(
            server.start_line.contains(word),
            "{word} in {:?}",
            server.start_line
        );
    }
    let server = guest("hello", "--mode single");
    for word in ["hello.wasm", "single"] {
        assert!(
            server.start_line.contains(word),
            "{word} in {:?}",
            server.start_line
        );
    }
}

#[test]
fn one_line_for_each_request() {
    let server = serve(
        Folder::new().file("file", "content"),
        "--workers 1 --expose-pid",
    );
    let mut client = server.client();
    let address = client.local_address().to_string();
    let reply = client.get("/file?a=1&b=%0a");
    let entry = &server.wait_entries("request", 1)[0];
    assert_eq!(
        entry["level"].as_str().map(str::to_lowercase).as_deref(),
        Some("info"),
        "{entry}"
    );
    assert_eq!(entry["pid"], reply.pid(), "{entry}");
    assert_eq!(entry["method"], "GET", "{entry}");
    assert_eq!(entry["path"], "/file", "{entry}");
    assert_eq!(entry["query"], "a=1&b=%0a", "{entry}");
    assert_eq!(entry["client"], address, "{entry}");
    assert_eq!(entry["status"], 200, "{entry}");
    assert_eq!(entry["bytes"], 7, "{entry}");
    assert!(entry["us"].as_u64().is_some(), "{entry}");
    assert!(entry["exit"].is_null(), "{entry}");
    let first = entry["id"].as_u64().expect("a number");

    assert_eq!(server.get("/missing").status, 404);
    let entry = &server.wait_entries("request", 2)[1];
    assert_eq!(
        (&entry["status"], entry["id"].as_u64()),
        (&404.into(), Some(first + 1)),
        "{entry}"
    );
    assert!(entry["query"].is_null(), "{entry}");

    let (method, long) = ("M".repeat(30_000), "x".repeat(10_000));
    server.request(&method, &format!("/{long}?{long}"), &[], b"");
    let entry = &server.wait_entries("request", 3)[2];
    for (field, most) in [("method", 32), ("path", 1024), ("query", 1024)] {
        let length = entry[field].as_str().expect("a text").len();
        assert_eq!(length, most, "{field} is cut");
    }
}

#[test]
fn refused_requests_have_a_line_with_the_reason() {
    let flags = "--workers 1 --queue 0 --max-body 1KiB --max-connections 1 --header-timeout 1s";
    let server = guest("misbehave", flags);
    let refused = |bytes: &[u8]| {
        let mut client = eventually("there is room for a connection", || {
            let mut client = server.client();
            client.send(bytes).ok()?;
            let reply = client.reply("GET").ok()?;
            (reply.status != 503).then_some(client)
        });
        let _end = client.rest();
        client.local_address().to_string()
    };
    let many = format!(
        "GET /ok HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "x: y\r\n".repeat(101)
    );
    let large = request_bytes("GET", "/ok", &[("x", &"x".repeat(100_000))], b"");
    let long = request_bytes("GET", &format!("/{}", "x".repeat(100_000)), &[], b"");
    let body = request_bytes("POST", "/echo", &[("connection", "close")], &[b'x'; 2000]);
    #[rustfmt::skip] // one line per case
    let cases: &[(&[u8], &str)] = &[
        (b"GET /o k HTTP/1.1\r\nhost: x\r\n\r\n", "not HTTP"),
        (b"GET /ok HTTP/1.1\r\n\r\n", "bad request"),
        (many.as_bytes(), "its head is too large"),
        (&long, "its request line is too long"),
        (&body, "its body is too large"),
    ];
    for (bytes, reason) in cases {
        let client = refused(bytes);
        let entry = server.wait_entry("request refused", |entry| entry["reason"] == *reason);
        assert_eq!(entry["client"], client, "{entry}");
        assert_eq!(entry["level"], "WARN", "{entry}");
    }
    // There is one line a second at most, and the next line gives the number of skipped lines.
    let skipped = eventually("lines are skipped", || {
        refused(&large);
        let lines = server.entries("request refused");
        lines.iter().find_map(|entry| {
            let is_it = entry["reason"] == "its head is too large";
            is_it.then(|| entry["skipped"].as_u64()).flatten()
        })
    });
    assert!(skipped > 0);

    let reason = |reason| move |entry: &serde_json::Value| entry["reason"] == reason;
    let mut tried = Vec::new();
    let entry = eventually("a slow head is refused", || {
        let mut slow = server.client();
        // The server may have no room for this connection yet.
        slow.send(b"GET /ok HTTP/1.1\r\nx").ok()?;
        tried.push(slow.local_address().to_string());
        let _end = slow.rest();
        let lines = server.entries("request refused");
        lines
            .into_iter()
            .find(reason("its head did not come in time"))
    });
    assert!(
        tried.iter().any(|client| entry["client"] == **client),
        "{entry}"
    );
    eventually("there are too many connections", || {
        let _idle = server.client();
        let mut client = server.client();
        let _ = client.send(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n");
        client
            .reply("GET")
            .is_ok_and(|reply| reply.status == 503)
            .then_some(())
    });
    server.wait_entry("request refused", reason("too many connections"));
}

#[test]
fn no_pid_unless_it_is_asked_for() {
    let server = guest("hello", "--workers 1");
    assert_eq!(server.get("/").field("x-wasm-pid"), None);
}

#[test]
fn hostile_paths_forge_nothing() {
    for format in ["json", "text"] {
        let server = serve(Folder::new(), &format!("--workers 1 --log-format {format}"));
        for target in [
            "/%0a%0dforged",
            "/\"}{\"message\":\"forged\"}",
            "/\\\",\"status\":200",
            "/\u{1b}[31m",
            "/\u{9b}31m",
            "/\u{202e}gnp.exe",
            "/%1b%5b31m",
            "/\u{7f}",
        ] {
            for method in ["GET", "FORGED"] {
                let mut client = server.client();
                client.ask(method, target, b"");
                let _ = client.reply(method).map(|reply| reply.status);
            }
        }
        assert_eq!(server.get("/last").status, 404);
        server.wait_text("/last");
        let text = server.log_text();
        assert!(
            if format == "json" {
                plain_json(&text)
            } else {
                plain(&text)
            },
            "{text:?}"
        );
        assert!(
            text.lines().all(|line| !line.starts_with("forged")),
            "{text}"
        );
    }
}

#[test]
fn levels_say_more_or_less() {
    let said = |level: &str| {
        let server = guest("misbehave", &format!("--workers 1 --log-level {level}"));
        assert_eq!(server.get("/ok").status, 200);
        assert_eq!(server.get("/trap").status, 502);
        let mut server: Server = server;
        server.signal(rustix::process::Signal::TERM);
        assert!(server.wait_exit().success());
        ["process started", "request", "process ended"]
            .map(|message| !server.entries(message).is_empty())
    };
    assert_eq!(said("debug"), [true, true, true]);
    assert_eq!(said("info"), [false, true, true]);
    assert_eq!(said("warn"), [false, false, true]);
    assert_eq!(said("error"), [false, false, false]);
    assert_eq!(said("off"), [false, false, false]);
}

#[test]
fn text_is_for_people() {
    let server = guest(
        "misbehave",
        "--workers 1 --log-format text --log-level info",
    );
    assert_eq!(server.get("/trap").status, 502);
    server.wait_text("/trap");
    server.wait_text("unreachable");
    assert!(!server.log_text().starts_with('{'), "{}", server.log_text());
}

/// The limit is on bytes, not on lines. While nobody reads, lines wait, and are written when
/// somebody reads. The log counts the lines that it drops.
#[test]
fn a_log_that_nobody_reads_takes_little_memory() {
    const REQUESTS: u64 = 20_000;
    let folder = Folder::new();
    let mut child = command(None, &folder.root(), "--workers 1 --log-level info")
        .spawn()
        .expect("the program runs");
    let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a start line");
    let mut client = Client::connect(Address::of(&line).expect("an address"));
    let path = format!("/{}", "x".repeat(1000));
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("a status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        peak.expect("a size").parse::<u64>().expect("a number") * 1024
    };
    assert_eq!(client.get(&path).status, 404);
    let before = memory();
    for _ in 1..REQUESTS {
        assert_eq!(client.get(&path).status, 404);
    }
    let grown = memory().saturating_sub(before);
    assert!(
        grown < 20 << 20,
        "{REQUESTS} lines of 1.1 KB took {grown} B"
    );

    let mut errors = child.stderr.take().expect("standard error is piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).expect("a log of text");
        text
    });
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs and takes a signal");
    assert!(child.wait().expect("a status").success());
    let text = reader.join().expect("the log was read");
    let written = text
        .lines()
        .filter(|line| line.contains("\"request\""))
        .count() as u64;
    let last = text.lines().last().expect("a last line");
    let (_, missing) = last
        .split_once("could not keep up: ")
        .expect("how many are missing");
    let missing = missing
        .split(' ')
        .next()
        .and_then(|lines| lines.parse::<u64>().ok());
    // In addition to the requests, there may be the line that says that the host is stopping.
    let all = written + missing.expect("a number");
    assert!(
        (REQUESTS..=REQUESTS + 1).contains(&all),
        "{written} written; {last}"
    );
}
