//! File *descriptors*: how many the system allows this process, which bounds how many connections
//! and processes a host can have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit, by which a host plans when it is started.
#[must_use]
pub fn allowed() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the soft limit to the hard one, as far as the system lets this process, and returns it. A
/// server does this before it starts a host.
pub fn raise() -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let _unchanged = setrlimit(Resource::Nofile, raised);
    allowed()
}
