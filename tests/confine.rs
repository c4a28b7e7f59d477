//! The second wall, as a thread of the running host meets it: a debugger has the thread make system
//! calls that nothing in the host makes. That the host can still do all that it should, the other
//! tests show: their hosts are confined too.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use libc::c_long;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::support::server::{command, outcome, serve};
use crate::support::{Folder, Server};

/// A system call that a thread of the host is to make: its number, and its arguments as in C.
type Call = (c_long, String);

#[test]
fn a_thread_of_the_host_can_do_nothing_that_the_host_does_not() {
    let server = serve(Folder::new().file("file", "content"), "--workers 2");
    assert_eq!(server.get("/file").text(), "content");
    let root = server.folder.root().display().to_string();
    let outside = server.folder.outside().join("file");
    fs::write(&outside, "").expect("our own");
    let (open, here) = (libc::SYS_openat, libc::AT_FDCWD);
    let create = libc::O_CREAT | libc::O_WRONLY;
    let ours = std::process::id();
    #[rustfmt::skip] // one line per case
    let cases: [(&str, c_long, String, Option<Errno>); 18] = [
        ("read in the root", open, format!("{here}, \"{root}/file\", 0"), None),
        ("read /etc/shadow", open, format!("{here}, \"/etc/shadow\", 0"), Some(Errno::ACCESS)),
        ("read /proc/1/environ", open, format!("{here}, \"/proc/1/environ\", 0"), Some(Errno::ACCESS)),
        ("create in the root", open, format!("{here}, \"{root}/new\", {create}, 0600"), Some(Errno::ACCESS)),
        ("create in /tmp", open, format!("{here}, \"/tmp/confined\", {create}, 0600"), Some(Errno::ACCESS)),
        ("remove from the root", libc::SYS_unlinkat, format!("{here}, \"{root}/file\", 0"), Some(Errno::ACCESS)),
        ("change a mode", libc::SYS_fchmodat, format!("{here}, \"{root}/file\", 0777"), Some(Errno::PERM)),
        ("make a link", libc::SYS_symlinkat, format!("\"/\", {here}, \"{root}/link\""), Some(Errno::PERM)),
        ("start a process", libc::SYS_clone, format!("{}, 0, 0, 0, 0", libc::SIGCHLD), Some(Errno::PERM)),
        ("clone3", libc::SYS_clone3, "0, 0".into(), Some(Errno::NOSYS)),
        ("a TCP socket", libc::SYS_socket, format!("{}, {}, 0", libc::AF_INET, libc::SOCK_STREAM), Some(Errno::PERM)),
        ("a UDP socket", libc::SYS_socket, format!("{}, {}, 0", libc::AF_INET, libc::SOCK_DGRAM), Some(Errno::PERM)),
        ("a Unix socket", libc::SYS_socket, format!("{}, {}, 0", libc::AF_UNIX, libc::SOCK_STREAM), Some(Errno::PERM)),
        ("a packet socket", libc::SYS_socket, format!("{}, {}, 0", libc::AF_PACKET, libc::SOCK_RAW), Some(Errno::PERM)),
        ("become root", libc::SYS_setuid, "0".into(), Some(Errno::PERM)),
        ("signal this test", libc::SYS_kill, format!("{ours}, 0"), Some(Errno::PERM)),
        ("this test's limits", libc::SYS_prlimit64, format!("{ours}, 7, 0, 0"), Some(Errno::PERM)),
        ("forbid its own debugger", libc::SYS_prctl, format!("{}, 0", libc::PR_SET_DUMPABLE), Some(Errno::PERM)),
    ];
    let calls: Vec<Call> = cases.iter().map(|case| (case.1, case.2.clone())).collect();
    let Some(returned) = have_a_thread_call(&server, &calls) else {
        return;
    };
    for ((what, .., expected), errno) in cases.iter().zip(returned) {
        assert_eq!(errno, *expected, "{what}");
    }
    assert_eq!(server.get("/file").text(), "content", "the host goes on");
}

#[test]
fn a_call_that_only_an_intruder_makes_ends_the_host() {
    // Nobody needs the core files of these hosts.
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    setrlimit(Resource::Core, limit).expect("less is always allowed");
    for (number, arguments) in [
        (libc::SYS_execve, "\"/bin/sh\", 0, 0"),
        (libc::SYS_ptrace, "0, 0, 0, 0"),
        (libc::SYS_mount, "0, \"/\", 0, 0, 0"),
        (libc::SYS_bpf, "0, 0, 0"),
    ] {
        let mut server = serve(Folder::new(), "--workers 1");
        let calls = [(number, arguments.to_owned())];
        match have_a_thread_call(&server, &calls) {
            None => return,
            Some(returned) => assert_eq!(returned, [], "call {number} returned"),
        }
        assert_eq!(
            server.wait_exit().signal(),
            Some(libc::SIGSYS),
            "call {number}"
        );
    }
}

#[test]
fn all_threads_are_confined_and_the_log_says_so() {
    let server = serve(Folder::new().file("file", "content"), "--workers 2");
    assert_eq!(server.get("/file").status, 200);
    server.wait_text("confined: ");
    server.wait_text(" system calls (seccomp), no capabilities, no new privileges, user ");
    let wanted = [("Seccomp", "2"), ("NoNewPrivs", "1")];
    let none = "0000000000000000";
    let capabilities = ["CapInh", "CapPrm", "CapEff", "CapAmb"].map(|set| (set, none));
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    for thread in threads {
        let status = status(thread.expect("a thread").path());
        for (line, value) in wanted.iter().chain(&capabilities) {
            assert_eq!(status[*line], *value, "{line} of {}", status["Name"]);
        }
    }
}

#[test]
fn no_confine_leaves_the_host_what_its_user_has() {
    let server = serve(
        Folder::new().file("file", "content"),
        "--no-confine --workers 2",
    );
    assert_eq!(server.get("/file").status, 200);
    server.wait_text("the host keeps all rights of its user: --no-confine");
    let (host, test) = (status(proc(server.pid())), status(proc(std::process::id())));
    for line in ["Seccomp", "NoNewPrivs", "CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(host[line], test[line], "{line}");
    }
    assert!(
        !server.log_text().contains("confined: "),
        "nothing is said to hold"
    );
    let passwd = format!("{}, \"/etc/passwd\", 0", libc::AT_FDCWD);
    let socket = format!("{}, {}, 0", libc::AF_UNIX, libc::SOCK_STREAM);
    let calls = [(libc::SYS_openat, passwd), (libc::SYS_socket, socket)];
    if let Some(returned) = have_a_thread_call(&server, &calls) {
        assert_eq!(returned, [None, None]);
    }
    assert_eq!(server.get("/file").text(), "content");
}

#[test]
fn a_host_that_began_as_root_becomes_another_user() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let folder = Folder::new()
        .file("file", "content")
        .file("secret", "root's");
    let mode = |path: PathBuf, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    mode(folder.path().to_owned(), 0o755).expect("our own");
    mode(folder.root().join("secret"), 0o600).expect("our own");
    // No such account is needed: the numbers will do, and nobody has files with them.
    let server = serve(
        folder,
        "--user 65533:65532 --no-cache --control off --workers 2",
    );
    assert_eq!(server.get("/file").text(), "content");
    assert_eq!(server.get("/secret").status, 403);
    let status = status(proc(server.pid()));
    assert_eq!(status["Uid"], ["65533"; 4].join("\t"));
    assert_eq!(status["Gid"], ["65532"; 4].join("\t"));
    assert_eq!(status["Groups"].trim(), "65532");
    assert_eq!(status["CapBnd"], "0000000000000000");
    server.wait_text("user 65533");
}

#[test]
fn users_that_there_are_not_are_refused() {
    let folder = Folder::new();
    let mut cases = vec![
        ("no-such-user", "there is no user no-such-user"),
        ("65533", "give one, as in 65533:GID"),
        ("root", "this is root"),
        ("a/b", "give NAME, UID, NAME:GROUP or UID:GID"),
    ];
    if !rustix::process::geteuid().is_root() {
        cases = vec![("65533:65532", "only root can become another user")];
    }
    for (user, error) in cases {
        let flags = format!("--user {user} --control off");
        let (code, text) = outcome(&mut command(None, &folder.root(), &flags));
        assert!(
            code != 0 && text.contains("--user"),
            "{user}: {code} {text}"
        );
        assert!(text.contains(error), "{user}: {text}");
    }
}

/// Has a thread of the host make these system calls one after the other. Returns the errors of
/// those that returned. `None` if there is no debugger here that could do that.
fn have_a_thread_call(server: &Server, calls: &[Call]) -> Option<Vec<Option<Errno>>> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-p", &server.pid().to_string()]);
    // If its process ends under it, it may leave a core file of its own.
    gdb.current_dir(server.folder.path());
    // The first thread only waits for the others.
    for line in ["set debuginfod enabled off", "thread 2"] {
        gdb.args(["-ex", line]);
    }
    for (number, arguments) in calls {
        let call = format!("(long)syscall({number}, {arguments})");
        let errno = "*((int*(*)(void))__errno_location)()";
        gdb.args(["-ex", &format!("printf \"returned %ld \", {call}")]);
        gdb.args(["-ex", &format!("printf \"with %d\\n\", {errno}")]);
    }
    let Ok(output) = gdb.output() else {
        println!("skipped: there is no gdb on this machine");
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    if text.contains("ptrace: Operation not permitted") {
        println!("skipped: gdb may not attach here (kernel.yama.ptrace_scope)");
        return None;
    }
    assert!(
        text.contains("[Switching to thread 2"),
        "gdb attached: {text}"
    );
    let returned = text.lines().filter_map(|line| {
        let (value, errno) = line.strip_prefix("returned ")?.split_once(" with ")?;
        let errno = errno.parse().expect("gdb prints a number");
        Some((value == "-1").then(|| Errno::from_raw_os_error(errno)))
    });
    Some(returned.collect())
}

fn proc(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// What the kernel says of a process or a thread.
fn status(folder: PathBuf) -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder.join("status")).expect("it runs");
    let lines = text.lines().filter_map(|line| line.split_once(":\t"));
    lines
        .map(|(name, value)| (name.to_owned(), value.trim_end().to_owned()))
        .collect()
}
