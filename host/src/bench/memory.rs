//! What one more costs in *memory*: by how much a server grows when it has more of them, so that what it has
//! only once, and what all share, does not count.

use anyhow::Context;

use super::cgi;
use super::structurings::{Site, Structuring};

/// So many processes or threads that what a server needs besides, never twice the same, is not seen in one.
const MANY: u16 = 513;

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
    pub(super) fn measure(site: &Site) -> anyhow::Result<Self> {
        let frugal = site.clone().with_open_files(OPEN_FILES);
        Ok(Self {
            process: growth(|count| {
                let server = frugal.server(Structuring::Pool, &["--workers", count])?;
                server.resident_kib()
            })?,
            thread: growth(|count| {
                let server = site.server(Structuring::Threads, &["--workers", count])?;
                server.resident_kib()
            })?,
            child: cgi::own_memory_kib(&site.program, &site.file)?,
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

fn growth(resident_kib: impl Fn(&str) -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let (one, many) = (resident_kib("1")?, resident_kib(&MANY.to_string())?);
    Ok((many - one) / f64::from(MANY - 1))
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
