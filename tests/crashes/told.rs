//! The reports to the client and to the log about a process that fails.

use crate::support::Folder;
use crate::support::program::Program;
use crate::support::server::{component, guest};
use crate::support::wat::{
    doubling_cpp_name, doubling_rust_name, nested_debug_information, trapping_program, worker_with,
};

/// A way to fail, the status that its client gets, and its exit in the log.
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
    // A busy machine may be slow, so only the tests of the deadline have a short one.
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

/// A host that read this debug information would recurse as deep as it is nested.
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

/// The same for a program that runs by itself. It reports its exit on standard error.
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

/// A few bytes of a mangled name may expand to gigabytes.
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
        // The calls are as deep as a backtrace goes.
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
