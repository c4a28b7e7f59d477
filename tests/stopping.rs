//! Stopping: the host begins nothing new, running requests may finish within the grace time, and a
//! second signal ends everything at once.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::door::Address;
use crate::support::server::{PROGRAM, SHORT_QUEUE, command, component, guest, serve};
use crate::support::wat::{slow, worker_with};
use crate::support::{Client, Folder, Server, eventually, guests, own_address, untested};

#[test]
fn idle_servers_stop_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        for mode in [
            "--mode pool --workers 3",
            "--mode single",
            "--mode per-request",
        ] {
            let mut server = serve(
                Folder::new().file("file", "content"),
                &format!("{mode} --grace 50s"),
            );
            // The host doesn't wait for an idle connection.
            let mut client = server.client();
            assert_eq!(client.get("/file").status, 200);
            let start = Instant::now();
            server.signal(signal);
            assert_eq!(server.wait_exit().code(), Some(0), "{mode}");
            assert!(start.elapsed() < Duration::from_secs(20), "{mode}");
            assert_eq!(client.rest().expect("an end"), b"");
            assert!(
                server.living().is_empty(),
                "{mode}: every process has ended"
            );
        }
    }
}

#[test]
fn heads_half_sent_hold_up_nothing() {
    let mut server = serve(
        Folder::new().file("file", "content"),
        "--workers 1 --grace 50s --header-timeout 50s",
    );
    let mut fresh = server.client();
    let mut kept = server.client();
    assert_eq!(kept.get("/file").status, 200);
    for client in [&mut fresh, &mut kept] {
        client
            .send(b"GET /file HTTP/1.1\r\nhost")
            .expect("some of a head");
    }
    eventually("what was sent is read", || {
        (server.unread() == 0).then_some(())
    });
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(20));
    for client in [&mut fresh, &mut kept] {
        assert_eq!(client.rest().expect("an end"), b"");
    }
}

#[test]
fn a_module_that_never_starts_holds_up_nothing() {
    let text = worker_with("(func $start (unreachable)) (start $start)", "");
    let flags = "--mode per-request --workers 0..64 --grace 1s";
    let mut server = component(&text, Folder::new(), flags);
    let mut client = server.client();
    // Starts fail so often that the pauses between them are longer than stopping may take.
    eventually("the pauses are long", || {
        let reply = client.get("/");
        let pause = reply
            .field("retry-after")
            .and_then(|text| text.parse::<u64>().ok());
        pause.filter(|seconds| *seconds > 5)
    });
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn running_requests_finish() {
    let flags = format!("--workers 2 --grace 50s {SHORT_QUEUE}");
    let mut server = guest("misbehave", &on_own_address(&flags));
    let mut running = [server.send("/slow?ms=4000"), server.send("/slow?ms=4000")];
    server.wait_until_busy();
    server.signal(Signal::TERM);
    refuses_connections(&server);
    for client in &mut running {
        assert_eq!(
            client.reply("GET").expect("a reply").text(),
            "slept 4000 ms\n"
        );
        assert_eq!(
            client.rest().expect("an end"),
            b"",
            "the connection is closed after it"
        );
    }
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(server.living().is_empty(), "every process has ended");
    assert!(
        server
            .entries("process ended")
            .iter()
            .all(|entry| entry["exit"] == "stopped")
    );
}

#[test]
fn files_under_way_are_sent_to_their_end() {
    let size = 64 << 20;
    let folder = Folder::new().sparse("big", size);
    let mut server = serve(folder, &on_own_address("--workers 1 --grace 50s"));
    let mut client = server.send("/big");
    let head = client.head().expect("a head");
    server.signal(Signal::TERM);
    refuses_connections(&server);
    let mut count = 0;
    client
        .body("GET", &head, |piece| count += piece.len() as u64)
        .expect("the whole file");
    assert_eq!(count, size);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn what_outlasts_the_grace_time_gets_503() {
    for target in ["/slow?ms=100000", "/spin"] {
        let flags = format!("--workers 1 --grace 1s --request-timeout 100s {SHORT_QUEUE}");
        let mut server = guest("misbehave", &flags);
        let mut client = server.send(target);
        server.wait_until_busy();
        let start = Instant::now();
        server.signal(Signal::TERM);
        let reply = client.reply("GET").expect("a reply");
        assert_eq!(reply.status, 503, "{target}: {reply:?}");
        assert!(reply.request_id() > 0);
        assert_eq!(server.wait_exit().code(), Some(0), "{target}");
        assert!(start.elapsed() < Duration::from_secs(20), "{target}");
    }
}

#[test]
fn a_start_that_outlasts_the_grace_time_gets_503() {
    let text = worker_with("(func $start (loop (br 0))) (start $start)", "");
    let flags = "--mode per-request --workers 0..64 --grace 1s --request-timeout 100s";
    let mut server = component(&text, Folder::new(), flags);
    let mut client = server.send("/");
    eventually("the request is read", || {
        (server.unread() == 0 && server.processor_ticks() > 20).then_some(())
    });
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(client.reply("GET").expect("a reply").status, 503);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn those_in_line_are_answered() {
    let mut server = guest(
        "misbehave",
        "--workers 1 --grace 2s --request-timeout 100s --queue-timeout 100s",
    );
    let mut first = server.send("/slow?ms=100000");
    let mut second = server.send("/slow?ms=100000");
    let mut third = server.send("/slow?ms=100000");
    // Once the host has read the requests, one of them runs, and the others are in line.
    eventually("the requests are read", || {
        (server.unread() == 0).then_some(())
    });
    server.signal(Signal::TERM);
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.reply("GET").expect("a reply").status, 503);
    }
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second) in [
        (Signal::TERM, Signal::TERM),
        (Signal::INT, Signal::TERM),
        (Signal::TERM, Signal::INT),
    ] {
        let flags = format!("--workers 1 --grace 100s --request-timeout 100s {SHORT_QUEUE}");
        let mut server = guest("misbehave", &on_own_address(&flags));
        let _client = server.send("/slow?ms=100000");
        server.wait_until_busy();
        let start = Instant::now();
        server.signal(first);
        refuses_connections(&server);
        server.signal(second);
        assert_ne!(server.wait_exit().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

/// Logs so much that lines are lost. Nobody reads the log.
#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let module = guests::path("misbehave");
    for (signals, grace, code) in [(1, "1s", 0), (2, "100s", 143)] {
        let folder = Folder::new();
        let flags = format!(
            "--mode per-request --grace {grace} --request-timeout 100s --listen {}:0",
            own_address()
        );
        let mut child = command(Some(&module), &folder.root(), &flags)
            .spawn()
            .expect("it runs");
        let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a start line");
        let address = Address::of(&line).expect("an address");
        let mut client = Client::connect(address.clone());
        let long = format!("/{}", "x".repeat(1000));
        for _ in 0..UNREAD_REQUESTS {
            assert_eq!(client.get(&long).status, 404);
        }
        client.ask("GET", "/slow?ms=100000", b"");
        for _ in 0..signals {
            kill_process(Pid::from_child(&child), Signal::TERM)
                .expect("it runs and takes a signal");
            eventually("no connection is accepted", || {
                Client::try_connect(address.clone()).is_err().then_some(())
            });
        }
        let status = eventually("it ends", || child.try_wait().expect("a child's status"));
        assert_eq!(status.code(), Some(code));
    }
}

/// Their lines are more than the log keeps: 12 MiB, in three lines for each request.
const UNREAD_REQUESTS: usize = 12_000;

#[test]
fn signals_without_a_meaning_are_ignored() {
    let mut server = serve(Folder::new().file("file", "content"), "--workers 1");
    // A hangup has a meaning for a host that serves.
    let signals = meaningless().into_iter();
    let signals = signals.filter(|(signal, _)| *signal != Signal::HUP);
    for (number, (signal, name)) in signals.enumerate() {
        server.signal(signal);
        let entries = server.wait_entries("signal ignored", number + 1);
        assert_eq!(entries[number]["signal"], name);
        assert_eq!(server.get("/file").status, 200);
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn nohup_is_heeded() {
    let folder = Folder::new();
    let flags = format!("--listen 0 --root {}", folder.root().display());
    let mut child = Command::new("sh")
        .args(["-c", &format!("trap '' HUP; exec {PROGRAM} {flags}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    let output = child.stdout.take().expect("standard output is piped");
    let read = BufReader::new(output).read_line(&mut line);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
    child.kill().and_then(|()| child.wait()).expect("it ends");
    assert!(read.is_ok() && line.contains("http://"), "{line}");
    let status = status.expect("its status");
    assert!(ignores_hangups(&status), "{status}");
}

/// What /proc/PID/status says of SIGHUP, whose bit is the first (proc_pid_status(5)).
fn ignores_hangups(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.expect("a mask in hexadecimal digits") & 1 == 1
}

/// The signals that a host ignores aloud. Under `nohup`, which the tests pass on, it never sees a
/// hangup.
fn meaningless() -> Vec<(Signal, &'static str)> {
    let own = fs::read_to_string("/proc/self/status").expect("the status of this process");
    let mut signals = MEANINGLESS.to_vec();
    if ignores_hangups(&own) {
        untested("a hangup, as the tests run under nohup");
        signals.retain(|(signal, _)| *signal != Signal::HUP);
    }
    signals
}

#[test]
fn signals_are_heeded_while_a_module_is_compiled() {
    let folder = Folder::new().file("slow.wat", slow());
    let module = folder.root().join("slow.wat").display().to_string();
    #[rustfmt::skip] // one line per case
    let cases = [
        ("serve --listen 127.0.0.1:0 --no-cache", "wasm-pool-host: compiling", true),
        ("serve --listen 127.0.0.1:0 --log-format json --no-cache", "\"message\":\"compiling\"", true),
        ("run --no-cache", "wasm-pool-host: compiling", true),
        ("run --log-format json --log-level info --no-cache", "\"message\":\"compiling\"", true),
        ("bench", "asking the module", false),
    ];
    for (command, said, ignores) in cases {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let mut child = Command::new(PROGRAM)
                .args(command.split_whitespace())
                .arg(&module)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program runs");
            let pid = Pid::from_child(&child);
            let mut errors = BufReader::new(child.stderr.take().expect("standard error"));
            let mut line = || {
                let mut line = String::new();
                while line.is_empty() || line.contains("confined: ") {
                    line.clear();
                    errors.read_line(&mut line).expect("a line of text");
                }
                line
            };
            let first = line();
            assert!(first.contains(said), "{command}: {first}");
            for (signal, name) in meaningless().into_iter().filter(|_| ignores) {
                kill_process(pid, signal).expect("it runs, and takes a signal");
                let next = line();
                assert!(
                    next.contains("signal ignored") && next.contains(name),
                    "{command}: {next}"
                );
            }
            kill_process(pid, signal).expect("it runs, and takes a signal");
            let start = Instant::now();
            let status = child.wait().expect("a child's status");
            assert_eq!(status.code(), Some(code), "{command}");
            assert!(start.elapsed() < Duration::from_secs(20), "{command}");
        }
    }
}

/// Signals that end other programs by default.
const MEANINGLESS: [(Signal, &str); 3] = [
    (Signal::HUP, "SIGHUP"),
    (Signal::USR1, "SIGUSR1"),
    (Signal::USR2, "SIGUSR2"),
];

/// For servers whose port must not be the next server's.
fn on_own_address(flags: &str) -> String {
    format!("{flags} --listen {}:0", own_address())
}

/// Waits until nobody listens on the address.
fn refuses_connections(server: &Server) {
    eventually("no connection is accepted", || {
        Client::try_connect(server.address()).is_err().then_some(())
    });
}
