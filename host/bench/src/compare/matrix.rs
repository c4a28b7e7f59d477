//! The *matrix*: every contestant serves files of every size, over few connections and many, with
//! keep-alive and without.

use std::time::Duration;

use super::contestants::*;
use super::site::{KIB_1, KIB_64, MIB_1, MIB_100, SIZES, Site, Size};
use crate::findings::Target;
use crate::kernel::cores;
use crate::load::Load;
use crate::quantities::RATE;
use crate::results::{Case, Results};

const CONNECTIONS: [usize; 3] = [1, 32, 256];

/// The targets hold for this many keep-alive connections. They keep a server with few cores always
/// busy.
pub(crate) const TARGET_CONNECTIONS: usize = 32;

/// With more bytes in flight, no response completes for seconds. So these cells get one round.
const HEAVY_BYTES: usize = 4 << 30;

/// The duration of all measurements.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// For cells that have targets.
    pub(crate) target: Turns,
    /// For all other cells.
    pub(crate) other: Turns,
    pub(crate) soak_requests: f64,
}

/// The number of rounds, and the length of a turn in a round. A figure is the median of the rounds.
#[derive(Clone, Copy)]
pub(crate) struct Turns {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

/// A file size, a number of connections, and whether connections are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    size: Size,
    connections: usize,
    keep_alive: bool,
}

impl Turns {
    /// The load of a turn. It uses a quarter of the cores, but at least one thread: on few cores
    /// the servers need them.
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

    /// All cells, in the order of the tables.
    pub(crate) fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for size in SIZES {
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
        let (size, connections) = (self.size.name, self.connections);
        let s = if connections == 1 { "" } else { "s" };
        if self.keep_alive {
            format!("{size}, {connections} connection{s}, kept")
        } else {
            format!("{size}, {connections} at a time, a connection per request")
        }
    }

    /// All contestants for this cell. Notes contestants that can't serve it as gaps.
    pub(crate) fn case<'a>(
        self,
        site: &'a Site,
        pace: Pace,
        contestants: Vec<Contestant<'a>>,
        results: &mut Results,
    ) -> Case<'a> {
        let is_target = self == Self::target(self.size);
        let turns = if is_target { pace.target } else { pace.other };
        let is_heavy = self.size.bytes * self.connections > HEAVY_BYTES;
        let mut case = Case::new(self.name(), if is_heavy { 1 } else { turns.rounds });
        case.is_needed = false;
        for contestant in contestants {
            match contestant.obstacle(self.size, self.connections) {
                Some(why) => results.lack((contestant.name, &case.name), why),
                None => {
                    case = case.with(contestant.name, move || {
                        let mut server = contestant.start(self.connections)?;
                        let load = Load {
                            keep_alive: self.keep_alive,
                            ..turns.load(self.connections)
                        };
                        server.measure(&load, contestant.question(site, self.size))
                    });
                }
            }
        }
        case
    }
}

/// The ratios of requests per second that have targets, all at [`TARGET_CONNECTIONS`]: dividend,
/// divisor and file size.
const RATIOS: &[(&str, &str, Size, Target)] = &[
    (POOL, NATIVE, KIB_1, Target::AtLeast(1.0, 1.25)),
    (POOL, CEILING, KIB_1, Target::AtLeast(0.65, 0.8)),
    (POOL, NGINX, KIB_1, Target::AtLeast(1.2, 1.2)),
    (POOL, NGINX_CACHED, KIB_1, Target::None),
    (POOL, NGINX, KIB_64, Target::AtLeast(1.0, 1.0)),
    (POOL, NGINX, MIB_1, Target::AtLeast(1.3, 1.3)),
    (POOL, NGINX, MIB_100, Target::AtLeast(1.0, 1.0)),
    (POOL, WASMTIME_REUSED, KIB_1, Target::AtLeast(1.6, 1.6)),
    (POOL, WASMTIME, KIB_1, Target::AtLeast(9.0, 9.0)),
    (HTTP, WASMTIME, KIB_1, Target::AtLeast(5.0, 5.0)),
    (
        HTTP_REUSED,
        WASMTIME_REUSED,
        KIB_1,
        Target::AtLeast(1.3, 1.3),
    ),
    (HTTP, WASMTIME, MIB_100, Target::AtLeast(1.0, 1.0)),
    (PER_REQUEST, POOL, KIB_1, Target::AtLeast(0.85, 0.92)),
    (PER_REQUEST, WASMTIME, KIB_1, Target::AtLeast(7.0, 7.0)),
];

pub(crate) fn judge(results: &mut Results) {
    for &(over, under, size, target) in RATIOS {
        let case = Cell::target(size).name();
        results.find_ratio(&case, [over, under], RATE, target);
    }
}
