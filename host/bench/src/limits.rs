//! The *limits* on open files, and how many processes and connections a host can therefore have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wasm_pool_host::descriptors;

/// Open files that a process is promised where there are many processes.
pub(crate) const OPEN_FILES: &str = "1";

/// The host's descriptors per process (that file, and two more for a moment), and per connection
/// (its socket, and a file that is being sent).
pub(crate) const PROCESS: u64 = 3;
pub(crate) const CONNECTION: u64 = 2;
pub(crate) const PROCESS_AND_CONNECTION: u64 = PROCESS + CONNECTION;

/// Descriptors for everything else, and for some connections or processes.
const SPARE: u64 = 1024;

/// What a host needs for ten thousand processes, and some more.
const WANTED: u64 = 65_536;

/// Raises both limits to [`WANTED`] where this user may, and otherwise the soft one to the hard
/// one.
pub(crate) fn raise_both() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if maximum.is_some_and(|maximum| maximum < WANTED) {
        let wanted = Rlimit {
            current: Some(WANTED),
            maximum: Some(WANTED),
        };
        // Only an administrator may. The results say how many processes there were.
        let _ = setrlimit(Resource::Nofile, wanted);
    }
    descriptors::raise();
}

/// The most things of a host, each of which may need so many descriptors.
pub(crate) fn most(descriptors: u64) -> usize {
    let most = descriptors::allowed().saturating_sub(SPARE) / descriptors;
    usize::try_from(most).unwrap_or(usize::MAX)
}
