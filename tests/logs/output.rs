//! The output of guests: the log writes whole lines in its own format, and limits their number.

use std::time::Instant;

use super::{plain, plain_json};
use crate::support::Folder;
use crate::support::scripts::FOR_EVER;
use crate::support::server::{component, guest};
use crate::support::wat::Worker;

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

/// Prints only newlines, each through a new handle: all handles are one stream.
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

/// In a program, no line belongs to a request. Lines that are not logged are counted.
#[test]
fn a_program_that_floods_the_log_is_cut() {
    const LINES: u64 = 20_000;
    let server = guest("actor", FOR_EVER);
    let script = format!("watch a {{ repeat {LINES} {{ print flood }} }}; receive; answer");
    let start = Instant::now();
    assert_eq!(
        server.request("POST", "/", &[], script.as_bytes()).status,
        200
    );
    // The limit is a thousand lines a second, however fast this machine prints.
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
    // The last line has no newline at its end. It is written when the process ends.
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
    // Prints 4 KiB without a newline, 16,000 times.
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

/// A worker that prints this text. The text is escaped as in WAT.
fn printer(text: &str) -> String {
    let data = format!("(data (memory $shared) (i32.const 3000) \"{text}\")");
    let bytes = bytes(text);
    let print = format!(
        "(call $write (call $get-stdout) (i32.const 3000) (i32.const {bytes}) (i32.const 2048))"
    );
    with_stdout(&data, &print)
}

/// The length of an escaped text in bytes: `\n` and `\r` are one, and so is `\` with two digits.
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
