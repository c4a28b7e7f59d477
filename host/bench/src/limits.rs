//! The *limits* on open files, and the numbers of processes and connections that they allow a host.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wasm_pool_host::descriptors;

/// Open files per process, in hosts with many processes.
pub(crate) const OPEN_FILES: &str = "1";

/// The host's descriptors per process (its open file, and two more for a moment), and per
/// connection (its socket, and a file that is being sent).
pub(crate) const PROCESS: u64 = 3;
pub(crate) const CONNECTION: u64 = 2;
pub(crate) const PROCESS_AND_CONNECTION: u64 = PROCESS + CONNECTION;

/// Descriptors for everything else, and for a few connections or processes.
const SPARE: u64 = 1024;

/// Enough for a host with ten thousand processes.
const WANTED: u64 = 65_536;

/// Raises both limits to [`WANTED`] if this user may. Otherwise raises the soft limit to the hard
/// limit.
pub(crate) fn raise_both() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if maximum.is_some_and(|maximum| maximum < WANTED) {
        let wanted = Rlimit {
            current: Some(WANTED),
            maximum: Some(WANTED),
        };
        // Only an administrator may raise the hard limit. The results give the number of processes.
        let _ = setrlimit(Resource::Nofile, wanted);
    }
    descriptors::raise();
}

/// The largest number of processes or connections, if each needs this many descriptors.
pub(crate) fn most(descriptors: u64) -> usize {
    let most = descriptors::allowed().saturating_sub(SPARE) / descriptors;
    usize::try_from(most).unwrap_or(usize::MAX)
}
