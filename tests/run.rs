//! `wasm-pool-host run`: a program by itself. Its output goes through unchanged, and its root's
//! exit determines the exit code. Tests also the flags and modules that are refused, here and when
//! a program is served.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::guests;
use crate::support::program::{Program, perform, run};
use crate::support::server::{PROGRAM, command};
use crate::support::wat::interface;
use crate::support::{Folder, eventually};

#[test]
fn the_exit_of_the_root_is_the_exit_code() {
    #[rustfmt::skip] // one line per case
    let cases = [
        ("", 0),
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 7", 7),
        ("exit 255", 255),
        ("exit 256", 255),
        ("exit 4294967295", 255),
        ("trap", 134),
        ("panic", 134),
        ("abort", 134),
        ("stack", 134),
        ("oom", 134),
        ("watch a { exit 3 }; receive", 0),
        ("watch a { trap }; receive", 0),
    ];
    for (script, code) in cases {
        assert_eq!(
            run("actor", "--memory 16MiB", &[script]).code,
            code,
            "{script}"
        );
    }
}

#[test]
fn output_goes_through_as_it_is() {
    let ended = run(
        "actor",
        "",
        &["print one; print two; complain three; watch a { print four }; receive; expect normal"],
    );
    assert_eq!(
        (ended.code, &*ended.output, &*ended.errors),
        (0, "one\ntwo\nfour\nok\n", "three\n")
    );
    let ended = run("actor", "", &["print x*100000; complain x*100000"]);
    let long = "x".repeat(100_000);
    assert_eq!(ended.output, format!("{long}\nok\n"));
    assert_eq!(ended.errors, format!("{long}\n"));
}

/// More processes print than the host has threads, and nobody reads. All other processes go on, and
/// the host handles signals.
#[test]
fn output_that_nobody_reads_holds_up_nobody() {
    let print = "forever { print x*1000 }";
    let spawn: String = (0..16)
        .map(|_| format!("spawn a {{ {print} }}; "))
        .collect();
    for (end, signal, code) in [("receive", Some(Signal::TERM), 143), ("exit 7", None, 7)] {
        let script = format!("{spawn} pause 100; complain alive; {end}");
        let mut child = run_unread(&script);
        let mut errors = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let mut line = String::new();
        errors.read_line(&mut line).expect("a line");
        assert_eq!(line, "alive\n");
        if let Some(signal) = signal {
            kill_process(Pid::from_child(&child), signal).expect("it runs and takes a signal");
        }
        let status = eventually("it ends", || child.try_wait().expect("a child's status"));
        assert_eq!(status.code(), Some(code), "{end}");
    }
}

/// As with `| head -1`: the exit code is the same as a shell reports for a program whose reader has
/// gone, and there are no errors.
#[test]
fn a_reader_that_goes_ends_it() {
    let mut child = run_unread("watch a { forever { print line } }; forever { print line }");
    let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "line\n");
    drop(output);
    let status = eventually("it ends", || child.try_wait().expect("a child's status"));
    assert_eq!(status.code(), Some(141));
    let mut errors = String::new();
    let mut rest = child.stderr.take().expect("standard error is piped");
    rest.read_to_string(&mut errors)
        .expect("standard error is text");
    assert_eq!(errors, "");
}

fn run_unread(script: &str) -> Child {
    let mut command = Command::new(PROGRAM);
    command
        // On a busy machine compiling is long enough to be logged, except at this level.
        .args(["run", "--log-level", "error"])
        .arg(guests::path("actor"))
        .args(["--", script]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("the program runs")
}

#[test]
fn failures_are_logged_and_ends_are_not() {
    let play = "watch a { trap }; receive; watch a { exit 3 }; receive";
    let ended = run("actor", "", &[play]);
    assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
    assert!(ended.errors.contains("pid=2 exit=trap"), "{ended:?}");
    assert_eq!(run("actor", "--log-level error", &[play]).errors, "");
    let ended = run("actor", "--log-level debug", &[play]);
    assert_eq!(ended.errors.lines().count(), 6, "{ended:?}");
}

#[test]
fn arguments_arrive() {
    let ended = run(
        "actor",
        "",
        &["print first", "print --second=ü", "print -3", "print --"],
    );
    assert_eq!(ended.output, "first\nok\n--second=ü\nok\n-3\nok\n--\nok\n");
}

#[test]
fn signals_end_it() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for end in ["receive", "spin", "pause 60000"] {
            let script = format!("spawn a {{ spin }}; spawn b {{ receive }}; print running; {end}");
            let program = Program::start(&guests::path("actor"), "--log-level debug", &[&script]);
            assert_eq!(program.line(), "running");
            let start = Instant::now();
            program.signal(signal);
            assert_eq!(program.ended().code, code, "{end}");
            assert!(start.elapsed().as_secs() < 20, "{end}");
        }
    }
}

#[test]
fn signals_without_a_meaning_are_ignored() {
    let program = Program::start(&guests::path("actor"), "", &["print running; receive"]);
    assert_eq!(program.line(), "running");
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::TERM] {
        program.signal(signal);
    }
    let ended = program.ended();
    assert_eq!(ended.code, 143);
    assert!(
        ended.errors.matches("signal ignored").count() <= 3,
        "{ended:?}"
    );
}

#[test]
fn files_are_those_of_the_root_folder() {
    let folder = Folder::new().file("there", "");
    let root = folder.root();
    let flags = format!("--max-open-files 2 --root {}", root.display());
    perform(
        &flags,
        "open there -> ok\nopen not-there -> no-entry\nopen ../outside -> access\nopen there -> ok\nopen there -> too-many-open",
    );
}

#[test]
fn what_cannot_be_run_is_refused() {
    let handler = guests::path("hello").display().to_string();
    let actor = guests::path("actor").display().to_string();
    let folder = Folder::new().file("garbage", "this is no wasm");
    let garbage = folder.root().join("garbage").display().to_string();
    #[rustfmt::skip] // one line per case
    let cases = [
        (vec!["run", &handler], 1, "handle"),
        (vec!["run", &garbage], 1, "garbage"),
        (vec!["run", "/no/such.wasm"], 1, "/no/such.wasm"),
        (vec!["run", "--root", "/no/such", &actor], 1, "--root"),
        (vec!["run"], 2, "MODULE"),
        (vec!["run", &actor, "x"], 2, "x"),
        (vec!["run", "--workers", "2", &actor], 2, "--workers"),
        (vec!["run", "--listen", "127.0.0.1:0", &actor], 2, "--listen"),
        (vec!["run", "--max-processes", "0", &actor], 2, "--max-processes"),
        (vec!["run", "--max-processes", "20001", &actor], 2, "--max-processes"),
        (vec!["run", "--max-mailbox", "0", &actor], 2, "--max-mailbox"),
        (vec!["run", "--max-mailbox-bytes", "1KiB", &actor], 2, "--max-mailbox-bytes"),
        (vec!["run", "--max-mailbox-bytes", "100GiB", &actor], 2, "--max-mailbox-bytes"),
        (vec!["run", "--max-message", "x", &actor], 2, "--max-message"),
        (vec!["run", "--max-message", "9MiB", &actor], 2, "--max-m"),
        (vec!["run", "--max-names=-1", &actor], 2, "--max-names"),
        (vec!["run", "--max-children=-1", &actor], 2, "--max-children"),
        (vec!["run", "--memory", "1", &actor], 2, "--memory"),
    ];
    for (args, code, named) in cases {
        let output = Command::new(PROGRAM).args(&args).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        assert!(errors.contains(named), "{args:?}: {errors}");
        assert!(
            output.stdout.is_empty() && !errors.contains("panicked"),
            "{args:?}: {errors}"
        );
    }
}

/// On systems with the usual limit the flag is refused. Elsewhere it is granted.
#[test]
fn more_processes_than_can_be_mapped_are_refused() {
    let usual = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .is_ok_and(|count| count.trim().parse().is_ok_and(|count: u32| count <= 65_530));
    let actor = guests::path("actor").display().to_string();
    let args = ["run", "--max-processes", "20000", &actor, "--", "exit 7"];
    let output = Command::new(PROGRAM).args(args).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    let code = if usual { 2 } else { 7 };
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert_eq!(errors.contains("vm.max_map_count"), usual, "{errors}");
}

#[test]
fn flags_of_the_other_world_are_refused() {
    #[rustfmt::skip] // one line per case
    let cases = [
        ("actor", "--mode pool"),
        ("actor", "--workers 2"),
        ("actor", "--max-requests 5"),
        ("actor", "--idle-timeout 5s"),
        ("actor", "--queue 5"),
        ("actor", "--queue-timeout 5s"),
        ("actor", "--max-mailbox-bytes 1MiB"), // has no room for a request
        ("hello", "--max-processes 5"),
        ("hello", "--max-children 5"),
        ("hello", "--max-mailbox 5"),
        ("hello", "--max-mailbox-bytes 8MiB"),
        ("hello", "--max-message 5KiB"),
        ("hello", "--max-names 5"),
    ];
    let folder = Folder::new();
    for (guest, flags) in cases {
        let output = command(Some(&guests::path(guest)), &folder.root(), flags)
            .output()
            .expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{guest} {flags}: {errors}");
        let (flag, _) = flags.split_once(' ').expect("a flag and its value");
        assert!(errors.contains(flag), "{guest} {flags}: {errors}");
        assert!(output.stdout.is_empty(), "{guest} {flags}");
    }
}

#[test]
fn check_of_a_program() {
    let module = guests::path("actor");
    let output = Command::new(PROGRAM)
        .arg("check")
        .arg(&module)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let imports = ["mailbox", "process", "cluster", "queue"].map(interface);
    for word in [
        "  run\n",
        &imports[0],
        &imports[1],
        &imports[2],
        &imports[3],
        "runs here",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}
