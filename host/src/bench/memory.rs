//! What one more costs in *memory*: by how much a server grows when it has more of them, so that what it has
//! only once, and what all share, does not count.

use anyhow::Context;

use super::structurings::{Site, Structuring};
use super::{cgi, figures};

/// So many processes or threads that they have used up what a server that has just started has to spare.
const FEW: u16 = 128;

/// So many more that what is never twice the same in a server is not seen in one of them.
const MORE: u16 = 512;

/// Files that each may have open: a host promises descriptors to all, and some systems have not so many.
const OPEN_FILES: u32 = 4;

/// What one more costs, in KiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    process: f64,
    thread: f64,
    child: f64,
}

impl Memory {
    /// The median of so many times.
    pub(super) fn measure(site: &Site, rounds: usize) -> anyhow::Result<Self> {
        let frugal = site.clone().with_open_files(OPEN_FILES);
        let process = || growth(&frugal, Structuring::Pool);
        let thread = || growth(site, Structuring::Threads);
        let child = || cgi::own_memory_kib(&site.program, &site.file);
        Ok(Self {
            process: repeated(rounds, process)?,
            thread: repeated(rounds, thread)?,
            child: repeated(rounds, child)?,
        })
    }

    /// Of the processes, all three structurings have the same.
    pub(super) fn of(&self, structuring: Structuring) -> f64 {
        match structuring {
            Structuring::Single | Structuring::PerRequest | Structuring::Pool => self.process,
            Structuring::Threads => self.thread,
            Structuring::ForkExec => self.child,
        }
    }
}

fn repeated(rounds: usize, measure: impl Fn() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let values: anyhow::Result<Vec<f64>> = (0..rounds).map(|_| measure()).collect();
    Ok(figures::median(values?))
}

fn growth(site: &Site, structuring: Structuring) -> anyhow::Result<f64> {
    let resident_kib = |count: u16| {
        let server = site.server(structuring, &["--workers", &count.to_string()])?;
        server.resident_kib()
    };
    let (few, more) = (resident_kib(FEW)?, resident_kib(FEW + MORE)?);
    Ok((more - few) / f64::from(MORE))
}

/// The sum of what the kernel says of pages whose kind begins with this word.
pub(super) fn kib(smaps_rollup: &str, kind: &str) -> anyhow::Result<f64> {
    let mut found = smaps_rollup
        .lines()
        .filter(|line| line.starts_with(kind))
        .peekable();
    found
        .peek()
        .with_context(|| format!("the kernel does not say {kind}"))?;
    found
        .map(|line| {
            let kib = line
                .split_whitespace()
                .nth(1)
                .context("a line without a size")?;
            Ok(kib.parse::<f64>()?)
        })
        .sum()
}
