//! The *limits* of this machine: how many descriptors there may be, and so how many processes the host lets
//! there be, which promises each its own, and how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What each process is promised where there are many, of files that it may have open.
pub(crate) const OPEN_FILES: &str = "1";

/// The host's descriptors per process: that one, and two in passing.
const PER_PROCESS: usize = 3;

/// And per connection: its socket, and a file that is being sent.
const PER_CONNECTION: usize = 2;

/// For everything else; and some connections or processes.
const SPARE: usize = 1024;

/// Raises the limit as far as it goes, for the servers too. Soft limits are often at 1024; who may raises the
/// hard one.
pub(crate) fn raise() -> anyhow::Result<()> {
    /// What the host needs for ten thousand processes, and some more.
    const WANTED: u64 = 65_536;

    let both = |limit| Rlimit {
        current: limit,
        maximum: limit,
    };
    let maximum = getrlimit(Resource::Nofile).maximum;
    let is_enough = maximum.is_none_or(|maximum| maximum >= WANTED);
    if is_enough || setrlimit(Resource::Nofile, both(Some(WANTED))).is_err() {
        setrlimit(Resource::Nofile, both(maximum))?;
    }
    Ok(())
}

/// So many processes a host may have here, with a few connections.
pub(crate) fn processes() -> anyhow::Result<usize> {
    Ok(descriptors()? / PER_PROCESS)
}

/// So many connections, with a few processes.
pub(crate) fn connections() -> anyhow::Result<usize> {
    Ok(descriptors()? / PER_CONNECTION)
}

/// So many of both a host may have here.
pub(crate) fn processes_and_connections() -> anyhow::Result<usize> {
    Ok(descriptors()? / (PER_PROCESS + PER_CONNECTION))
}

fn descriptors() -> anyhow::Result<usize> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    Ok(usize::try_from(limit)?.saturating_sub(SPARE))
}

/// What is said of a number that was wanted larger.
pub(crate) fn of(number: usize, wanted: usize) -> String {
    if number < wanted {
        format!(" of {number} (the limit on open files allows no {wanted})")
    } else {
        format!(" of {number}")
    }
}
