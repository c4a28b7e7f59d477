//! What one process does to itself: its own client gets a status and a request's number, the log
//! gets the reason, and everybody else notices nothing.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::program::Program;
use crate::support::server::{SHORT_QUEUE, component, guest, try_component};
use crate::support::wat::{
    doubling_cpp_name, doubling_rust_name, nested_debug_information, trapping_program, worker_with,
};
use crate::support::{Folder, Server, eventually};

/// A way to fail, the status that its client gets, and the word for it in the log.
const WAYS: &[(&str, u16, &str)] = &[
    ("/trap", 502, "trap"),
    ("/panic", 502, "trap"),
    ("/abort", 502, "trap"),
    ("/exit?code=0", 502, "code"),
    ("/exit?code=3", 502, "code"),
    ("/stack", 502, "stack"),
    ("/oom", 502, "memory"),
    ("/spin", 504, "deadline"),
    ("/slow?ms=50000", 504, "deadline"),
    ("/big?bytes=100000", 502, "response"),
    ("/bad-response?kind=status", 502, "response"),
    ("/bad-response?kind=name", 502, "response"),
    ("/bad-response?kind=value", 502, "response"),
    ("/bad-response?kind=length", 502, "response"),
    ("/bad-response?kind=hop", 502, "response"),
    ("/bad-response?kind=body-204", 502, "response"),
];

#[test]
fn every_way_to_fail_in_a_pool() {
    every_way_to_fail("--mode pool --workers 2");
}

#[test]
fn every_way_to_fail_in_one_process() {
    every_way_to_fail("--mode single");
}

#[test]
fn every_way_to_fail_in_a_process_per_request() {
    every_way_to_fail("--mode per-request");
}

fn every_way_to_fail(mode: &str) {
    // A busy machine may be slow with whatever is not about the deadline.
    let [hasty, patient] = ["3s", "100s"].map(|time| {
        let flags = format!("{mode} --request-timeout {time} --max-response 64KiB --expose-pid");
        guest("misbehave", &flags)
    });
    for (target, status, exit) in WAYS {
        let server = if *exit == "deadline" {
            &hasty
        } else {
            &patient
        };
        let mut client = server.client();
        assert_eq!(client.get("/ok").status, 200, "before {target}");
        let reply = client.get(target);
        assert_eq!(reply.status, *status, "{target}: {reply:?}");
        assert!(reply.body.len() < 1000, "a short text: {reply:?}");
        assert!(
            reply
                .field("content-type")
                .is_some_and(|kind| kind.starts_with("text/plain")),
            "{reply:?}"
        );

        let request = server.wait_request(reply.request_id());
        assert_eq!(request["exit"], *exit, "{request}");
        assert_eq!(request["status"], *status, "{request}");
        assert_eq!(
            request["path"],
            target.split('?').next().expect("a path"),
            "{request}"
        );
        let pid = request["pid"].as_u64().expect("a pid");
        let end = server.wait_end(pid);
        let why = end["exit"].as_str().unwrap_or_default();
        assert!(why.split(' ').next() == Some(exit), "{end}");
        assert!(
            end["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty()),
            "{end}"
        );
        assert!(
            ["WARN", "warn"].contains(&end["level"].as_str().unwrap_or("")),
            "{end}"
        );

        let healthy = client.get("/ok");
        assert_eq!(
            healthy.status, 200,
            "after {target}, on the same connection"
        );
        assert_ne!(
            healthy.pid(),
            pid,
            "{target}: a process that failed is never called again"
        );
    }
}

#[test]
fn a_trap_leaves_a_backtrace_in_the_log_and_none_with_the_client() {
    let server = guest("misbehave", "--workers 1");
    let reply = server.get("/trap");
    let pid = server.wait_request(reply.request_id())["pid"]
        .as_u64()
        .expect("a pid");
    let reason = server.wait_end(pid)["reason"]
        .as_str()
        .expect("a reason")
        .to_owned();
    assert!(reason.contains("unreachable"), "{reason}");
    assert!(
        reason.contains("misbehave"),
        "a wasm backtrace names functions: {reason}"
    );
    assert!(
        !reply.text().contains("unreachable") && !reply.text().contains("misbehave"),
        "{reply:?}"
    );
}

/// Reading it, a host would recurse as deep as it is nested.
#[test]
fn debug_information_is_not_read() {
    let text = worker_with(&nested_debug_information(3_000), "unreachable");
    let server = component(&text, Folder::new(), "--workers 1");
    let mut client = server.client();
    for _ in 0..3 {
        let reply = client.get("/");
        assert_eq!(reply.status, 502, "{reply:?}");
        let reason = server.wait_reason(reply.request_id());
        assert!(reason.contains("wasm function"), "{reason}");
    }
}

/// The same for a program that is run by itself, which says how it ended.
#[test]
fn debug_information_of_a_program_is_not_read() {
    let folder = Folder::new().file(
        "program.wat",
        trapping_program(&nested_debug_information(3_000)),
    );
    let module = folder.root().join("program.wat");
    let ended = Program::start(&module, "", &[]).ended();
    assert_eq!(ended.code, 134, "{ended:?}");
    assert!(ended.errors.contains("exit=trap"), "{ended:?}");
}

/// A few bytes of a mangled name may stand for gigabytes.
#[test]
fn names_of_functions_take_no_memory() {
    #[rustfmt::skip] // one line per case
    let cases = [
        ("C++", doubling_cpp_name(30), "_Z1f1aIiiE"),
        ("Rust", doubling_rust_name(60), "a::f::<((), ()), (((), ()), ((), ()))"),
        ("long", "x".repeat(60_000), "xxxxxxxx"),
        ("longer", "x".repeat(70_000), "<wasm function "),
        ("terminal", "\\1b[31mred\\0a".to_owned(), "red"),
    ];
    for (kind, name, shown) in cases {
        // As deep as a backtrace goes.
        let function = format!(
            "(func $\"{name}\" (param i32)
               (if (i32.eqz (local.get 0)) (then unreachable))
               (call $\"{name}\" (i32.sub (local.get 0) (i32.const 1)))
               (call $other (local.get 0)))
             (func $other (param i32) (call $\"{name}\" (local.get 0)))"
        );
        let text = worker_with(&function, &format!("(call $\"{name}\" (i32.const 50))"));
        let server = component(&text, Folder::new(), "--workers 1");
        let before = server.memory("VmHWM");
        let reply = server.get("/");
        assert_eq!(reply.status, 502, "{kind}: {reply:?}");
        let grown = server.grown(before);
        assert!(grown < 32 << 20, "{kind}: {grown} bytes");
        let reason = server.wait_reason(reply.request_id());
        assert!(reason.contains(shown), "{kind}: {reason}");
        assert!(reason.len() < 8 << 10, "{kind}: {} bytes", reason.len());
    }
}

#[test]
fn a_panic_is_told_where_its_process_ends() {
    let server = guest("misbehave", "--workers 1 --log-level warn");
    assert_eq!(server.get("/print").status, 200);
    assert_eq!(server.get("/panic").status, 502);
    let end = &server.wait_entries("process ended", 1)[0];
    let output = end["output"].as_str().expect("its last lines");
    assert!(output.contains("this worker was asked to panic"), "{end}");
    assert!(
        !output.contains("standard error"),
        "another request's: {end}"
    );
    assert!(
        !output.contains("RUST_BACKTRACE"),
        "nobody can set it: {end}"
    );
    let reason = end["reason"].as_str().expect("a reason");
    let (_, frames) = reason.split_once("backtrace: ").expect("a backtrace");
    assert!(frames.starts_with("misbehave::panic"), "{end}");

    assert_eq!(server.get("/trap").status, 502);
    let end = &server.wait_entries("process ended", 2)[1];
    assert!(end["output"].is_null(), "it printed nothing: {end}");
}

#[test]
fn of_many_last_lines_the_last_are_told() {
    let server = guest("actor", "");
    let chatter = "repeat 100 { complain early; complain x*300 }; complain late; panic";
    let script = format!("watch a {{ {chatter} }}; receive; answer");
    let reply = server.request("POST", "/", &[], script.as_bytes());
    assert_eq!(reply.status, 200, "{reply:?}");
    let end = &server.wait_entries("process ended", 1)[0];
    let output = end["output"].as_str().expect("its last lines");
    assert!(
        output.contains("late") && output.contains("panicked"),
        "{end}"
    );
    assert!((100..=1024).contains(&output.len()), "{end}");
}

#[test]
fn others_go_on_while_one_crashes() {
    let server = guest("misbehave", "--workers 3 --expose-pid");
    let before = server.wait_living(3);
    let mut slow = server.client();
    slow.send(b"GET /slow?ms=700 HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("the request is sent");
    assert_eq!(server.get("/trap").status, 502);
    assert_eq!(server.get("/panic").status, 502);
    assert_eq!(slow.reply("GET").expect("a reply").text(), "slept 700 ms\n");
    // The second crash may have hit the replacement of the first.
    let ended = server.wait_entries("process ended", 2);
    assert_eq!(ended.len(), 2, "{ended:?}");
    let after = server.wait_living(3);
    assert!(
        after.difference(&before).all(|pid| *pid > 3),
        "pids are never used again: {after:?}"
    );
}

#[test]
fn the_pool_is_full_again_before_anybody_asks() {
    let server = guest("misbehave", "--workers 4");
    let mut before = server.wait_living(4);
    for _ in 0..5 {
        assert_eq!(server.get("/trap").status, 502);
        before = eventually("a replacement", || {
            let living = server.living();
            (living.len() == 4 && living != before).then_some(living)
        });
    }
}

#[test]
fn nothing_of_a_process_is_left_in_the_next() {
    let server = guest("misbehave", "--workers 1 --max-open-files 3");
    std::fs::write(server.folder.root().join("index.html"), "x").expect("a file");
    assert_eq!(
        server.get("/leak-files").text(),
        "opened 3, then too-many-open\n"
    );
    assert_eq!(server.get("/trap").status, 502);
    assert_eq!(
        server.get("/leak-files").text(),
        "opened 3, then too-many-open\n"
    );
    assert_eq!(server.get("/trap").status, 502);
    eventually("handles die with their process", || {
        (server.open_files("index.html") <= 1).then_some(())
    });
}

#[test]
fn a_client_that_leaves_while_its_process_waits() {
    a_client_that_leaves("/slow?ms=50000");
}

#[test]
fn a_client_that_leaves_while_its_process_computes() {
    a_client_that_leaves("/spin");
}

fn a_client_that_leaves(target: &str) {
    let flags = format!("--workers 1 --request-timeout 100s --expose-pid {SHORT_QUEUE}");
    for half_closed in [false, true] {
        let server = guest("misbehave", &flags);
        let before = server.get("/ok").pid();
        let mut client = server.client();
        client
            .send(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .expect("the request is sent");
        if half_closed {
            client.finish_sending().expect("one side is closed");
        }
        server.wait_until_busy();
        client.reset();
        assert_eq!(server.wait_end(before)["exit"], "client-left");
        let after = server.wait_living(1);
        assert!(
            !after.contains(&before),
            "{before} was replaced by {after:?}"
        );
        server.wait_served("/ok");
        let request = server.wait_entry("request", |entry| {
            target.starts_with(entry["path"].as_str().unwrap_or("-"))
        });
        assert_eq!(request["exit"], "client-left", "{request}");
    }
}

#[test]
fn clients_that_leave_the_line_take_nobodys_place() {
    let server = guest("misbehave", "--workers 1 --queue 120 --queue-timeout 100s");
    // The line has room for two rounds, whichever of their requests come first. For four rounds it
    // has room only if those who left are no longer in it.
    for _ in 0..4 {
        let mut first = server.client();
        first
            .send(b"GET /slow?ms=500 HTTP/1.1\r\nhost: x\r\n\r\n")
            .expect("the request is sent");
        for _ in 0..50 {
            let mut impatient = server.client();
            impatient
                .send(b"GET /slow?ms=50000 HTTP/1.1\r\nhost: x\r\n\r\n")
                .expect("the request is sent");
            impatient.reset();
        }
        assert_eq!(server.get("/ok").status, 200);
        assert_eq!(first.reply("GET").expect("a reply").status, 200);
    }
}

#[test]
fn a_storm_of_crashes_is_answered_one_by_one() {
    for mode in [
        "--workers 1",
        "--workers 2..64",
        "--mode single",
        "--mode per-request",
    ] {
        let server = guest("misbehave", mode);
        let mut client = server.client();
        for nth in 0..200 {
            let crashed = client.get(["/trap", "/abort", "/exit"][nth % 3]);
            assert_eq!(crashed.status, 502, "{mode}, crash {nth}: {crashed:?}");
            let healthy = client.get("/ok");
            assert_eq!(
                healthy.status, 200,
                "{mode}, after crash {nth}: {healthy:?}"
            );
        }
    }
}

/// One client's crashes cost others nothing: all of them are answered, and about as soon as beside
/// a client who asks for nothing bad at the same pace.
#[test]
fn a_client_that_crashes_its_process_again_and_again() {
    for mode in [
        "--workers 1",
        "--workers 1..64",
        "--workers 2",
        "--workers 2..64",
        "--mode single",
        "--mode per-request",
    ] {
        let server = guest("misbehave", mode);
        for pause in [0, 1, 5, 20].map(Duration::from_millis) {
            // A noisy machine delays now these and now those: they must be as quick once.
            eventually("others are answered as soon as ever", || {
                let usual = slowest_of_hundred_beside(&server, "/ok", pause);
                let beside = slowest_of_hundred_beside(&server, "/trap", pause);
                (beside <= 2 * usual + Duration::from_millis(10)).then_some(())
            });
        }
    }
}

/// How long the 99th of 100 requests takes, by its time, while another client asks for `target` at
/// this pace.
fn slowest_of_hundred_beside(server: &Server, target: &str, pause: Duration) -> Duration {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client();
            while !is_over.load(Ordering::Relaxed) {
                assert!([200, 502].contains(&client.get(target).status));
                std::thread::sleep(pause);
            }
        });
        let mut client = server.client();
        let mut times: Vec<_> = (0..100)
            .map(|_| {
                let start = Instant::now();
                let reply = client.get("/ok");
                assert_eq!(
                    reply.status, 200,
                    "beside {target} every {pause:?}: {reply:?}"
                );
                start.elapsed()
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        times.sort_unstable();
        times[98]
    })
}

#[test]
fn a_module_that_crashes_at_its_start() {
    let text = worker_with("(func $start (unreachable)) (start $start)", "");
    for mode in [
        "--mode pool --workers 2",
        "--mode single",
        "--mode per-request",
    ] {
        let Some(server) = start_or_refuse(&text, mode) else {
            continue;
        };
        for _ in 0..200 {
            let reply = server.get("/");
            assert_eq!(reply.status, 503, "{reply:?}");
            assert!(reply.field("retry-after").is_some(), "{reply:?}");
        }
        assert!(
            server.entries("process ended").len() < 100,
            "starts are not tried without a pause"
        );
    }
}

#[test]
fn a_module_that_starts_after_a_while() {
    // As one that needs something which is not there yet: its start code traps until there is a
    // file of this name.
    let crash_while_early = "
        (data (memory $shared) (i32.const 3000) \"ready\")
        (func $start
           (call $open (i32.const 3000) (i32.const 5) (i32.const 2048))
           (if (i32.load8_u (i32.const 2048)) (then unreachable)))
        (start $start)";
    let text = worker_with(crash_while_early, "");
    let server = component(&text, Folder::new(), "--mode per-request --workers 0..4");
    for _ in 0..10 {
        let reply = server.get("/");
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(reply.field("retry-after").is_some(), "{reply:?}");
    }
    File::create(server.folder.root().join("ready")).expect("a file");
    eventually("it answers", || {
        let reply = server.get("/");
        assert!([200, 503].contains(&reply.status), "{reply:?}");
        (reply.status == 200).then_some(())
    });
    assert!(
        server.entries("process ended").len() < 100,
        "starts are not tried without a pause"
    );
    server.wait_text("backing off");
    server.wait_text("processes can be started again");
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn a_start_that_never_ends() {
    let text = worker_with("(func $start (loop (br 0))) (start $start)", "");
    let begun = Instant::now();
    for mode in ["--mode pool --workers 1", "--mode per-request"] {
        let flags = format!("{mode} --request-timeout 1s --queue-timeout 1s");
        if let Some(server) = start_or_refuse(&text, &flags) {
            let reply = server.get("/");
            assert_eq!(reply.status, 503, "{reply:?}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// A module that can't start may be refused with a reason, or served with `503` until it can.
fn start_or_refuse(text: &str, flags: &str) -> Option<Server> {
    match try_component(text, flags) {
        Ok(server) => Some(server),
        Err((status, text)) => {
            assert!(
                !status.success() && status.code().is_some(),
                "{status}: {text}"
            );
            assert!(!text.is_empty(), "a reason is given");
            None
        }
    }
}
