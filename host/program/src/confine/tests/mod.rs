//! The wall from inside. A test starts this test program again as a child. The child confines one
//! of its threads, which starts another, and this one tries what it may and what it may not do.

mod attempts;
mod child;
mod files;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};

use super::calls::{OF_INTRUDERS, free};
use super::{Needs, confine};

#[test]
fn files() {
    let tried = try_all("files", "");
    let expected = [
        ("read in the root", ""),
        ("list the root", ""),
        ("read a file that was renamed over the module", ""),
        ("read in a folder that took the root's place", ""),
        ("read in the next release", ""),
        ("create, rename, remove in the cache", ""),
        ("append to the log after its rename", ""),
        ("read in the root by a descriptor's name", ""),
        ("read beside everything", "EACCES"),
        ("read by a link that leads out", "EACCES"),
        ("list the folder beside", "EACCES"),
        ("write in the root", "EACCES"),
        ("create in the root", "EACCES"),
        ("remove from the root", "EACCES"),
        ("truncate in the root", "EACCES"),
        ("make a folder in the cache", "EACCES"),
        ("make a link in the cache", "EPERM"),
        ("change a mode in the cache", "EPERM"),
        ("read another process's environment", "EACCES"),
        ("read its own status", ""),
        ("read /etc/passwd", "EACCES"),
        ("count the CPUs", ""),
        ("start a thread", ""),
    ];
    assert_eq!(tried, named(&expected));
}

#[test]
fn processes_and_rights() {
    let tried = try_all("rights", "");
    let expected = [
        ("fork", "EPERM"),
        ("start a program", "EPERM"),
        ("kill the parent", "EPERM"),
        ("become root", "EPERM"),
        ("call something newer", "ENOSYS"),
        ("clone3", "ENOSYS"),
        ("io_uring", "ENOSYS"),
        ("a Unix socket", "EPERM"),
        ("a TCP socket", "EPERM"),
        ("a packet socket", "EPERM"),
        ("a pair of Unix sockets", ""),
        (
            "what it has",
            "Seccomp 2, NoNewPrivs 1, CapInh 0, CapPrm 0, CapEff 0, CapAmb 0",
        ),
    ];
    assert_eq!(tried, named(&expected));
}

#[test]
fn connections() {
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    let ports = listeners
        .each_ref()
        .map(|listener| listener.local_addr().expect("bound").port());
    let tried = try_all("connections", &format!("{} {}", ports[0], ports[1]));
    let expected = [
        ("connect to an allowed port", ""),
        ("connect to another port", "EACCES"),
        ("bind", "EACCES"),
        ("resolve a name", ""),
        ("a packet socket", "EPERM"),
        ("a raw socket", "EPERM"),
        ("a socket of multipath TCP", "EPERM"),
        ("connect by sending", "EPERM"),
        ("reopen a listening socket", "EPERM"),
        ("a Unix socket", "EPERM"),
    ];
    assert_eq!(tried, named(&expected));
}

#[test]
fn an_intruder_ends_the_process() {
    for call in OF_INTRUDERS {
        let (status, text) = start("call", &call.to_string());
        assert_eq!(
            status.signal(),
            Some(libc::SIGSYS),
            "call {call}: {status}\n{text}"
        );
    }
    let (status, _) = start("abort", "");
    assert_eq!(
        status.signal(),
        Some(libc::SIGABRT),
        "the process may end itself"
    );
    assert!(free().all(|call| !OF_INTRUDERS.contains(&call)));
}

#[test]
fn root_becomes_another_user() {
    if !rustix::process::geteuid().is_root() {
        // Not `eprintln!`: of a test that passes, nobody would see it.
        let line = b"not tested: only root can become another user\n";
        io::stderr().write_all(line).expect("it is open");
        return;
    }
    let tried = try_all("user", "");
    let expected = [
        ("the wall", "user 65533"),
        ("become root", "EPERM"),
        ("read root's file in the root", "EACCES"),
        ("read its pages", ""),
        (
            "what it has",
            "Uid 65533 65533 65533 65533, Gid 65532 65532 65532 65532, Groups 65532, CapBnd 0",
        ),
    ];
    assert_eq!(tried, named(&expected));
}

#[test]
fn a_host_with_threads_is_not_confined() {
    let error = confine(&Needs::default()).expect_err("tests have threads");
    assert!(
        error.to_string().contains("started threads already"),
        "{error}"
    );
}

/// What a child tried, and the errors.
type Tried = BTreeMap<String, String>;

fn named(tried: &[(&str, &str)]) -> Tried {
    let owned = |(name, outcome): &(&str, &str)| ((*name).to_owned(), (*outcome).to_owned());
    tried.iter().map(owned).collect()
}

/// Has a child try everything of this kind.
fn try_all(what: &str, argument: &str) -> Tried {
    let (status, text) = start(what, argument);
    assert!(status.success(), "{what}: {status}\n{text}");
    let tried = text
        .lines()
        .filter_map(|line| line.strip_prefix(child::TRIED)?.split_once(": "));
    tried
        .map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
        .collect()
}

/// A child's end and all that it printed.
fn start(what: &str, argument: &str) -> (ExitStatus, String) {
    let folder = Folder::new(what);
    let output = Command::new(std::env::current_exe().expect("a program"))
        .args([child::TEST, "--exact", "--nocapture"])
        .env(child::WHAT, what)
        .env(child::ARGUMENT, argument)
        .env(child::FOLDER, &folder.0)
        .output()
        .expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&text).into_owned())
}

/// A temporary folder in a folder of its own, which nobody shares.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("confine-{}-{count}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name).join("own");
        fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder.canonicalize().expect("it is there"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = self.0.parent().map(fs::remove_dir_all);
    }
}
