//! What a confined thread may do with processes, rights and connections.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::super::{Needs, Outbound, User, become_user};
use super::child::{call, confined, said, status, told};

pub(super) fn rights() {
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
            "CapAmb",
        ];
        said("what it has", &status(&all));
    });
}

pub(super) fn connections(ports: &str) {
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

pub(super) fn user(folder: &Path) {
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
        said("what it has", &status(&["Uid", "Gid", "Groups", "CapBnd"]));
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
