//! A *provider* is the part of the host that has what a module imports. The names alone tell, so
//! that a module need not be compiled for this.

use std::fmt;

use super::interface::{Interface, Release};
use super::{contract, engine};
use crate::kind::Kind;

/// Who has what a module imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// An interface of this host's own contract, `wasm-pool:worker`.
    Contract,
    /// WASI 0.1, for core modules.
    Wasi01,
    /// WASI 0.2.
    Wasi02,
    /// WASI 0.3.
    Wasi03,
    /// `wasi:config/store`: the values that the host was started with.
    Config,
    /// `wasi:logging/logging`: the host's log.
    Log,
    /// Outgoing HTTP requests. They are denied unless the host allows them.
    Outbound,
    /// Sockets, which are always denied.
    Sockets,
    /// The import has types only, and these need nobody.
    Types,
    /// This host does not have it.
    Nobody,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contract => "the contract",
            Self::Wasi01 => "WASI 0.1",
            Self::Wasi02 => "WASI 0.2",
            Self::Wasi03 => "WASI 0.3",
            Self::Config => "configuration values",
            Self::Log => "the log",
            Self::Outbound => "outgoing HTTP, denied unless it is allowed",
            Self::Sockets => "sockets, always denied",
            Self::Types => "types only",
            Self::Nobody => "nobody: this host does not have it",
        })
    }
}

/// The interfaces of a release: packages, and what is in each.
type Packages = &'static [(&'static str, &'static [&'static str])];

/// What wasmtime links for 0.2 beside sockets and outgoing requests.
const WASI_02: Packages = &[
    ("cli", CLI),
    ("clocks", &["monotonic-clock", "wall-clock"]),
    ("filesystem", &["preopens", "types"]),
    ("http", &["types"]),
    ("io", &["error", "poll", "streams"]),
    ("random", RANDOM),
];

/// What wasmtime links for 0.3 beside sockets and outgoing requests.
const WASI_03: Packages = &[
    ("cli", CLI),
    ("cli", &["types"]),
    ("clocks", &["monotonic-clock", "system-clock", "types"]),
    ("filesystem", &["preopens", "types"]),
    ("http", &["types"]),
    ("random", RANDOM),
];

const CLI: &[&str] = &[
    "environment",
    "exit",
    "stderr",
    "stdin",
    "stdout",
    "terminal-input",
    "terminal-output",
    "terminal-stderr",
    "terminal-stdin",
    "terminal-stdout",
];
const RANDOM: &[&str] = &["insecure", "insecure-seed", "random"];

const SOCKETS_02: &[&str] = &[
    "instance-network",
    "ip-name-lookup",
    "network",
    "tcp",
    "tcp-create-socket",
    "udp",
    "udp-create-socket",
];
const SOCKETS_03: &[&str] = &["ip-name-lookup", "types"];

/// The modules that core modules import WASI 0.1 from: the second is its name of 2019.
pub(super) const WASI_01: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

#[rustfmt::skip] // by what they are about
const WASI_01_FUNCTIONS: [&str; 46] = [
    "args_get", "args_sizes_get", "environ_get", "environ_sizes_get",
    "clock_res_get", "clock_time_get",
    "fd_advise", "fd_allocate", "fd_close", "fd_datasync", "fd_fdstat_get", "fd_fdstat_set_flags",
    "fd_fdstat_set_rights", "fd_filestat_get", "fd_filestat_set_size", "fd_filestat_set_times",
    "fd_pread", "fd_prestat_dir_name", "fd_prestat_get", "fd_pwrite", "fd_read", "fd_readdir",
    "fd_renumber", "fd_seek", "fd_sync", "fd_tell", "fd_write",
    "path_create_directory", "path_filestat_get", "path_filestat_set_times", "path_link",
    "path_open", "path_readlink", "path_remove_directory", "path_rename", "path_symlink",
    "path_unlink_file",
    "poll_oneoff", "proc_exit", "proc_raise", "random_get", "sched_yield",
    "sock_accept", "sock_recv", "sock_send", "sock_shutdown",
];

impl Provider {
    /// Who has this import of a component. Without a kind: of a component of any kind.
    pub(super) fn of(import: &str, kind: Option<Kind>) -> Self {
        if let Some(ours) = contract::find(import) {
            let is_provided =
                !contract::is_for_programs(ours) || matches!(kind, None | Some(Kind::Program));
            return if is_provided {
                Self::Contract
            } else {
                Self::Nobody
            };
        }
        let Some(interface) = Interface::parse(import) else {
            return Self::Nobody;
        };
        if interface.is_wasi("config", "store") {
            return Self::Config;
        }
        if interface.is_wasi("logging", "logging") {
            return Self::Log;
        }
        match interface.release() {
            Release::Wasi02 => Self::of_wasi_02(&interface),
            Release::Wasi03 if kind.is_none_or(engine::is_concurrent) => {
                Self::of_wasi_03(&interface)
            }
            Release::Wasi03 | Release::Draft | Release::Other => Self::Nobody,
        }
    }

    /// Who has this import of a core module.
    pub(super) fn of_core(module: &str, name: &str) -> Self {
        if WASI_01.contains(&module) && WASI_01_FUNCTIONS.contains(&name) {
            Self::Wasi01
        } else {
            Self::Nobody
        }
    }

    fn of_wasi_02(interface: &Interface<'_>) -> Self {
        if interface.is_wasi("http", "outgoing-handler") {
            Self::Outbound
        } else if is_in(&[("sockets", SOCKETS_02)], interface) {
            Self::Sockets
        } else if is_in(WASI_02, interface) {
            Self::Wasi02
        } else {
            Self::Nobody
        }
    }

    fn of_wasi_03(interface: &Interface<'_>) -> Self {
        if interface.is_wasi("http", "client") {
            Self::Outbound
        } else if is_in(&[("sockets", SOCKETS_03)], interface) {
            Self::Sockets
        } else if is_in(WASI_03, interface) {
            Self::Wasi03
        } else {
            Self::Nobody
        }
    }
}

fn is_in(packages: &[(&str, &[&str])], interface: &Interface<'_>) -> bool {
    interface.namespace == "wasi"
        && packages.iter().any(|(package, names)| {
            *package == interface.package && names.contains(&interface.name)
        })
}
