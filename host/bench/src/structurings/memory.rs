//! What one more costs in *memory*: by how much a server grows when it has more of them, so that what it has
//! only once, and what all share, does not count. How many more is for the machine to say: a few tell what one
//! takes, and then there are as many as it has room for.

use super::cgi;
use super::figures::Gaps;
use super::subject::{Structuring, Subject};
use crate::{kernel, limits};

/// How many a server has while it is found out roughly what one takes. Under load it has more of them by default.
const FIRST: (u16, u16) = (1, 8);

/// The most that a server has, of what takes little: so many that what is never twice the same in a server is
/// not seen in one of them.
const MOST: u16 = 640;

/// What it has first is one in so many of those: they have used up what a server that has just started has to
/// spare.
const FEWER: u16 = 5;

/// What all together may take is one part in so many of the memory that is available: the rest is for others.
const SHARE_OF_MEMORY: f64 = 4.0;

/// What all together may be promised is one in so many descriptors: the rest is for the server itself.
const SHARE_OF_DESCRIPTORS: u64 = 2;

/// Files that each process may have open: a host promises descriptors to all, and some systems have not so many.
const OPEN_FILES: u32 = 4;

/// Descriptors that a host promises a process beside those, for a moment.
const IN_PASSING: u32 = 2;

/// What one more costs, in KiB; nothing where that could not be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    process: Option<f64>,
    thread: Option<f64>,
    child: Option<f64>,
}

impl Memory {
    /// Once: a difference between so many needs no median.
    pub(crate) fn measure(subject: &Subject, gaps: &mut Gaps) -> Self {
        let frugal = subject.clone().with_open_files(OPEN_FILES);
        let process = growth(&frugal, Structuring::Pool, most_processes());
        let thread = growth(subject, Structuring::Threads, MOST);
        let child = cgi::own_memory_kib(&subject.program, &subject.file);
        Self {
            process: gaps.unless_measured("memory of a process", process),
            thread: gaps.unless_measured("memory of a thread", thread),
            child: gaps.unless_measured("memory of a child", child),
        }
    }

    /// Of the processes, all three structurings have the same.
    pub(crate) fn of(&self, structuring: Structuring) -> Option<f64> {
        match structuring {
            Structuring::Single | Structuring::PerRequest | Structuring::Pool => self.process,
            Structuring::Threads => self.thread,
            Structuring::ForkExec => self.child,
        }
    }
}

/// By how much a server grows with each; it never has more than `most`, or than [`FIRST`].
fn growth(subject: &Subject, structuring: Structuring, most: u16) -> anyhow::Result<f64> {
    let resident_kib = |count: u16| {
        let server = subject.server(structuring, &["--workers", &count.to_string()])?;
        server.resident_kib()
    };
    let between = |few: u16, many: u16| {
        let (before, after) = (resident_kib(few)?, resident_kib(many)?);
        anyhow::Ok((after - before) / f64::from(many - few))
    };
    let (one, few) = FIRST;
    let roughly = between(one, few)?;
    let many = most.min(room(roughly)?);
    if many <= few {
        return Ok(roughly); // what is that large needs no more of them to be seen
    }
    between(many / FEWER, many)
}

/// How many have room in memory, if one takes so many KiB.
fn room(one: f64) -> anyhow::Result<u16> {
    let available = kernel::kib("meminfo", "MemAvailable")?;
    // A server that did not grow, or shrank, says no more than that one takes little.
    Ok((available / SHARE_OF_MEMORY / one.max(1.0)) as u16)
}

/// How many processes can be promised their descriptors.
fn most_processes() -> u16 {
    let descriptors = limits::raise() / SHARE_OF_DESCRIPTORS;
    let processes = descriptors / u64::from(OPEN_FILES + IN_PASSING);
    u16::try_from(processes).map_or(MOST, |processes| processes.min(MOST))
}
