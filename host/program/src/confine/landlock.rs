//! *Landlock* is the kernel's list of files that a program may open and of ports that it may use,
//! made by the program itself. What was opened before stays open: listening sockets, the log.
//!
//! A rule is for a file or a folder with all that is in it. Nothing may be executed, and no folder,
//! link or device may be made, for there is no rule that says so. Asking whether a file exists,
//! `stat`, and watching a folder need no rule.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, make_bitflags,
};

use super::places::{folder_of, places};
use super::{Needs, Outbound, Told};

/// The newest Landlock that the rules were tested with: what a newer one can forbid stays allowed.
/// An older one forbids what it can.
const KNOWN: ABI = ABI::V7;

/// The first Landlock that knows of networks.
const NETWORK: ABI = ABI::V4;

type Rights = BitFlags<AccessFs>;

const READ: Rights = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// Files are created, written, renamed within their folder, and removed.
const WRITE: Rights =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile});

/// Lines are appended. After the file was renamed, a new one is created.
const LOG: Rights = make_bitflags!(AccessFs::{WriteFile | MakeReg});

/// A socket gets its name when the host can answer, and loses it at the end of the host.
const SOCKET: Rights = make_bitflags!(AccessFs::{MakeSock | RemoveFile});

/// What is to be read of the system: the number of CPUs that the host may use, by the standard
/// library, and the program itself, whose names a panic's backtrace shows.
const SYSTEM: &[&str] = &[
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/proc/self/exe",
];

/// What is to be read of the kernel about the host: its descriptors, by whose names the cache's
/// code is mapped; its pages; its limits. Not `/proc` as a whole, which shows other processes.
const KERNEL: &[&str] = &["/proc/self", "/proc/sys/vm/max_map_count"];

/// What the C library's resolver reads.
const RESOLVER: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    // Modules of the resolver.
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    // Where services for networks keep what `/etc/resolv.conf` leads to.
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
];

/// Where systems keep the certificates that they trust, and what links in there lead to. They are
/// replaced in place or within these folders.
const CERTIFICATES: &[&str] = &[
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/var/lib/ca-certificates",
];

/// The port of name servers. An answer that is too long for UDP is asked for again over TCP.
const DNS: u16 = 53;

/// Open as long as the host runs. The kernel makes up the entries of `/proc`, and forgets those
/// that nobody holds. A forgotten one comes back as another, which no rule is for.
static HELD: OnceLock<Vec<PathFd>> = OnceLock::new();

/// Refuses to this thread, and to all that it starts, whatever is not in `needs`.
///
/// # Errors
/// If the kernel has Landlock and refuses the rules.
pub(super) fn restrict(needs: &Needs) -> Result<Told, RulesetError> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        // No signal to other processes, no connection to their abstract sockets.
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let rules = files(rules, needs)?;
    let rules = ports(rules, needs)?;
    Ok(told(&rules.restrict_self()?))
}

fn files(mut rules: RulesetCreated, needs: &Needs) -> Result<RulesetCreated, RulesetError> {
    let mut held = Vec::new();
    for path in KERNEL.iter().filter_map(|path| PathFd::new(path).ok()) {
        rules = rules.add_rule(PathBeneath::new(path.as_fd(), READ))?;
        held.push(path);
    }
    // If they were set before, they are held already.
    let _second = HELD.set(held);
    let system = SYSTEM.iter().map(PathBuf::from);
    let system = system.map(|path| (path, READ));
    let certificates = CERTIFICATES.iter().filter(|_| needs.certificates);
    let certificates = certificates.map(|path| (PathBuf::from(path), READ));
    let device = (
        "/dev/null".into(),
        make_bitflags!(AccessFs::{ReadFile | WriteFile}),
    );
    let resolver = match needs.outbound {
        Outbound::Nowhere => Vec::new(),
        Outbound::Ports(_) => resolver(),
    };
    let read = needs.to_read.iter().chain(&resolver);
    let read = read.flat_map(|name| with_successors(name, READ));
    let written = needs.to_write.iter().map(|folder| (folder.clone(), WRITE));
    let log = needs.log.iter().flat_map(|name| with_successors(name, LOG));
    let sockets = needs.sockets.iter().filter_map(|path| folder_of(path));
    let sockets = sockets.map(|folder| (folder, SOCKET));
    let all = system.chain(certificates).chain([device]);
    let all = all.chain(read).chain(written);
    for (path, rights) in all.chain(log).chain(sockets) {
        // The host says what it misses when it needs it.
        if let Ok(path) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(path, rights))?;
        }
    }
    Ok(rules)
}

/// What to read so that names are resolved. `/etc/resolv.conf` is replaced when the network
/// changes, so a user reads all of `/etc` that is everybody's. Root reads single files, because the
/// folder has its secrets too: a host that runs as root finds no names once that file was replaced.
fn resolver() -> Vec<PathBuf> {
    let is_root = rustix::process::geteuid().is_root();
    let folder = (!is_root).then_some("/etc");
    let all = RESOLVER.iter().copied().chain(folder);
    all.map(PathBuf::from).collect()
}

/// A name's file, and the folders of those that take its place.
fn with_successors(name: &Path, rights: Rights) -> impl Iterator<Item = (PathBuf, Rights)> {
    let places = places(name);
    let all = places.now.into_iter().chain(places.later);
    all.map(move |path| (path, rights))
}

fn ports(mut rules: RulesetCreated, needs: &Needs) -> Result<RulesetCreated, RulesetError> {
    let connect = match &needs.outbound {
        Outbound::Nowhere => Vec::new(),
        Outbound::Ports(ports) => ports.iter().copied().chain([DNS]).collect(),
    };
    for port in connect {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    for port in &needs.ports_to_bind {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    Ok(rules)
}

fn told(status: &RestrictionStatus) -> Told {
    let absent = |why| Told {
        held: None,
        missing: Some(format!("files and network ({why})")),
    };
    match (&status.landlock, &status.ruleset) {
        (LandlockStatus::NotImplemented, _) => absent("the kernel has no Landlock"),
        (LandlockStatus::NotEnabled, _) => absent("the kernel's Landlock is off, see `lsm=`"),
        (LandlockStatus::Available { .. }, RulesetStatus::NotEnforced) => {
            absent("the kernel does not hold the rules")
        }
        (
            LandlockStatus::Available {
                effective_abi,
                kernel_abi,
            },
            _,
        ) => {
            let number = kernel_abi.unwrap_or(*effective_abi as i32);
            let has_network = *effective_abi >= NETWORK;
            let held = if has_network {
                "files and network"
            } else {
                "files"
            };
            let old = format!(
                "network (the kernel's Landlock is older than {})",
                NETWORK as i32
            );
            Told {
                held: Some(format!("{held} (Landlock {number})")),
                missing: (!has_network).then_some(old),
            }
        }
    }
}
