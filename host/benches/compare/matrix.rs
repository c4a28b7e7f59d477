//! The *matrix*: every contestant with files of every size, few connections and many, kept and not. Within a
//! round all take turns, so that what else the machine does meets all of them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::contestants::{Contestant, Field};
use crate::cost::Use;
use crate::load::{self, Faults, Load, Sample};
use crate::report;
use crate::servers::Server;
use crate::site::{Site, Size};

pub(crate) const CONNECTIONS: [usize; 3] = [1, 32, 256];

/// What the targets speak of: so many connections, kept, that a server with few cores is never idle.
pub(crate) const TARGET_CONNECTIONS: usize = 32;

/// More under way than this takes seconds until anything is complete: one round must do.
const HEAVY_BYTES: usize = 4 << 30;

/// How long it all may take: rounds, of which the median counts, and turns within them.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Where targets are.
    pub(crate) target: Turns,
    /// Everywhere else.
    pub(crate) other: Turns,
}

#[derive(Clone, Copy)]
pub(crate) struct Turns {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

/// One way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) size: Size,
    pub(crate) connections: usize,
    pub(crate) keep_alive: bool,
}

/// How one contestant did there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) contestant: Contestant,
    #[serde(flatten)]
    pub(crate) cell: Cell,
    pub(crate) rounds: Vec<Turn>,
    /// Why there are no rounds, or fewer.
    pub(crate) obstacle: Option<String>,
}

/// What was measured in one turn.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p99_9_ms: f64,
    pub(crate) cpu_seconds_per_1000_requests: f64,
    pub(crate) peak_mib: f64,
    pub(crate) failed: u64,
}

impl Cell {
    pub(crate) const fn target(size: Size) -> Self {
        Self {
            size,
            connections: TARGET_CONNECTIONS,
            keep_alive: true,
        }
    }

    /// All ways, in the order of the tables.
    pub(crate) fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for size in Size::ALL {
            for connections in CONNECTIONS {
                cells.extend([true, false].map(|keep_alive| Self {
                    size,
                    connections,
                    keep_alive,
                }));
            }
        }
        cells
    }

    pub(crate) fn name(self) -> String {
        let (size, connections) = (self.size.name(), self.connections);
        let s = if connections == 1 { "" } else { "s" };
        if self.keep_alive {
            format!("{size}, {connections} connection{s}, kept")
        } else {
            format!("{size}, {connections} at a time, a connection per request")
        }
    }

    fn turns(self, pace: Pace) -> Turns {
        let turns = if self == Self::target(self.size) {
            pace.target
        } else {
            pace.other
        };
        let is_heavy = self.size.bytes() * self.connections > HEAVY_BYTES;
        let rounds = if is_heavy { 1 } else { turns.rounds };
        Turns { rounds, ..turns }
    }
}

pub(crate) fn run(field: &Field, site: &Site, pace: Pace, cells: &[Cell]) -> Vec<Entry> {
    let (begin, mut entries) = (Instant::now(), Vec::new());
    for cell in cells {
        entries.extend(measure(field, site, *cell, cell.turns(pace)));
        eprintln!("{:>5.0} s: {}", begin.elapsed().as_secs_f64(), cell.name());
    }
    entries
}

/// One way to ask, by turns.
fn measure(field: &Field, site: &Site, cell: Cell, turns: Turns) -> Vec<Entry> {
    let there = Contestant::ALL.into_iter().filter(|one| field.has(*one));
    let mut entries: Vec<_> = there
        .map(|contestant| Entry {
            contestant,
            cell,
            rounds: Vec::new(),
            obstacle: contestant.obstacle(cell.size, cell.connections),
        })
        .collect();
    for _ in 0..turns.rounds {
        for entry in entries.iter_mut().filter(|entry| entry.obstacle.is_none()) {
            match entry.turn(field, site, turns) {
                Ok(turn) => entry.rounds.push(turn),
                Err(error) => entry.obstacle = Some(format!("{error:#}")),
            }
        }
    }
    entries
}

impl Entry {
    fn turn(&self, field: &Field, site: &Site, turns: Turns) -> anyhow::Result<Turn> {
        let cell = self.cell;
        let mut server = field.start(self.contestant, site, cell.connections)?;
        let load = Load {
            connections: cell.connections,
            keep_alive: cell.keep_alive,
            threads: load_threads(),
            warm_up: turns.warm_up,
            duration: turns.duration,
            faults: Faults::Refused,
        };
        let question = self.contestant.question(site, cell.size);
        Turn::measure(&mut server, &load, question)
    }

    /// The median over the rounds; none if there are none.
    pub(crate) fn median(&self, of: fn(&Turn) -> f64) -> Option<f64> {
        let values = self.each(of);
        (!values.is_empty()).then(|| report::median(values))
    }

    pub(crate) fn each(&self, of: fn(&Turn) -> f64) -> Vec<f64> {
        self.rounds.iter().map(of).collect()
    }
}

impl Turn {
    pub(crate) fn measure(
        server: &mut Server,
        load: &Load<'_>,
        question: load::Question<'_>,
    ) -> anyhow::Result<Self> {
        let (sample, used) = server.using(|address| load::run(address, load, question))?;
        Ok(Self::of(&sample, used))
    }

    fn of(sample: &Sample, used: Use) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            requests_per_second: sample.per_second,
            p50_ms: ms(sample.p50),
            p99_ms: ms(sample.p99),
            p99_9_ms: ms(sample.p99_9),
            cpu_seconds_per_1000_requests: used.cpu.as_secs_f64() * 1000.0 / sample.responses,
            peak_mib: used.peak_kib / 1024.0,
            failed: sample.failed,
        }
    }
}

/// One, where the servers need the cores; a quarter of many.
pub(crate) fn load_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 4).max(1)
}
