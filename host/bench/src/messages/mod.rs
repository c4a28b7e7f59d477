//! Measures messages: between processes, beside those of Erlang's virtual machine. Also measures
//! processes that start, and processes that wait.
//!
//! ```text
//! cargo bench --bench messages              some two minutes
//! cargo bench --bench messages -- --quick   one round: is everything in order?
//! ```
//!
//! Each round runs all programs, one after the other. The results are medians over the rounds, and
//! ratios of values from the same round. A missed target is a line of the report, not a failure:
//! the bench fails only if something can't be run. `make bench` installs Erlang if it can. If
//! Erlang is missing, the report says so.

mod pipes;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use wasm_pool_guest_build::{build, workspace};

use crate::beam::Beam;
use crate::findings::Target::{self, AtMost};
use crate::process::Running;
use crate::quantities::MEMORY;
use crate::results::{Results, Turn};
use crate::table;

/// The number of rounds. A figure is their median.
const ROUNDS: usize = 5;

/// The batches within a round. The round's value is their median. They take some seconds in all.
const BATCHES: &str = "51";

/// The most children of `pingpong` at one time. It needs fewer, but a child that ends takes a
/// moment to disappear.
const CHILDREN: usize = 1000;

/// The number of processes in a crowd, so many that all other memory of a host is negligible; and
/// the few to compare with.
const CROWD: usize = 10_000;
const FEW: usize = 100;

/// The passes of the token in a ring of [`CROWD`] processes. The ring is so large that no process
/// is in a cache when the token comes back.
const PASSES: &str = "1000000";

/// The sizes of messages, in bytes, as in `examples/pingpong`. 0 stands for operations without a
/// message body.
const SIZES: [(usize, &str); 4] = [
    (0, "us_no_bytes"),
    (8, "us_8_b"),
    (1024, "us_1_kib"),
    (64 * 1024, "us_64_kib"),
];

/// The cases, and the contestants of cases that have several.
const ROUND_TRIP: &str = "round trip between two processes, each of which waits";
const SPAWN: &str = "spawn to first message";
const OTHERS: &str = "the other operations (examples/pingpong)";
const WAITING: &str = "memory of a process that waits (examples/ring)";
const RING: &str = "a message in a ring of 10,000 processes (examples/ring)";
const HOST: &str = "host";
const BEAM: &str = "BEAM";
const PIPES: &str = "OS processes, two pipes";

const INTRODUCTION: &str = "\
    Figures are medians over the rounds, and behind them is how far the rounds lie apart, in percent\n\
    of the median. BEAM is Erlang's virtual machine.";

/// Does what the arguments request, with this program as the host.
///
/// # Errors
/// If something can't be run.
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
    let beam = Beam::find()?;
    let setup = json!({ BEAM: beam.as_ref().map(|beam| &beam.name) });
    let mut results = Results::new("cargo bench --bench messages".into(), setup);
    for _ in 0..rounds {
        let run = pingpong.start(CHILDREN, &[BATCHES, "json"])?;
        add(&mut results, HOST, &run.output()?)?;
        if let Some(beam) = &beam {
            add(&mut results, BEAM, &beam.pingpong(BATCHES)?)?;
        }
        let turn = SIZES[1..]
            .iter()
            .map(|&(bytes, name)| Ok((name, pipes::round_trip(bytes)?)));
        results.add((PIPES, ROUND_TRIP), turn.collect::<anyhow::Result<Turn>>()?);
    }
    results.add((HOST, WAITING), memory(&ring)?);
    for _ in 0..rounds {
        results.add((HOST, RING), vec![("us", pass(&ring)?)]);
    }
    judge(&mut results);
    print!(
        "{}",
        table::markdown(&results, "What it costs to talk", INTRODUCTION)
    );
    Ok(())
}

fn judge(results: &mut Results) {
    // Above 64 bytes BEAM sends references, and the host copies. So there is no target.
    results.find_ratio(ROUND_TRIP, [HOST, BEAM], "us_8_b", AtMost(2.0, 1.0));
    results.find_ratio(ROUND_TRIP, [HOST, BEAM], "us_1_kib", Target::None);
    results.find_ratio(ROUND_TRIP, [HOST, BEAM], "us_64_kib", Target::None);
    results.find_ratio(SPAWN, [HOST, BEAM], "us_no_bytes", Target::None);
    results.find_ratio(ROUND_TRIP, [HOST, PIPES], "us_8_b", Target::None);
    results.find_median((HOST, SPAWN), "us_no_bytes", AtMost(20.0, 20.0));
    results.find_median((HOST, WAITING), MEMORY, AtMost(48.0, 48.0));
    if results.setup[BEAM].is_null() {
        let why = "Erlang is missing (apt-get install erlang-base)";
        results.lack((BEAM, ROUND_TRIP), why);
    }
}

/// Adds a round: lines of JSON, as `examples/pingpong` prints them.
fn add(results: &mut Results, contestant: &str, lines: &str) -> anyhow::Result<()> {
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line)?;
        let figure = value["operation"].as_str().and_then(|operation| {
            let bytes = usize::try_from(value["bytes"].as_u64()?).ok()?;
            let (_, quantity) = SIZES.iter().find(|(size, _)| *size == bytes)?;
            Some((operation, *quantity, value["us"].as_f64()?))
        });
        let (operation, quantity, us) = figure.with_context(|| format!("no figure: {line}"))?;
        let place = match operation {
            "round trip" => (contestant, ROUND_TRIP),
            "spawn, first message" => (contestant, SPAWN),
            other => (other, OTHERS),
        };
        results.add(place, vec![(quantity, us)]);
    }
    Ok(())
}

/// A module that is a program, and the host that runs it.
struct Guest<'a> {
    program: &'a Path,
    module: PathBuf,
}

impl Guest<'_> {
    /// Runs the program. Its root may have this many children.
    fn start(&self, children: usize, args: &[&str]) -> anyhow::Result<Running> {
        let mut command = Command::new(self.program);
        command.arg("run");
        command.args(["--max-processes", &(children + 1).to_string()]);
        command.args(["--max-children", &children.to_string()]);
        command.arg(&self.module).arg("--").args(args);
        Running::start("the host", command)
    }
}

/// The memory of a waiting process: the growth of the host's memory from [`FEW`] to [`CROWD`]
/// processes, divided by their difference. Each process has run and passed a token. Pages of the
/// module's image that were read and not written are shared by all processes, yet resident in each.
fn memory(ring: &Guest<'_>) -> anyhow::Result<Turn> {
    let [few, many] = [crowd(ring, FEW)?, crowd(ring, CROWD)?];
    let each = |(quantity, file, field)| {
        let grown = many.kib(file, field)? - few.kib(file, field)?;
        Ok((quantity, grown / (CROWD - FEW) as f64))
    };
    let sources = [
        (MEMORY, "smaps_rollup", "Rss"),
        ("proportional_kib", "smaps_rollup", "Pss"),
        ("page_tables_kib", "status", "VmPTE"),
    ];
    sources.into_iter().map(each).collect()
}

/// A host with this many waiting processes. Its limits have room for [`CROWD`] in any case.
fn crowd(ring: &Guest<'_>, members: usize) -> anyhow::Result<Running> {
    let running = ring.start(CROWD, &[&members.to_string(), "0"])?;
    let line = running.line("it said nothing")?;
    ensure!(
        line == format!("{members} processes wait"),
        "it said {line:?}"
    );
    Ok(running)
}

/// Microseconds per message in a crowd, where the receiver has not run for a while.
fn pass(ring: &Guest<'_>) -> anyhow::Result<f64> {
    let said = ring.start(CROWD, &[&CROWD.to_string(), PASSES])?.output()?;
    let us = said.rsplit_once(" ms, ").and_then(|(_, rest)| {
        let (us, _) = rest.split_once(" µs each")?;
        us.parse().ok()
    });
    us.with_context(|| format!("it said {said:?}"))
}
