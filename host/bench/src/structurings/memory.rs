//! The *memory* of one more process or thread: by how much a server grows when it has more of them.
//! So memory that the server has only once, or that all share, does not count. A first measurement
//! with few gives a rough size. The second has as many as the machine has room for.

use anyhow::Error;
use wasm_pool_host::descriptors;
use wasm_pool_native::own_memory_kib;

use super::IDLE;
use super::subject::{Structuring, Subject};
use crate::kernel;
use crate::quantities::MEMORY;
use crate::results::Results;

/// The numbers of the first, rough measurement. Under load a server has more by default.
const FIRST: (u16, u16) = (1, 8);

/// The most that a server has. In a difference between so many, chance is negligible.
const MOST: u16 = 640;

/// The larger number divided by the smaller. Even the smaller number uses up the spare memory of a
/// server that has just started.
const FEWER: u16 = 5;

/// The available memory divided by the memory that all together may take. The rest is for other
/// programs.
const SHARE_OF_MEMORY: f64 = 4.0;

/// The descriptors divided by those that may be promised to all processes together. The rest is for
/// the server itself.
const SHARE_OF_DESCRIPTORS: u64 = 2;

/// The most open files of each process. A host promises descriptors to all processes, and some
/// systems have few.
const OPEN_FILES: u32 = 4;

/// The descriptors that a host promises a process in addition, for short moments.
const IN_PASSING: u32 = 2;

/// Measures once: a difference between so many needs no median. The host's three structurings have
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

/// The server's growth per process or thread, in KiB. The server has at most `most` of them, or
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
        return Ok(roughly); // a size this large is visible with few
    }
    between(many / FEWER, many)
}

/// The number of processes or threads that the memory has room for, if one takes `one` KiB.
fn room(one: f64) -> anyhow::Result<u16> {
    let available = kernel::kib("meminfo", "MemAvailable")?;
    // If a server did not grow, one takes little.
    Ok((available / SHARE_OF_MEMORY / one.max(1.0)) as u16)
}

/// The number of processes that can be promised their descriptors.
fn most_processes() -> u16 {
    let descriptors = descriptors::raise() / SHARE_OF_DESCRIPTORS;
    let processes = descriptors / u64::from(OPEN_FILES + IN_PASSING);
    u16::try_from(processes).map_or(MOST, |processes| processes.min(MOST))
}
