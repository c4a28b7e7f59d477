//! The limit on open file *descriptors* of this process. It bounds the number of connections and
//! processes that a host can have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit. A host plans with it when it starts.
#[must_use]
pub fn allowed() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the soft limit to the hard limit, if the system allows that, and returns the soft limit.
/// A server calls this before it starts a host.
pub fn raise() -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let _unchanged = setrlimit(Resource::Nofile, raised);
    allowed()
}
