//! `wasm-pool-host run`: a command by itself. It has the terminal, and its exit is the exit code.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};

use crate::support::command::{Command, command};
use crate::support::program::{Ended, Program};
use crate::support::server::PROGRAM;
use crate::support::{Folder, guests, pattern};

/// A command's text in a file of its own.
struct Written(Folder);

impl Written {
    fn new(command: &Command) -> Self {
        Self(Folder::new().file("command.wat", command.text()))
    }

    fn path(&self) -> PathBuf {
        self.0.root().join("command.wat")
    }
}

fn run(command: &Command, flags: &str, args: &[&str]) -> Ended {
    Program::start(&Written::new(command).path(), flags, args).ended()
}

fn commander(flags: &str, args: &[&str]) -> Ended {
    Program::start(&guests::path("commander"), flags, args).ended()
}

#[test]
fn the_exit_of_a_command_is_the_exit_code() {
    #[rustfmt::skip] // one line per case
    let cases = [
        (command(), 0),
        (command().exit(0), 0),
        (command().exit(1), 1),
        (command().exit(3), 3),
        (command().exit(126), 126),
        (command().exit(255), 255),
        (command().exit(256), 255),
        (command().trap(), 134),
    ];
    for (command, code) in cases {
        let ended = run(&command, "", &[]);
        assert_eq!(ended.code, code, "{ended:?}");
        // Whoever exits says what there is to say. A trap has a reason.
        assert_eq!(
            ended.errors.contains("process ended"),
            code == 134,
            "{ended:?}"
        );
    }
    for (word, code) in [("hello", 0), ("exit-0", 0), ("exit-1", 1), ("panic", 134)] {
        let ended = commander("", &[word]);
        assert_eq!(ended.code, code, "{word}: {ended:?}");
    }
}

#[test]
fn output_goes_through_as_it_is() {
    let ended = run(
        &command().print("one\n").complain("two\n").print("three\n"),
        "",
        &[],
    );
    assert_eq!((&*ended.output, &*ended.errors), ("one\nthree\n", "two\n"));
    let ended = run(&command().print_blocks(64, 16), "", &[]);
    assert_eq!(ended.output.len(), (1 << 20) + 1); // and the end of the last line
    let ended = commander("", &["complain"]);
    assert_eq!((&*ended.output, &*ended.errors), ("", "a complaint\n"));
}

#[test]
fn arguments_and_variables_arrive() {
    let ended = run(&command().args(), "", &["first", "--second=ü", "--"]);
    assert_eq!(ended.output, "command.wat\nfirst\n--second=ü\n--\n");
    assert_eq!(
        commander("", &["args", "-x"]).output,
        "commander.wasm\nargs\n-x\n"
    );
    for (ended, name) in [
        (
            run(&command().environ(), "--env A=b --env C=d=e", &[]),
            "a core module",
        ),
        (
            commander("--env A=b --env C=d=e", &["environ"]),
            "a component",
        ),
    ] {
        assert_eq!(ended.output, "A=b\nC=d=e\n", "{name}");
    }
    // Nothing of the host's own environment, and no request.
    assert_eq!(run(&command().environ(), "", &[]).output, "");
}

#[test]
fn standard_input_is_the_hosts() {
    let core = Written::new(&command().echo());
    let (core, component) = (core.path(), guests::path("commander"));
    let text: Vec<u8> = pattern(300_000)
        .iter()
        .map(|byte| b'a' + byte % 26)
        .collect();
    for (module, args) in [(&core, &[][..]), (&component, &["--", "echo"])] {
        let mut child = Process::new(PROGRAM)
            .args(["run", "--log-level", "error"])
            .arg(module)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut input = child.stdin.take().expect("standard input is piped");
        let sent = text.clone();
        let sending = std::thread::spawn(move || input.write_all(&sent));
        let output = child.wait_with_output().expect("it ends");
        sending.join().expect("a thread").expect("all is read");
        assert!(output.stdout == text, "{} bytes", output.stdout.len());
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn the_root_folder_is_there_if_asked_for() {
    let folder = Folder::new().file("there", "content\n");
    fs::write(folder.outside().join("secret"), "secret").expect("a file outside");
    let root = format!("--root {}", folder.root().display());
    let with = format!("{root} --wasi-root");
    #[rustfmt::skip] // one line per case
    let cases = [
        (&with, "/there", "content\n"),
        (&with, "there", "content\n"),
        (&root, "/there", "error: entity not found\n"),
        (&with, "/missing", "error: entity not found\n"),
    ];
    for (flags, path, output) in cases {
        assert_eq!(
            commander(flags, &["read", path]).output,
            output,
            "{flags} {path}"
        );
    }
    let ended = commander(&with, &["read", "../outside/secret"]);
    assert!(ended.output.starts_with("error: "), "{ended:?}");
}

#[test]
fn a_command_for_tasks_runs_too() {
    let ended = Program::start(&guests::path("commander03"), "", &[]).ended();
    assert_eq!(ended.output, "Content-Type: text/plain\n\n\n\nthe end\n");
    assert_eq!((ended.code, &*ended.errors), (0, "a complaint\n"));
    let ended = Program::start(&guests::path("commander03"), "--env PATH_INFO=/fail", &[]).ended();
    assert_eq!(ended.code, 1, "{ended:?}");
}
