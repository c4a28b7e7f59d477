//! What it costs to talk: messages between processes, beside those of Erlang's virtual machine; processes that
//! start, and processes that wait.
//!
//! ```text
//! cargo bench --bench messages              some two minutes
//! cargo bench --bench messages -- --quick   one round: is everything in order?
//! ```
//!
//! Each round runs all programs, one after the other; medians over the rounds are shown, and ratios of what was
//! measured in the same round. A missed target is a line of the report, not a failure: this ends with an error
//! only where something can't be run. `make bench` installs Erlang where it can; without it, there is a line
//! of the report for that too.

mod beam;
mod figures;
mod pipes;
mod programs;
#[path = "../shared/report.rs"]
mod report;
mod talk;

#[allow(dead_code)] // the build script uses the rest of it
#[path = "../../guest_build.rs"]
mod guest_build;

use std::path::Path;

use anyhow::{Context, ensure};

use programs::Running;
use report::Target;
use talk::Talk;

/// Rounds, of which the median counts.
const ROUNDS: usize = 5;

/// So many processes that what a host needs besides them is no longer seen; and the few to compare with.
const CROWD: usize = 10_000;
const FEW: usize = 100;

/// A ring so large that none of it is in a cache when the token comes back, and so many passes of the token.
const RING: usize = 10_000;
const PASSES: &str = "1000000";

fn main() -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let [first, bytes] = &args[..]
        && first == pipes::BE_ECHO
    {
        return pipes::echo(bytes);
    }
    let is_quick = args.iter().any(|arg| arg == "--quick");
    let rounds = if is_quick { 1 } else { ROUNDS };

    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let workspace = workspace.context("the host is not in its workspace")?;
    let guests = guest_build::build(workspace, &["pingpong", "ring"]);
    let guests = guests.map_err(anyhow::Error::msg)?;
    Talk::measure(&guests.join("pingpong.wasm"), rounds)?.report();
    let ring = guests.join("ring.wasm");
    memory(&ring)?;
    passes(&ring, rounds)
}

/// What a process that waits holds of the machine's memory: by how much the host's grows from [`FEW`] to
/// [`CROWD`], each of which has run and passed a token. Pages of the module's image that were read and not
/// written are one page for all of them, and yet resident in each.
fn memory(ring: &Path) -> anyhow::Result<()> {
    let [few, many] = [crowd(ring, FEW)?, crowd(ring, CROWD)?];
    let each = |file, name| -> anyhow::Result<f64> {
        Ok((many.kib(file, name)? - few.kib(file, name)?) / (CROWD - FEW) as f64)
    };
    report::heading("memory per waiting process (examples/ring)");
    let target = Target::at_most(48.0, 48.0);
    report::value("resident", each("smaps_rollup", "Rss")?, "KiB", target);
    let own = each("smaps_rollup", "Pss")?;
    report::value("of that its own", own, "KiB", Target::None);
    let tables = each("status", "VmPTE")?;
    report::value("page tables, beside that", tables, "KiB", Target::None);
    Ok(())
}

/// A host with so many processes that wait, and room for [`CROWD`] in any case.
fn crowd(ring: &Path, members: usize) -> anyhow::Result<Running> {
    let host = programs::host(ring, CROWD, &[&members.to_string(), "0"]);
    let mut running = Running::start(host)?;
    let line = running.line()?;
    ensure!(
        line == format!("{members} processes wait\n"),
        "it said {line:?}"
    );
    Ok(running)
}

/// A message in company: whoever gets it has not run for a while.
fn passes(ring: &Path, rounds: usize) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let host = programs::host(ring, RING, &[&RING.to_string(), PASSES]);
        let said = programs::output(host)?;
        let us = said.rsplit_once(" ms, ").and_then(|(_, rest)| {
            let (us, _) = rest.split_once(" µs each")?;
            us.parse().ok()
        });
        times.push(us.with_context(|| format!("it said {said:?}"))?);
    }
    report::heading("a ring of 10000 processes, 1000000 messages (examples/ring)");
    report::value(
        "per message, median",
        report::median(times.clone()),
        "µs",
        Target::None,
    );
    report::value("spread", report::spread(times), "%", Target::None);
    Ok(())
}
