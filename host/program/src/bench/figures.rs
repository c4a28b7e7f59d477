//! The *figures*: all that was measured, in the shape that `--json` writes. Its names are stable; a unit is
//! the end of its field's name.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use wasm_pool_host::steps::{Total, Totals};

use super::crash::Crash;
use super::load::Sample;
use super::numbers::{median, spread};
use super::structurings::Structuring;
use crate::cli::Bench;

#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Of this program.
    pub(super) version: &'static str,
    /// When they were taken, in UTC.
    pub(super) date: String,
    /// The command line that repeats it.
    pub(super) command: String,
    pub(super) machine: Machine,
    pub(super) load: Setup,
    /// In the order of the table.
    pub(super) structurings: Vec<Measured>,
    /// Why something is missing in them, if something is.
    pub(super) not_measured: Gaps,
}

/// What could not be measured, each with its reason.
#[derive(Debug, Default, Serialize)]
pub(super) struct Gaps(Vec<String>);

#[derive(Debug, Serialize)]
pub(super) struct Machine {
    /// The processor's own name for itself.
    pub(super) processor: String,
    pub(super) cores: usize,
    /// Linux's version.
    pub(super) kernel: String,
}

/// What was asked, and how.
#[derive(Debug, Serialize)]
pub(super) struct Setup {
    pub(super) module: String,
    pub(super) path: String,
    pub(super) body_bytes: usize,
    pub(super) connections: usize,
    pub(super) rounds: usize,
    /// Of each structuring in each round.
    pub(super) seconds: f64,
}

/// One structuring.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) name: Structuring,
    /// Of one request, on one connection: nobody waits for anybody.
    pub(super) step_us: Steps,
    /// Medians over the rounds, under the load of all connections.
    pub(super) requests_per_second: f64,
    /// How far the rounds lie apart, in percent of the median.
    pub(super) spread_percent: f64,
    /// Requests per second of the slowest round and of the fastest.
    pub(super) slowest_round_per_second: f64,
    pub(super) fastest_round_per_second: f64,
    pub(super) latency_ms: Latency,
    /// Requests that these are of, all rounds together.
    pub(super) requests: u64,
    /// What one more process or thread has of the machine's memory, when it is idle; nothing if that is a gap.
    pub(super) memory_kib: Option<f64>,
    /// Nothing if that is a gap.
    pub(super) crash: Option<Crash>,
}

/// Microseconds of one request; see [`wasm_pool_host::steps::Step`].
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Steps {
    pub(super) receive: f64,
    pub(super) hand_over: f64,
    pub(super) run: f64,
    pub(super) files: f64,
    pub(super) reply: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
}

impl Gaps {
    /// What was measured; nothing if it was not, and then there is one more gap.
    pub(super) fn unless_measured<T>(
        &mut self,
        what: &str,
        measured: anyhow::Result<T>,
    ) -> Option<T> {
        match measured {
            Ok(measured) => Some(measured),
            Err(error) => {
                self.0.push(format!("{what}: {error:#}"));
                None
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Self {
        let unknown = || "unknown".to_owned();
        let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = processors.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        });
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease");
        Self {
            processor: name.unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.map_or_else(|_| unknown(), |kernel| kernel.trim().to_owned()),
        }
    }
}

impl Setup {
    pub(super) fn new(args: &Bench, body: &[u8]) -> Self {
        let module = args.place.module.as_ref();
        Self {
            module: module.map_or_else(|| "built-in".into(), |module| module.display().to_string()),
            path: args.path.clone(),
            body_bytes: body.len(),
            connections: args.connections,
            rounds: args.rounds,
            seconds: args.time.as_secs_f64(),
        }
    }
}

impl Measured {
    pub(super) fn new(
        name: Structuring,
        samples: &[Sample],
        totals: &Totals,
        memory_kib: Option<f64>,
        crash: Option<Crash>,
    ) -> Self {
        let each = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<_>>();
        let rates = each(|sample| sample.per_second);
        Self {
            name,
            step_us: Steps::of_one(totals),
            spread_percent: spread(rates.clone()),
            slowest_round_per_second: rates.iter().copied().fold(f64::MAX, f64::min),
            fastest_round_per_second: rates.iter().copied().fold(0.0, f64::max),
            requests_per_second: median(rates),
            latency_ms: Latency {
                p50: median(each(|sample| millis(sample.p50))),
                p99: median(each(|sample| millis(sample.p99))),
                p99_9: median(each(|sample| millis(sample.p99_9))),
            },
            requests: samples.iter().map(|sample| sample.requests).sum(),
            memory_kib,
            crash,
        }
    }
}

impl Figures {
    /// Structurings whose order in throughput means nothing, in groups: in each, from the slowest to the
    /// fastest, the fastest round of one is faster than the slowest of the next.
    pub(super) fn without_order(&self) -> Vec<Vec<Structuring>> {
        let mut sorted: Vec<_> = self.structurings.iter().collect();
        sorted.sort_by(|one, other| {
            one.requests_per_second
                .total_cmp(&other.requests_per_second)
        });
        let overlap = |one: &&Measured, next: &&Measured| {
            one.fastest_round_per_second >= next.slowest_round_per_second
        };
        let groups = sorted.chunk_by(overlap).filter(|group| group.len() > 1);
        groups
            .map(|group| group.iter().map(|one| one.name).collect())
            .collect()
    }
}

impl Steps {
    /// As people see them.
    pub(super) const NAMES: [&str; 5] =
        ["receive", "create or hand over", "run", "file RPC", "reply"];

    /// A request's share: each is received once.
    fn of_one(totals: &Totals) -> Self {
        let requests = totals.receive.count.max(1) as f64;
        let share = |total: Total| total.nanoseconds as f64 / 1e3 / requests;
        Self {
            receive: share(totals.receive),
            hand_over: share(totals.hand_over),
            run: share(totals.run),
            files: share(totals.files),
            reply: share(totals.reply),
        }
    }

    /// In that order.
    pub(super) fn all(&self) -> [f64; 5] {
        [
            self.receive,
            self.hand_over,
            self.run,
            self.files,
            self.reply,
        ]
    }

    pub(super) fn sum(&self) -> f64 {
        self.all().iter().sum()
    }
}

/// Now, as in `2026-11-23T09:00:00Z`.
pub(super) fn date() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// How this program was called, as a shell takes it.
pub(super) fn command() -> String {
    let args = std::env::args_os().skip(1);
    let args = args.map(|arg| quoted(&arg.to_string_lossy()));
    let words: Vec<_> = std::iter::once("wasm-pool-host".to_owned())
        .chain(args)
        .collect();
    words.join(" ")
}

/// A word that means itself to a shell: in quotes, unless nothing in it could mean anything else.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_./:=,@%+-".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
