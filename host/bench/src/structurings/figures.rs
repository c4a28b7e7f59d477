//! The *figures*: all measurements, in the shape that `--json` writes. Names of fields are stable,
//! and end with the unit.

use serde::Serialize;
use wasm_pool_host::steps::{Total, Totals};

use super::crash::Crash;
use super::subject::Structuring;
use super::{Settings, words};
use crate::kernel::Machine;
use crate::numbers::median;
use crate::turn::Rounds;

#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// The version of this program.
    pub(crate) version: &'static str,
    /// When they were taken, in UTC.
    pub(crate) date: String,
    /// The command line that repeats the measurement.
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) load: Setup,
    /// In the order of the table.
    pub(crate) structurings: Vec<Measured>,
    /// Why figures are missing.
    pub(crate) not_measured: Gaps,
}

/// Figures that are missing, each with the reason.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Gaps(Vec<String>);

/// The load.
#[derive(Debug, Serialize)]
pub(crate) struct Setup {
    pub(crate) module: String,
    pub(crate) path: String,
    pub(crate) body_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) rounds: usize,
    /// The time of each structuring in each round.
    pub(crate) seconds: f64,
}

/// One structuring.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) name: Structuring,
    /// The steps of one request, on one connection, so that nobody waits for anybody.
    pub(crate) step_us: Steps,
    /// Medians over the rounds, under the load of all connections.
    pub(crate) requests_per_second: f64,
    /// How far the rounds lie apart, in percent of the median.
    pub(crate) spread_percent: f64,
    /// Requests per second of the slowest round and of the fastest.
    pub(crate) slowest_round_per_second: f64,
    pub(crate) fastest_round_per_second: f64,
    pub(crate) latency_ms: Latency,
    /// Requests that were measured, in all rounds together.
    pub(crate) requests: u64,
    /// The memory of one more idle process or thread; nothing where it could not be measured.
    pub(crate) memory_kib: Option<f64>,
    /// Nothing where it could not be measured.
    pub(crate) crash: Option<Crash>,
}

/// Microseconds of one request; see [`wasm_pool_host::steps::Step`].
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Steps {
    pub(crate) receive: f64,
    pub(crate) hand_over: f64,
    pub(crate) run: f64,
    pub(crate) files: f64,
    pub(crate) reply: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
}

impl Gaps {
    /// The measurement; nothing where it failed, and then there is one more gap.
    pub(crate) fn unless_measured<T>(
        &mut self,
        what: &str,
        measured: anyhow::Result<T>,
    ) -> Option<T> {
        match measured {
            Ok(measured) => Some(measured),
            Err(error) => {
                self.0.push(format!("{what}: {}", words::in_words(&error)));
                None
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }
}

impl Setup {
    pub(crate) fn new(settings: &Settings, body: &[u8]) -> Self {
        let module = settings.module.as_ref();
        Self {
            module: module.map_or_else(|| "built-in".into(), |module| module.display().to_string()),
            path: settings.path.clone(),
            body_bytes: body.len(),
            connections: settings.connections,
            rounds: settings.rounds,
            seconds: settings.time.as_secs_f64(),
        }
    }
}

impl Measured {
    pub(crate) fn new(
        name: Structuring,
        rounds: &Rounds,
        totals: &Totals,
        memory_kib: Option<f64>,
        crash: Option<Crash>,
    ) -> Self {
        let rates = rounds.rates();
        Self {
            name,
            step_us: Steps::of_one(totals),
            spread_percent: rounds.spread().unwrap_or(0.0),
            slowest_round_per_second: rates.iter().copied().fold(f64::MAX, f64::min),
            fastest_round_per_second: rates.iter().copied().fold(0.0, f64::max),
            requests_per_second: median(rates),
            latency_ms: Latency {
                p50: median(rounds.each(|turn| turn.p50_ms)),
                p99: median(rounds.each(|turn| turn.p99_ms)),
                p99_9: median(rounds.each(|turn| turn.p99_9_ms)),
            },
            requests: rounds.0.iter().map(|turn| turn.requests).sum(),
            memory_kib,
            crash,
        }
    }
}

impl Figures {
    /// Groups of structurings whose order in throughput means nothing: the fastest round of one is
    /// faster than the slowest round of the next faster one.
    pub(crate) fn without_order(&self) -> Vec<Vec<Structuring>> {
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
    /// The names that people see.
    pub(crate) const NAMES: [&str; 5] =
        ["receive", "create or hand over", "run", "file RPC", "reply"];

    /// The share of one request. Each request is received once.
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

    /// In the order of [`Steps::NAMES`].
    pub(crate) fn all(&self) -> [f64; 5] {
        [
            self.receive,
            self.hand_over,
            self.run,
            self.files,
            self.reply,
        ]
    }

    pub(crate) fn sum(&self) -> f64 {
        self.all().iter().sum()
    }
}
