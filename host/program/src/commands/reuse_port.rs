//! Taking over a port that an older host still listens on, without losing a connection.
//!
//! The kernel gives each new connection to one of the sockets that share a port, and forgets those
//! that wait for a socket which is closed. So a new host has the kernel give it all of them, before
//! anybody stops the old one.

use std::os::fd::{AsRawFd, OwnedFd};

/// The place of the new socket among the two that share the port. The old one was there before. If
/// the place is empty, because the old one is gone, the kernel chooses as if there was no program
/// (socket(7), `SO_ATTACH_REUSEPORT_CBPF`).
const SECOND: u32 = 1;

/// `BPF_RET | BPF_K`: return a constant.
const RETURN: u16 = 0x06;

/// Has the kernel give all new connections of a shared port to the socket that came last. If it
/// can't, both get some, and those that the old host has not accepted when it stops are lost.
pub(super) fn take_over(socket: &OwnedFd) {
    let mut code = [libc::sock_filter {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: SECOND,
    }];
    let program = libc::sock_fprog {
        len: code.len() as u16,
        filter: code.as_mut_ptr(),
    };
    // SAFETY: The kernel reads `program` and the code that it points to during the call only. Both
    // live until its end, and the length is that of `program`.
    let attached = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if attached != 0 {
        let error = std::io::Error::last_os_error();
        tracing::warn!(%error, "an older host on this port goes on getting connections");
    }
}
