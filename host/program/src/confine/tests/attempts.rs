//! The child's side: it confines itself, and tries.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Barrier;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::super::{Needs, Outbound, User, become_user, confine_thread};

/// The name of the child's test.
pub(super) const TEST: &str = "confine::tests::attempts::child";

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
    let argument = std::env::var(ARGUMENT).expect("set by the test");
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("set by the test"));
    match &*what {
        "files" => files(folder),
        "rights" => rights(),
        "connections" => connections(&argument),
        "user" => user(folder),
        "call" => drop({
            let number = argument.parse().expect("a number");
            confined(&Needs::default(), || told("call it", call(number)))
        }),
        "abort" => drop(confined(&Needs::default(), || std::process::abort())),
        other => panic!("{other}"),
    }
}

fn told<T>(what: &str, outcome: io::Result<T>) {
    let code = |error: io::Error| match Errno::from_io_error(&error) {
        Some(Errno::PERM) => "EPERM".to_owned(),
        Some(Errno::ACCESS) => "EACCES".to_owned(),
        Some(Errno::NOSYS) => "ENOSYS".to_owned(),
        Some(_) | None => format!("{error:?}"),
    };
    said(what, &outcome.err().map(code).unwrap_or_default());
}

/// Written past the test harness, which captures what `println` writes in threads.
fn said(what: &str, outcome: &str) {
    let line = format!("\n{TRIED}{what}: {outcome}\n");
    io::stdout()
        .write_all(line.as_bytes())
        .expect("the test reads");
}

/// Confines this thread, and does the rest in another.
fn confined(needs: &Needs, attempts: impl FnOnce() + Send) -> String {
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
fn call(number: libc::c_long) -> io::Result<()> {
    // SAFETY: All addresses among the arguments are null, and nothing else of this process is named
    // by a number: a call that is let through does nothing to its memory.
    match unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn files(folder: PathBuf) {
    let at = |name: &str| folder.join(name);
    for name in [
        "site",
        "next-site",
        "mods",
        "releases/1",
        "releases/2",
        "logs",
        "../beside",
    ] {
        fs::create_dir_all(at(name)).expect("our own");
        fs::write(at(name).join("file"), "text").expect("our own");
    }
    symlink("../../beside/file", at("site/link")).expect("our own");
    symlink("releases/1", at("current")).expect("our own");
    let needs = Needs {
        to_read: vec![at("site"), at("mods/file"), at("current")],
        to_write: vec![at("cache")],
        log: Some(at("logs/file")),
        ..Needs::default()
    };
    let root = File::open(at("site")).expect("our own");
    // A thread that is not confined does what an administrator does, while this one waits.
    let turn = Barrier::new(2);
    let parent = std::os::unix::process::parent_id();
    let administer = || {
        turn.wait();
        fs::write(at("mods/new"), "text").expect("our own");
        symlink("releases/2", at("new")).expect("our own");
        for (from, to) in [
            ("mods/new", "mods/file"),
            ("site", "old-site"),
            ("next-site", "site"),
            ("new", "current"),
            ("logs/file", "logs/file.1"),
        ] {
            fs::rename(at(from), at(to)).expect("our own");
        }
        turn.wait();
    };
    let attempt = || {
        let append = || {
            File::options()
                .append(true)
                .create(true)
                .open(at("logs/file"))
        };
        let site = at("site");
        told("read in the root", fs::read(site.join("file")));
        told("list the root", fs::read_dir(&site));
        let descriptor = format!("/proc/self/fd/{}/file", root.as_raw_fd());
        told(
            "read in the root by a descriptor's name",
            fs::read(descriptor),
        );
        told(
            "write in the root",
            File::options().write(true).open(site.join("file")),
        );
        told("create in the root", fs::write(site.join("new"), ""));
        told("remove from the root", fs::remove_file(site.join("file")));
        // Linux truncates a file that is opened for reading, if it is asked to.
        let flags = rustix::fs::OFlags::TRUNC;
        let opened = rustix::fs::open(site.join("file"), flags, rustix::fs::Mode::empty());
        told("truncate in the root", opened.map_err(io::Error::from));
        told("read by a link that leads out", fs::read(site.join("link")));
        turn.wait();
        turn.wait();
        told(
            "read a file that was renamed over the module",
            fs::read(at("mods/file")),
        );
        told(
            "read in a folder that took the root's place",
            fs::read(site.join("file")),
        );
        told("read in the next release", fs::read(at("current/file")));
        told(
            "append to the log after its rename",
            append().and_then(|mut log| log.write_all(b".")),
        );
        let (one, two) = (at("cache/one"), at("cache/two"));
        let kept = fs::write(&one, "text").and_then(|()| fs::rename(&one, &two));
        let read = kept.and_then(|()| fs::read(&two));
        told(
            "create, rename, remove in the cache",
            read.and_then(|_| fs::remove_file(&two)),
        );
        told("make a folder in the cache", fs::create_dir(&one));
        told("make a link in the cache", symlink("two", &one));
        let mode = fs::Permissions::from_mode(0o777);
        told(
            "change a mode in the cache",
            fs::set_permissions(at("cache"), mode),
        );
        told("read beside everything", fs::read(at("../beside/file")));
        told("list the folder beside", fs::read_dir(at("../beside")));
        told(
            "read another process's environment",
            fs::read(format!("/proc/{parent}/environ")),
        );
        told("read its own status", fs::read("/proc/self/status"));
        told("read /etc/passwd", fs::read("/etc/passwd"));
        told("count the CPUs", std::thread::available_parallelism());
        told("start a thread", std::thread::Builder::new().spawn(|| ()));
    };
    std::thread::scope(|scope| {
        scope.spawn(administer);
        confined(&needs, attempt);
    });
}

fn rights() {
    let parent = rustix::process::getppid();
    confined(&Needs::default(), || {
        // SAFETY: The call fails. If it did not, the child would end at once.
        let forked = match unsafe { libc::fork() } {
            0 => std::process::abort(),
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        };
        told("fork", forked);
        told("start a program", Command::new("/bin/true").spawn());
        let signal = rustix::process::Signal::URG; // ignored, if it came through
        let killed = rustix::process::kill_process(parent.expect("a parent"), signal);
        told("kill the parent", killed.map_err(io::Error::from));
        told("become root", become_root());
        told("call something newer", call(500));
        told("clone3", call(libc::SYS_clone3));
        told("io_uring", call(libc::SYS_io_uring_setup));
        told(
            "a Unix socket",
            socket(AddressFamily::UNIX, SocketType::STREAM, 0),
        );
        told(
            "a TCP socket",
            socket(AddressFamily::INET, SocketType::STREAM, 0),
        );
        told(
            "a packet socket",
            socket(AddressFamily::PACKET, SocketType::RAW, 0),
        );
        told(
            "a pair of Unix sockets",
            std::os::unix::net::UnixStream::pair(),
        );
        let all = [
            "Seccomp",
            "NoNewPrivs",
            "CapInh",
            "CapPrm",
            "CapEff",
            "CapBnd",
            "CapAmb",
        ];
        said("what it has", &status(&all));
    });
}

fn connections(ports: &str) {
    let ports: Vec<u16> = ports
        .split(' ')
        .map(|port| port.parse().expect("a port"))
        .collect();
    let needs = Needs {
        outbound: Outbound::Ports([ports[0]].into()),
        ..Needs::default()
    };
    let local = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let listener = TcpListener::bind(local(0)).expect("a port");
    confined(&needs, || {
        told(
            "connect to an allowed port",
            TcpStream::connect(local(ports[0])),
        );
        told(
            "connect to another port",
            TcpStream::connect(local(ports[1])),
        );
        told("bind", TcpListener::bind(local(0)));
        told("resolve a name", ("localhost", 80).to_socket_addrs());
        told(
            "a packet socket",
            socket(AddressFamily::PACKET, SocketType::RAW, 0),
        );
        told(
            "a raw socket",
            socket(AddressFamily::INET, SocketType::RAW, 1),
        );
        told(
            "a socket of multipath TCP",
            socket(AddressFamily::INET, SocketType::STREAM, 262),
        );
        told(
            "a Unix socket",
            socket(AddressFamily::UNIX, SocketType::STREAM, 0),
        );
        told("connect by sending", send(libc::MSG_FASTOPEN));
        let both = rustix::net::shutdown(listener.as_fd(), rustix::net::Shutdown::Both);
        told("reopen a listening socket", both.map_err(io::Error::from));
    });
}

fn user(folder: PathBuf) {
    let (root, secret) = (folder.join("site"), folder.join("site/secret"));
    fs::create_dir(&root).expect("our own");
    fs::write(&secret, "root's").expect("our own");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("our own");
    // The numbers have no entries, so that the test is the same on all systems.
    let account = "65533:65532"
        .parse::<User>()
        .expect("a user")
        .find()
        .expect("numbers will do");
    become_user(&account).expect("this is root");
    let needs = Needs {
        to_read: vec![root],
        user: Some(account),
        ..Needs::default()
    };
    let walls = confined(&needs, || {
        told("become root", become_root());
        told("read root's file in the root", fs::read(&secret));
        let pages = File::open("/proc/self/pagemap");
        told(
            "read its pages",
            pages.and_then(|mut pages| pages.read_exact(&mut [0; 8])),
        );
        said("what it has", &status(&["Uid", "Gid", "Groups"]));
    });
    said("the wall", walls.rsplit(", ").next().unwrap_or_default());
}

fn become_root() -> io::Result<()> {
    Ok(rustix::thread::set_thread_uid(rustix::process::Uid::ROOT)?)
}

fn socket(family: AddressFamily, kind: SocketType, protocol: u32) -> io::Result<()> {
    let protocol = std::num::NonZeroU32::new(protocol).map(rustix::net::Protocol::from_raw);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
    Ok(())
}

/// Sends nothing, to no socket.
fn send(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: The length is 0, so the kernel reads nothing.
    match unsafe { libc::send(-1, std::ptr::null(), 0, flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Lines of what the kernel says of this thread. Sets are numbers without leading zeros.
fn status(names: &[&str]) -> String {
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
