//! What a person sees: one start line, one line for each request, and what guests print, with their
//! pids. Every test's server checks beside that each line of its log is flat JSON.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::http::request_bytes;
use crate::support::server::{address, command, component, guest, serve};
use crate::support::wat::Worker;
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
    // One a second at most, and the next says how many it stands for.
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
        // There may be no room for this connection yet.
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
fn what_a_guest_prints() {
    let server = guest("misbehave", "--workers 1 --expose-pid");
    let reply = server.get("/print");
    let pid = reply.pid();
    let id = server.wait_entries("request", 1)[0]["id"].clone();
    for (stream, line) in [
        ("stdout", "a line on standard output"),
        ("stderr", "a line on standard error"),
    ] {
        let entry = server.wait_entry("guest output", |entry| entry["stream"] == stream);
        assert_eq!(
            (&entry["line"], &entry["pid"], &entry["id"]),
            (&line.into(), &pid.into(), &id),
            "{entry}"
        );
    }
    assert_eq!(server.get("/panic").status, 502);
    server.wait_entry("guest output", |entry| {
        entry["line"]
            .as_str()
            .is_some_and(|line| line.contains("this worker was asked to panic"))
    });
    server.wait_entries("process ended", 1);
    assert!(
        !server.log_text().contains("RUST_BACKTRACE"),
        "nobody can set it"
    );
}

/// Newlines only, each time through a handle of its own: all handles are one stream.
#[test]
fn a_guest_that_floods_the_log_is_cut() {
    const WRITES: u64 = 200;
    let print = format!(
        "(memory.fill (i32.const 4096) (i32.const 10) (i32.const 4096))
        (local.set $end (i32.const {WRITES}))
        (loop $again
          (call $write (call $get-stdout) (i32.const 4096) (i32.const 4096) (i32.const 2048))
          (local.set $end (i32.sub (local.get $end) (i32.const 1)))
          (br_if $again (local.get $end)))"
    );
    let server = component(&with_stdout("", &print), Folder::new(), "--workers 1");
    for request in 1..=2 {
        assert_eq!(server.get("/").status, 200);
        let skipped = &server.wait_entries("guest output skipped", request)[request - 1];
        let lines = server.entries("guest output").len() as u64;
        assert_eq!(lines, 256 * request as u64, "lines of a request");
        assert_eq!(skipped["lines"], WRITES * 4096 - 256, "{skipped}");
        assert!(skipped["pid"].is_u64(), "{skipped}");
    }
}

/// Bytes are bounded, not lines: nobody reads, and what waits is written when somebody does. The
/// rest is counted.
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
    let mut client = Client::connect(address(&line).expect("an address"));
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
    // Beside requests there may be the line that says it is stopping.
    let all = written + missing.expect("a number");
    assert!(
        (REQUESTS..=REQUESTS + 1).contains(&all),
        "{written} written; {last}"
    );
}

/// In a program, no line belongs to a request. What is not logged is counted.
#[test]
fn a_program_that_floods_the_log_is_cut() {
    const LINES: u64 = 20_000;
    let server = guest("actor", "--request-timeout 600s");
    let script = format!("watch a {{ repeat {LINES} {{ print flood }} }}; receive; answer");
    let start = Instant::now();
    assert_eq!(
        server.request("POST", "/", &[], script.as_bytes()).status,
        200
    );
    // A thousand a second, however fast this machine prints.
    let most = 1_000 * (start.elapsed().as_secs() + 2);
    server.wait_entries("process ended", 1);
    let skipped = server.entries("guest output skipped");
    let skipped: u64 = skipped
        .iter()
        .filter_map(|entry| entry["lines"].as_u64())
        .sum();
    let lines = server.entries("guest output").len() as u64;
    assert!((1..=most).contains(&lines), "{lines} lines");
    assert_eq!(lines + skipped, LINES);
}

#[test]
fn lines_are_written_when_they_end() {
    // Without a newline at its end: it is written when the process ends.
    let server = component(
        &printer("one\\ntwo\\r\\nthree"),
        Folder::new(),
        "--mode per-request",
    );
    assert_eq!(server.get("/").status, 200);
    let lines: Vec<_> = server
        .wait_entries("guest output", 3)
        .iter()
        .map(|entry| entry["line"].clone())
        .collect();
    assert_eq!(lines[0], "one");
    assert!(lines[1] == "two" || lines[1] == "two\r", "{lines:?}");
    assert_eq!(lines[2], "three");
}

#[test]
fn what_a_guest_prints_forges_nothing() {
    let forged = "\\n{\\22level\\22:\\22ERROR\\22,\\22message\\22:\\22forged\\22}\\n\\1b[31mred\\1b[0m\\07\\00\\ff\\n";
    let server = component(&printer(forged), Folder::new(), "--workers 1");
    assert_eq!(server.get("/").status, 200);
    server.wait_entry("guest output", |entry| {
        entry["line"]
            .as_str()
            .is_some_and(|line| line.contains("red"))
    });
    assert!(server.entries("forged").is_empty(), "{}", server.log_text());
    assert!(plain_json(&server.log_text()), "{:?}", server.log_text());

    let server = component(
        &printer(forged),
        Folder::new(),
        "--workers 1 --log-format text",
    );
    assert_eq!(server.get("/").status, 200);
    server.wait_text("red");
    let text = server.log_text();
    assert!(plain(&text), "{text:?}");
    assert!(
        text.lines().all(|line| !line.starts_with('{')),
        "a guest starts no line of its own: {text}"
    );
}

#[test]
fn a_guest_that_prints_without_end_takes_no_memory() {
    // 4 KiB without a newline, 16,000 times.
    let print = "
        (memory.fill (i32.const 4096) (i32.const 120) (i32.const 4096))
        (local.set $end (i32.const 16000))
        (local.set $out (call $get-stdout))
        (loop $again
          (call $write (local.get $out) (i32.const 4096) (i32.const 4096) (i32.const 2048))
          (local.set $end (i32.sub (local.get $end) (i32.const 1)))
          (br_if $again (local.get $end)))";
    let server = component(
        &with_stdout("", print),
        Folder::new(),
        "--workers 1 --log-level error",
    );
    let before = server.memory("VmHWM");
    assert_eq!(server.get("/").status, 200);
    let grown = server.grown(before);
    assert!(grown < 64 << 20, "65 MB of output took {grown} B");
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
                client
                    .send(&request_bytes(method, target, &[], b""))
                    .expect("the request is sent");
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

/// Whether a terminal would show this as it is.
fn plain(text: &str) -> bool {
    text.chars()
        .all(|letter| letter == '\n' || !letter.is_control())
}

/// Whether a line ends where a log line ends. (JSON leaves DEL and what is above it as it is.)
fn plain_json(text: &str) -> bool {
    text.chars().all(|letter| letter == '\n' || letter >= ' ')
}

/// A worker that prints this text, which is escaped as WAT has it.
fn printer(text: &str) -> String {
    let data = format!("(data (memory $shared) (i32.const 3000) \"{text}\")");
    let bytes = bytes(text);
    let print = format!(
        "(call $write (call $get-stdout) (i32.const 3000) (i32.const {bytes}) (i32.const 2048))"
    );
    with_stdout(&data, &print)
}

/// How many bytes an escaped text has: `\n` and `\r` are one, and so is `\` with two digits.
fn bytes(text: &str) -> usize {
    let (mut letters, mut count) = (text.chars(), 0);
    while let Some(letter) = letters.next() {
        if letter == '\\' && !matches!(letters.next(), Some('n' | 'r')) {
            letters.next();
        }
        count += 1;
    }
    count
}

/// A worker that has WASI's standard output: `get-stdout` gives a handle, and `write` takes one, an
/// address, a length and a place for the result.
fn with_stdout(fields: &str, handle: &str) -> String {
    let imports = r#"
  (import "wasi:io/error@0.2.0" (instance $io-error (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $the-error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $output-stream (sub resource)))
    (export "error" (type $error (eq $the-error)))
    (type $a-stream-error (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $a-stream-error)))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $output-stream)) (param "contents" (list u8))
        (result (result (error $stream-error)))))
  ))
  (alias export $streams "output-stream" (type $the-stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (export "output-stream" (type $output-stream (eq $the-stream)))
    (export "get-stdout" (func (result (own $output-stream))))
  ))
"#;
    let lowered = r#"
  (alias export $stdout "get-stdout" (func $get-stdout))
  (alias export $streams "[method]output-stream.blocking-write-and-flush" (func $write))
  (core func $lowered-get-stdout (canon lower (func $get-stdout)))
  (core func $lowered-write (canon lower (func $write) (memory $memory) (realloc $realloc)))
  (core instance $extra
    (export "get-stdout" (func $lowered-get-stdout)) (export "write" (func $lowered-write)))
"#;
    let functions = r#"
    (import "extra" "get-stdout" (func $get-stdout (result i32)))
    (import "extra" "write" (func $write (param i32 i32 i32 i32)))
"#;
    let fields = functions.to_owned() + fields;
    Worker {
        imports,
        lowered,
        fields: &fields,
        handle,
    }
    .text()
}
