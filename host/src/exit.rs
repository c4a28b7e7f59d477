//! An *exit* is the reason why a process ended. The log, the access line, the news to other
//! processes and the client's status all derive from it.

use std::mem::discriminant;

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `run` returned, or the process exited with code 0.
    Normal,
    /// The process exited with this code. For a handler, any exit is a failure.
    Code(u32),
    /// The guest trapped: `unreachable`, a panic, an abort, an access out of bounds.
    Trap,
    /// The guest used up its stack.
    Stack,
    /// The guest was refused memory and did not survive, or the host had no memory to start it
    /// with.
    Memory,
    /// The start code or the request ran out of time.
    Deadline,
    /// The guest's answer is not HTTP, or does not have the contract's form.
    Response,
    /// An ancestor, an operator or the end of the parent ended the process.
    Killed,
    /// The client left while the process worked for it. The process ends because a half-run
    /// instance is never called again.
    ClientLeft,
    /// The process served as many requests as it may.
    Served,
    /// The memory of the process grew past the pool's high-water mark.
    Grown,
    /// The process had nothing to do for the idle timeout.
    Idle,
    /// The host is stopping.
    Stopped,
    /// The host of the process is lost, and nobody knows whether the process has ended. Only the
    /// news of a process of another host says so.
    HostLost,
}

/// A failed process: its exit, and the details for the log.
#[derive(Debug)]
pub(crate) struct Crash {
    pub exit: Exit,
    /// The cause and a backtrace, cut to a few kilobytes.
    pub reason: String,
    /// The last lines that the process printed to standard error while it served the request.
    pub output: Option<String>,
}

/// The log's text for [`Exit::Deadline`].
pub(crate) const LATE: &str = "it had not answered by its deadline";

impl Crash {
    /// The host has put a request to the process in a way that its kind doesn't have.
    pub(crate) fn of_the_host() -> Self {
        Self {
            exit: Exit::Response,
            reason: "a process of this kind is not asked like this".to_owned(),
            output: None,
        }
    }

    /// The deadline passed while the host worked on the response.
    pub(crate) fn late() -> Self {
        Self {
            exit: Exit::Deadline,
            reason: LATE.to_owned(),
            output: None,
        }
    }
}

impl Exit {
    /// All exits, in the order of [`Exit::index`]. `Code(1)` stands for all codes.
    pub(crate) const ALL: [Self; 14] = [
        Self::Normal,
        Self::Code(1),
        Self::Trap,
        Self::Stack,
        Self::Memory,
        Self::Deadline,
        Self::Response,
        Self::Killed,
        Self::ClientLeft,
        Self::Served,
        Self::Grown,
        Self::Idle,
        Self::Stopped,
        Self::HostLost,
    ];

    /// The place of this exit in [`Exit::ALL`].
    pub(crate) fn index(self) -> usize {
        let is_it = |other: &Self| discriminant(other) == discriminant(&self);
        Self::ALL.iter().position(is_it).unwrap_or_default()
    }

    /// The exit in one word, for logs. It leaves the code out.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Code(_) => "code",
            Self::Trap => "trap",
            Self::Stack => "stack",
            Self::Memory => "memory",
            Self::Deadline => "deadline",
            Self::Response => "response",
            Self::Killed => "killed",
            Self::ClientLeft => "client-left",
            Self::Served => "served",
            Self::Grown => "grown",
            Self::Idle => "idle",
            Self::Stopped => "stopped",
            Self::HostLost => "host-lost",
        }
    }

    /// Whether this exit is a failure in every kind of module.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            Self::Trap | Self::Stack | Self::Memory | Self::Deadline | Self::Response => true,
            Self::Normal
            | Self::Code(_)
            | Self::Killed
            | Self::ClientLeft
            | Self::Served
            | Self::Grown
            | Self::Idle
            | Self::Stopped
            | Self::HostLost => false,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Self::Code(code) = self {
            return write!(f, "code {code}");
        }
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exit_has_a_place_of_its_own() {
        for (place, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(exit.index(), place, "{exit}");
        }
        assert_eq!(Exit::Code(7).index(), Exit::Code(1).index());
    }
}
