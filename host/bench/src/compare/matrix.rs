//! The *matrix*: every contestant with files of every size, few connections and many, kept and not.
//! Within a round all take turns, so that whatever else the machine does meets all of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::contestants::Contestant::{self, *};
use super::contestants::Field;
use super::site::{Site, Size};
use crate::findings::{Finding, Target};
use crate::kernel::cores;
use crate::load::Load;
use crate::numbers::median_ratio;
use crate::progress::Progress;
use crate::turn::{Rounds, Turn};

const CONNECTIONS: [usize; 3] = [1, 32, 256];

/// What targets speak of: so many connections, kept, that a server with few cores is never idle.
const TARGET_CONNECTIONS: usize = 32;

/// More bytes in flight take seconds until anything is complete: one round must do.
const HEAVY_BYTES: usize = 4 << 30;

/// How long everything may take.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Where targets are.
    pub(crate) target: Turns,
    /// Everywhere else.
    pub(crate) other: Turns,
}

/// Rounds, of which the median counts, and the length of a turn in them.
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
    connections: usize,
    keep_alive: bool,
}

/// How one contestant did there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) contestant: Contestant,
    #[serde(flatten)]
    pub(crate) cell: Cell,
    pub(crate) rounds: Rounds,
    /// Why there are no rounds, or fewer.
    pub(crate) obstacle: Option<String>,
}

impl Turns {
    /// The load of a turn. One thread drives it where the servers need the cores, and a quarter of
    /// many cores.
    pub(crate) fn load(&self, connections: usize) -> Load<'static> {
        Load {
            threads: (cores() / 4).max(1),
            ..Load::new(connections, self.warm_up, self.duration)
        }
    }

    pub(crate) fn target_load(&self) -> Load<'static> {
        self.load(TARGET_CONNECTIONS)
    }
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
        let is_target = self == Self::target(self.size);
        let turns = if is_target { pace.target } else { pace.other };
        let is_heavy = self.size.bytes() * self.connections > HEAVY_BYTES;
        let rounds = if is_heavy { 1 } else { turns.rounds };
        Turns { rounds, ..turns }
    }
}

pub(crate) fn run(
    field: &Field,
    site: &Site,
    pace: Pace,
    cells: &[Cell],
) -> anyhow::Result<Vec<Entry>> {
    let progress = Progress::of(cells.len())?;
    let mut entries = Vec::new();
    for cell in cells {
        progress.turn(&cell.name());
        entries.extend(measure(field, site, *cell, cell.turns(pace)));
    }
    progress.end();
    Ok(entries)
}

/// One way to ask, by turns.
fn measure(field: &Field, site: &Site, cell: Cell, turns: Turns) -> Vec<Entry> {
    let there = Contestant::ALL.into_iter().filter(|one| field.has(*one));
    let entry = |contestant: Contestant| Entry {
        contestant,
        cell,
        rounds: Rounds::default(),
        obstacle: contestant.obstacle(cell.size, cell.connections),
    };
    let mut entries: Vec<_> = there.map(entry).collect();
    for _ in 0..turns.rounds {
        for entry in entries.iter_mut().filter(|entry| entry.obstacle.is_none()) {
            match entry.turn(field, site, turns) {
                Ok(turn) => entry.rounds.0.push(turn),
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
            keep_alive: cell.keep_alive,
            ..turns.load(cell.connections)
        };
        server.measure(&load, self.contestant.question(site, cell.size))
    }
}

/// The ratios of requests per second that have targets, all at [`TARGET_CONNECTIONS`]: what is
/// divided by what, at which size.
const RATIOS: &[(Contestant, Contestant, Size, Target)] = &[
    (Pool, Native, Size::Kib1, Target::AtLeast(1.0, 1.25)),
    (Pool, Ceiling, Size::Kib1, Target::AtLeast(0.65, 0.8)),
    (Pool, Nginx, Size::Kib1, Target::AtLeast(1.2, 1.2)),
    (Pool, NginxCached, Size::Kib1, Target::None),
    (Pool, Nginx, Size::Kib64, Target::AtLeast(1.0, 1.0)),
    (Pool, Nginx, Size::Mib1, Target::AtLeast(1.3, 1.3)),
    (Pool, Nginx, Size::Mib100, Target::AtLeast(1.0, 1.0)),
    (Pool, WasmtimeReused, Size::Kib1, Target::AtLeast(1.6, 1.6)),
    (Pool, Wasmtime, Size::Kib1, Target::AtLeast(9.0, 9.0)),
    (PerRequest, Pool, Size::Kib1, Target::AtLeast(0.85, 0.92)),
    (PerRequest, Wasmtime, Size::Kib1, Target::AtLeast(7.0, 7.0)),
];

pub(crate) fn ratios(entries: &[Entry]) -> Vec<Finding> {
    let rates = |contestant: Contestant, size| {
        let is_it = |one: &&Entry| one.contestant == contestant && one.cell == Cell::target(size);
        let rates = entries.iter().find(is_it).map(|entry| entry.rounds.rates());
        let rates = rates.filter(|rates| !rates.is_empty());
        rates.ok_or_else(|| format!("no {}", contestant.name()))
    };
    let finding = |&(over, under, size, target): &(Contestant, Contestant, Size, Target)| {
        let name = format!("{} / {}, {}", over.name(), under.name(), size.name());
        match rates(over, size).and_then(|over| Ok((over, rates(under, size)?))) {
            Ok((over, under)) => Finding::new(name, median_ratio(&over, &under), "", target),
            Err(why) => Finding::missing(name, &why),
        }
    };
    RATIOS.iter().map(finding).collect()
}
