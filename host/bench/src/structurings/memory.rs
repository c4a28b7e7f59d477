//! The *memory* of one more process or thread: by how much a server grows when it has more of them.
//! So memory that the server has only once, and memory that all share, does not count. First a few
//! tell roughly what one takes; then there are as many as the machine has room for.

use anyhow::Error;
use wasm_pool_host::descriptors;
use wasm_pool_native::own_memory_kib;

use super::IDLE;
use super::subject::{Structuring, Subject};
use crate::kernel;
use crate::quantities::MEMORY;
use crate::results::Results;

/// The few that tell roughly what one takes. Under load a server has more of them by default.
const FIRST: (u16, u16) = (1, 8);

/// The most that a server has. In a difference between so many, chance is no longer seen.
const MOST: u16 = 640;

/// The smaller number is one in so many of the larger. It has used up the spare memory of a server
/// that has just started.
const FEWER: u16 = 5;

/// All together may take one part in so many of the available memory. The rest is for others.
const SHARE_OF_MEMORY: f64 = 4.0;

/// All together may be promised one in so many descriptors. The rest is for the server itself.
const SHARE_OF_DESCRIPTORS: u64 = 2;

/// Files that each process may have open. A host promises descriptors to all processes, and some
/// systems have few.
const OPEN_FILES: u32 = 4;

/// Descriptors that a host promises a process beside those, for a moment.
const IN_PASSING: u32 = 2;

/// Measures once: a difference between so many needs no median. The three structurings of ours have
/// the same processes.
pub(crate) fn measure(subject: &Subject, results: &mut Results) {
    let frugal = Subject {
        max_open_files: OPEN_FILES,
        ..subject.clone()
    };
    let process = growth(&frugal, Structuring::Pool, most_processes());
    let process = process.map_err(|error| format!("{error:#}"));
    for one in Structuring::ALL {
        let memory = match one {
            Structuring::Single | Structuring::PerRequest | Structuring::Pool => {
                process.clone().map_err(Error::msg)
            }
            Structuring::Threads => growth(subject, one, MOST),
            Structuring::ForkExec => own_memory_kib(&subject.program, &subject.file),
        };
        match memory {
            Ok(kib) => results.add((one.name(), IDLE), vec![(MEMORY, kib)]),
            Err(error) => results.lack((one.name(), IDLE), format!("{error:#}")),
        }
    }
}

/// By how much a server grows with each, in KiB. The server has at most `most` of them, or
/// [`FIRST`].
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

/// How many there is memory for, if one takes so many KiB.
fn room(one: f64) -> anyhow::Result<u16> {
    let available = kernel::kib("meminfo", "MemAvailable")?;
    // Where a server did not grow, one takes little.
    Ok((available / SHARE_OF_MEMORY / one.max(1.0)) as u16)
}

/// How many processes can be promised their descriptors.
fn most_processes() -> u16 {
    let descriptors = descriptors::raise() / SHARE_OF_DESCRIPTORS;
    let processes = descriptors / u64::from(OPEN_FILES + IN_PASSING);
    u16::try_from(processes).map_or(MOST, |processes| processes.min(MOST))
}
