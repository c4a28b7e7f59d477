//! The *system calls* that the host may make once it serves. Whatever else the kernel can do is out
//! of reach then, for code too that broke out of a guest's sandbox.
//!
//! A call that is not on the list fails with `EPERM`, as for lack of a right: the host goes on, and
//! the caller has an error that it can handle. A call that only an intruder makes ends the host at
//! once, by `SIGSYS`: nobody else is hit by that, and whoever runs the host sees it. A call that is
//! newer than the list fails with `ENOSYS`, as on an older kernel: C libraries know another way.
//!
//! The kernel remembers which calls are allowed whatever their arguments are, and runs no filter
//! for them. So the calls that each request makes have no conditions, but for those noted.

use std::collections::BTreeMap;

use libc::*; // the numbers of system calls, and the constants of their arguments
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

use super::calls::{self, FREQUENT, NEWEST, OF_INTRUDERS};
use super::{Needs, Outbound, Told};

/// The kernel can tell which pages of its memory a guest has written: `_IOWR('f', 16, 96 bytes)`.
const PAGEMAP_SCAN: u64 = 0xc060_6610;

/// The kind of a socket, without its flags.
const KIND: u64 = 0xf;

/// The bits that make a clone a member of new namespaces.
const NAMESPACES: c_int = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET;

/// Allows this thread, and all that it starts, nothing but what is on the list.
///
/// # Errors
/// If the kernel takes a part of it and refuses another.
pub(super) fn restrict(needs: &Needs) -> anyhow::Result<Told> {
    let list = list(needs)?;
    let count = list.len();
    let filter = filter(list)?;
    match seccompiler::apply_filter(&filter) {
        Err(seccompiler::Error::Seccomp(error)) => Ok(Told {
            held: None,
            missing: Some(format!("system calls (no filter is taken: {error})")),
        }),
        applied => {
            applied?;
            Ok(Told {
                held: Some(format!("{count} system calls (seccomp)")),
                missing: None,
            })
        }
    }
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// One program for all calls, in parts. Each part ends with its answer for the calls that it does
/// not know; without this last step, the next part answers them. Calls that the kernel runs the
/// program for, and that requests make, come first.
fn filter(list: Rules) -> Result<BpfProgram, seccompiler::BackendError> {
    let (frequent, rest) = list
        .into_iter()
        .partition(|(call, _)| FREQUENT.contains(call));
    let intruders = OF_INTRUDERS.iter().map(|call| (*call, Vec::new()));
    let mut program = part(frequent, SeccompAction::Allow)?;
    program.pop();
    program.extend(part(rest, SeccompAction::Allow)?);
    program.pop();
    program.extend(absent());
    program.extend(part(intruders.collect(), SeccompAction::KillProcess)?);
    Ok(program)
}

/// A filter that denies all but these calls, and answers these like this.
fn part(calls: Rules, answer: SeccompAction) -> Result<BpfProgram, seccompiler::BackendError> {
    let denied = SeccompAction::Errno(EPERM as u32);
    let cpu = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(calls, denied, answer, cpu)?.try_into()
}

/// Answers calls that are newer than the list, and two that have an older way: `clone3`, whose
/// flags stand in memory where no filter sees them, and `io_uring`, which does other calls' work
/// unseen. `seccompiler` compares no ranges.
fn absent() -> [sock_filter; 5] {
    let step = |code: u32, jt, jf, k| sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    [
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0), // the call's number
        step(BPF_JMP | BPF_JGT | BPF_K, 2, 0, NEWEST as u32),
        step(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, SYS_clone3 as u32),
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_io_uring_setup as u32),
        step(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | ENOSYS as u32),
    ]
}

/// All calls that are allowed, each with the ways to call it. No way means any.
fn list(needs: &Needs) -> Result<Rules, seccompiler::BackendError> {
    let mut list: Rules = calls::free().map(|call| (call, Vec::new())).collect();
    list.extend(conditional()?);
    list.extend(sockets(needs)?);
    Ok(list)
}

/// Calls that are allowed with some arguments.
#[rustfmt::skip] // a line per call
fn conditional() -> Result<Rules, seccompiler::BackendError> {
    let ourselves = u64::from(std::process::id());
    let is_thread = SeccompCmpOp::MaskedEq((CLONE_THREAD | NAMESPACES) as u64);
    let no_fast_open = SeccompCmpOp::MaskedEq(MSG_FASTOPEN as u64);
    // Sockets and files of the standard library, the resolver, terminals. C libraries disagree
    // about the type.
    let requests = [FIONBIO, FIOCLEX, FIONREAD, TCGETS, TCGETS2, TIOCGWINSZ];
    let requests = requests.map(|request| u64::from(request as u32));
    // Names of threads and of mappings.
    let options = [PR_SET_NAME, PR_GET_NAME, PR_SET_VMA].map(|option| option as u64);
    Ok(Rules::from([
        // A guest's memory is reset, at best once for each request.
        (SYS_ioctl, [any_of(1, [PAGEMAP_SCAN])?, any_of(1, requests)?].concat()),
        // This flag connects, and no rule for connections is asked.
        (SYS_sendto, vec![way(&[(3, no_fast_open.clone(), 0)])?]),
        (SYS_sendmsg, vec![way(&[(2, no_fast_open.clone(), 0)])?]),
        (SYS_sendmmsg, vec![way(&[(3, no_fast_open, 0)])?]),
        // The other direction would turn a listening socket back into one that can connect.
        (SYS_shutdown, vec![is(1, SHUT_WR as u64)?]),
        // The runtime tells itself of signals over a pair of sockets.
        (SYS_socketpair, vec![is(0, AF_UNIX as u64)?]),
        // A thread, and no process.
        (SYS_clone, vec![way(&[(0, is_thread, CLONE_THREAD as u64)])?]),
        (SYS_prctl, any_of(0, options)?),
        // `abort` and the like. No other process gets a signal from here.
        (SYS_tgkill, vec![is(0, ourselves)?]),
        // The host's own limits.
        (SYS_prlimit64, vec![is(0, 0)?]),
    ]))
}

/// New sockets: none, unless they are needed. Clients come by sockets that were bound before. Other
/// protocols than TCP and UDP would get around the rules for ports.
fn sockets(needs: &Needs) -> Result<Rules, seccompiler::BackendError> {
    let goes_out = needs.outbound != Outbound::Nowhere;
    let mut kinds = Vec::new();
    for family in [AF_INET, AF_INET6] {
        if goes_out || !needs.ports_to_bind.is_empty() {
            kinds.extend([(family, SOCK_STREAM, 0), (family, SOCK_STREAM, IPPROTO_TCP)]);
        }
        if goes_out {
            // The resolver's questions, and its look at which of a name's addresses can be reached.
            kinds.extend([(family, SOCK_DGRAM, 0), (family, SOCK_DGRAM, IPPROTO_UDP)]);
        }
    }
    if goes_out {
        // The resolver asks which addresses this machine has. It binds such a socket.
        kinds.push((AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    }
    if needs.unix_sockets {
        kinds.extend([(AF_UNIX, SOCK_STREAM, 0), (AF_UNIX, SOCK_DGRAM, 0)]);
    }
    if kinds.is_empty() {
        return Ok(Rules::new());
    }
    let kinds = kinds.into_iter().map(|(family, kind, protocol)| {
        way(&[
            (0, SeccompCmpOp::Eq, family as u64),
            (1, SeccompCmpOp::MaskedEq(KIND), kind as u64),
            (2, SeccompCmpOp::Eq, protocol as u64),
        ])
    });
    Ok(Rules::from([
        (SYS_socket, kinds.collect::<Result<_, _>>()?),
        (SYS_connect, Vec::new()),
        (SYS_bind, Vec::new()),
    ]))
}

/// A way to call: each of these arguments compares like this with its value.
fn way(arguments: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = arguments.iter().map(|(nth, compared, value)| {
        // The kernel reads most of them as 32 bits. What stands in the rest says nothing.
        let bits = SeccompCmpArgLen::Dword;
        SeccompCondition::new(*nth, bits, compared.clone(), *value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// This argument is this value.
fn is(nth: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    way(&[(nth, SeccompCmpOp::Eq, value)])
}

/// This argument is any of these values.
fn any_of<const N: usize>(
    nth: u8,
    values: [u64; N],
) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    values.into_iter().map(|value| is(nth, value)).collect()
}
