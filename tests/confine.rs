//! The second wall, as a thread of the running host meets it: a debugger has the thread make system
//! calls that nothing in the host makes. That the host can still do all that it should, the other
//! tests show: their hosts are confined too.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libc::c_long;
use rustix::io::Errno;
use rustix::process::{Resource, Signal, getrlimit, setrlimit};

use crate::reload::NOT_RELOADED;
use crate::support::form::shape;
use crate::support::guests::workspace;
use crate::support::server::{command, outcome, serve};
use crate::support::tls::Authority;
use crate::support::{Folder, Server, eventually, untested};

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
    let log = server.log_text();
    let said = log.split('"').find(|text| text.starts_with("confined: "));
    is_shown(said.expect("a line of the log"));
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

/// Compares the line with the one that the guide shows, which is of another user.
fn is_shown(said: &str) {
    if said.contains("not confined: ") {
        untested("the guide's line, as this kernel lacks a part of the wall");
        return;
    }
    let page = fs::read_to_string(workspace().join("docs/security.md")).expect("a guide");
    let mut lines = page.lines().map(str::trim);
    let shown = lines.find(|line| line.starts_with("confined: "));
    let of_any_user = |line: &str| shape(line.rsplit_once(" user ").expect("a user").0);
    assert_eq!(of_any_user(shown.expect("a line")), of_any_user(said));
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
        untested("only root can become another user");
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
fn files_that_the_user_may_not_read_again_are_told() {
    if !rustix::process::geteuid().is_root() {
        untested("only root can become another user");
        return;
    }
    let pair = Authority::new().certify(&["localhost"]);
    let folder = Folder::new();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("our own");
    };
    let key = pair.key();
    mode(folder.path(), 0o755);
    mode(Path::new(&key).parent().expect("a folder"), 0o755);
    mode(Path::new(&key), 0o600);
    let flags = format!(
        "--user 65533:65532 --no-cache --control off --tls-cert {} --tls-key {key}",
        pair.certificate()
    );
    let server = serve(folder, &flags);
    let told = server.wait_entries("a reload will fail: the host's user may not read this", 1);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["file"].as_str(), Some(&*key));
    assert_eq!(told[0]["level"], "WARN");
    server.signal(Signal::HUP);
    let refused = server.wait_entries(NOT_RELOADED, 1);
    let reason = refused[0]["reason"].to_string();
    assert!(
        reason.contains("keeps the host's user from reading it"),
        "{reason}"
    );
    // What the user may not bind is the user's matter, too.
    let folder = Folder::new();
    let flags = format!(
        "--user 65533:65532 --no-cache --control off --listen unix:{}",
        folder.path().join("socket").display()
    );
    let (code, text) = outcome(&mut command(None, &folder.root(), &flags));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("can't listen there: "), "{text}");
    assert!(text.contains(", as user 65533"), "{text}");
}

#[test]
fn what_is_renamed_over_a_file_in_a_shared_folder_is_told() {
    let shared = |content: &str| {
        let mut file = tempfile::NamedTempFile::new_in("/tmp").expect("a file");
        file.write_all(content.as_bytes()).expect("our own");
        file
    };
    let (pair, folder) = (Authority::new().certify(&["localhost"]), Folder::new());
    let read = |path: String| fs::read_to_string(path).expect("our own");
    let key = shared(&read(pair.key()));
    let flags = format!(
        "--tls-cert {} --tls-key {}",
        pair.certificate(),
        key.path().display()
    );
    let server = serve(folder, &flags);
    let log = eventually("the log says what holds", || {
        let log = server.log_text();
        log.contains("confined: ").then_some(log)
    });
    if !log.contains("Landlock") || log.contains("not confined: files") {
        untested("files, as this kernel has no Landlock");
        return;
    }
    let next = shared(&read(pair.key()));
    next.persist(key.path()).expect("it is replaced");
    server.signal(Signal::HUP);
    let refused = server.wait_entries(NOT_RELOADED, 1);
    let reason = refused[0]["reason"].to_string();
    assert!(reason.contains("In a folder that many share"), "{reason}");
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
        untested("there is no gdb on this machine");
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    if text.contains("ptrace: Operation not permitted") {
        untested("gdb may not attach here (kernel.yama.ptrace_scope)");
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
