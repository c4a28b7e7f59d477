//! What it costs to talk: messages between processes, beside those of Erlang's virtual machine;
//! processes that start, and processes that wait.
//!
//! ```text
//! cargo bench --bench messages              some two minutes
//! cargo bench --bench messages -- --quick   one round: is everything in order?
//! ```
//!
//! Each round runs all programs, one after the other. Medians over the rounds are shown, and ratios
//! of what was measured in the same round. A missed target is a line of the report, not a failure:
//! this ends with an error only where something can't be run. `make bench` installs Erlang where it
//! can. Without it, there is a line of the report for that, too.

mod beam;
mod figures;
mod pipes;
mod talk;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use wasm_pool_guest_build::{build, workspace};

use crate::findings::{self, Finding, Target};
use crate::numbers::{median, spread};
use crate::process::Running;
use talk::Talk;

/// Rounds, of which the median counts.
const ROUNDS: usize = 5;

/// So many processes that whatever else a host needs is no longer seen; and the few to compare
/// with.
const CROWD: usize = 10_000;
const FEW: usize = 100;

/// Passes of the token in a ring of [`CROWD`] processes. The ring is so large that no process is in
/// a cache when the token comes back.
const PASSES: &str = "1000000";

/// Does what the arguments ask for, with this program as the host.
///
/// # Errors
/// Where something can't be run.
pub fn main(program: &Path) -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let [first, bytes] = &args[..]
        && first == pipes::BE_ECHO
    {
        return pipes::echo(bytes);
    }
    let is_quick = args.iter().any(|arg| arg == "--quick");
    let rounds = if is_quick { 1 } else { ROUNDS };
    let guests = build(workspace(), &["pingpong", "ring"]).map_err(anyhow::Error::msg)?;
    let [pingpong, ring] = ["pingpong.wasm", "ring.wasm"].map(|name| Guest {
        program,
        module: guests.join(name),
    });
    print!("{}", Talk::measure(&pingpong, rounds)?.report());
    print!("{}", memory(&ring)?);
    print!("{}", passes(&ring, rounds)?);
    Ok(())
}

/// A module that is a program, and the host that runs it.
struct Guest<'a> {
    program: &'a Path,
    module: std::path::PathBuf,
}

impl Guest<'_> {
    /// Runs it. Its root may have so many children.
    fn start(&self, children: usize, args: &[&str]) -> anyhow::Result<Running> {
        let mut command = Command::new(self.program);
        command.arg("run");
        command.args(["--max-processes", &(children + 1).to_string()]);
        command.args(["--max-children", &children.to_string()]);
        command.arg(&self.module).arg("--").args(args);
        Running::start("the host", command)
    }
}

/// What a process that waits holds of the machine's memory: by how much the host's memory grows
/// from [`FEW`] to [`CROWD`], each of which has run and passed a token. Pages of the module's image
/// that were read and not written are shared by all processes, and yet resident in each.
fn memory(ring: &Guest<'_>) -> anyhow::Result<String> {
    let [few, many] = [crowd(ring, FEW)?, crowd(ring, CROWD)?];
    let each = |name, file, field, target| -> anyhow::Result<Finding> {
        let grown = many.kib(file, field)? - few.kib(file, field)?;
        Ok(Finding::new(
            name,
            grown / (CROWD - FEW) as f64,
            "KiB",
            target,
        ))
    };
    let findings = [
        each(
            "resident",
            "smaps_rollup",
            "Rss",
            Target::AtMost(48.0, 48.0),
        )?,
        each("of that its own", "smaps_rollup", "Pss", Target::None)?,
        each("page tables, beside that", "status", "VmPTE", Target::None)?,
    ];
    let title = "memory per waiting process (examples/ring)";
    Ok(findings::table(title, &findings).markdown())
}

/// A host with so many processes that wait, and room for [`CROWD`] in any case.
fn crowd(ring: &Guest<'_>, members: usize) -> anyhow::Result<Running> {
    let running = ring.start(CROWD, &[&members.to_string(), "0"])?;
    let line = running.line("it said nothing")?;
    ensure!(
        line == format!("{members} processes wait"),
        "it said {line:?}"
    );
    Ok(running)
}

/// A message in company: its receiver has not run for a while.
fn passes(ring: &Guest<'_>, rounds: usize) -> anyhow::Result<String> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let said = ring.start(CROWD, &[&CROWD.to_string(), PASSES])?.output()?;
        let us = said.rsplit_once(" ms, ").and_then(|(_, rest)| {
            let (us, _) = rest.split_once(" µs each")?;
            us.parse().ok()
        });
        times.push(us.with_context(|| format!("it said {said:?}"))?);
    }
    let findings = [
        Finding::new(
            "per message, median",
            median(times.clone()),
            "µs",
            Target::None,
        ),
        Finding::new("spread", spread(times), "%", Target::None),
    ];
    let title = format!("a ring of {CROWD} processes, {PASSES} messages (examples/ring)");
    Ok(findings::table(&title, &findings).markdown())
}
