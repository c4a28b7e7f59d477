//! The child's side: it confines one of its threads, and has another one try things.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::super::{Needs, confine_thread};
use super::{attempts, files};

/// The name of the child's test.
pub(super) const TEST: &str = "confine::tests::child::child";

/// What the child is to try, with what, and in which folder.
pub(super) const WHAT: &str = "CONFINED_CHILD";
pub(super) const ARGUMENT: &str = "CONFINED_ARGUMENT";
pub(super) const FOLDER: &str = "CONFINED_FOLDER";

/// What each line begins with that tells of an attempt.
pub(super) const TRIED: &str = "tried to ";

/// Not a test by itself.
#[test]
fn child() {
    let Ok(what) = std::env::var(WHAT) else {
        return;
    };
    leave_no_core();
    let argument = std::env::var(ARGUMENT).expect("set by the test");
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("set by the test"));
    match &*what {
        "files" => files::try_all(&folder),
        "rights" => attempts::rights(),
        "connections" => attempts::connections(&argument),
        "user" => attempts::user(&folder),
        "call" => drop({
            let number = argument.parse().expect("a number");
            confined(&Needs::default(), || told("call it", call(number)))
        }),
        "abort" => drop(confined(&Needs::default(), || std::process::abort())),
        other => panic!("{other}"),
    }
}

/// Some children end as an intruder would. Nobody needs their core files.
fn leave_no_core() {
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    setrlimit(Resource::Core, limit).expect("less is always allowed");
}

pub(super) fn told<T>(what: &str, outcome: io::Result<T>) {
    let code = |error: io::Error| match Errno::from_io_error(&error) {
        Some(Errno::PERM) => "EPERM".to_owned(),
        Some(Errno::ACCESS) => "EACCES".to_owned(),
        Some(Errno::NOSYS) => "ENOSYS".to_owned(),
        Some(_) | None => format!("{error:?}"),
    };
    said(what, &outcome.err().map(code).unwrap_or_default());
}

/// Written past the test harness, which captures what `println` writes in threads.
pub(super) fn said(what: &str, outcome: &str) {
    let line = format!("\n{TRIED}{what}: {outcome}\n");
    io::stdout()
        .write_all(line.as_bytes())
        .expect("the test reads");
}

/// Confines this thread, and does the rest in another.
pub(super) fn confined(needs: &Needs, attempts: impl FnOnce() + Send) -> String {
    let walls = confine_thread(needs)
        .expect("the kernel has it")
        .to_string();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, attempts);
        thread
            .expect("a thread starts")
            .join()
            .expect("the attempts return");
    });
    walls
}

/// Makes a system call without arguments.
pub(super) fn call(number: libc::c_long) -> io::Result<()> {
    // SAFETY: All addresses among the arguments are null, and nothing else of this process is named
    // by a number: a call that is let through does nothing to its memory.
    match unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Lines of what the kernel says of this thread. Sets are numbers without leading zeros.
pub(super) fn status(names: &[&str]) -> String {
    let status = fs::read_to_string("/proc/thread-self/status").expect("its own");
    let value = |name: &&str| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let words = value.expect("the kernel knows it").split_whitespace();
        let plain = words.map(|word| match word.trim_start_matches('0') {
            "" => "0",
            rest => rest,
        });
        format!("{name} {}", plain.collect::<Vec<_>>().join(" "))
    };
    names.iter().map(value).collect::<Vec<_>>().join(", ")
}
