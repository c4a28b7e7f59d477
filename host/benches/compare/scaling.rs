//! How the pool *scales*: with processes, nearly all of which are idle, and with connections; and whether it
//! stays as it is over millions of requests.

use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::contestants::host;
use crate::limits;
use crate::load::{self, Faults, Load};
use crate::matrix::{TARGET_CONNECTIONS, Turn, Turns, load_threads};
use crate::report;
use crate::site::{Site, Size};

const PROCESSES: [usize; 4] = [10, 100, 1_000, 10_000];
const CONNECTIONS: [usize; 4] = [32, 256, 1_000, 10_000];

/// Until so many have connected.
const WARM_UP: Duration = Duration::from_secs(3);
const MANY_CONNECTIONS: usize = 1_000;

/// How often a soak looks whether it is done.
const SOAK_TURN: Duration = Duration::from_secs(10);

/// What was varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Of {
    Processes,
    Connections,
}

impl Of {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Connections => "connections",
        }
    }
}

/// One point of a curve: medians over the rounds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) of: Of,
    pub(crate) number: usize,
    pub(crate) requests_per_second: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu_seconds_per_1000_requests: f64,
}

/// The host before and after many requests.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Soak {
    pub(crate) requests: f64,
    pub(crate) before_mib: f64,
    pub(crate) after_mib: f64,
}

pub(crate) fn curves(site: &Site, turns: Turns) -> anyhow::Result<Vec<Point>> {
    let most = (limits::processes()?, limits::connections()?);
    let mut asked: Vec<_> = PROCESSES
        .map(|number| (Of::Processes, number.min(most.0)))
        .into();
    asked.extend(CONNECTIONS.map(|number| (Of::Connections, number.min(most.1))));
    let mut measured: Vec<Vec<Turn>> = asked.iter().map(|_| Vec::new()).collect();
    for _ in 0..turns.rounds {
        for (&(of, number), turns_of_it) in asked.iter().zip(&mut measured) {
            turns_of_it.push(turn(site, of, number, turns)?);
        }
    }
    let points = asked.into_iter().zip(measured);
    Ok(points
        .map(|((of, number), turns)| Point::of(of, number, &turns))
        .collect())
}

fn turn(site: &Site, of: Of, number: usize, turns: Turns) -> anyhow::Result<Turn> {
    let (flag, value, connections) = match of {
        Of::Processes => ("--workers", number, TARGET_CONNECTIONS),
        // The one that asked whether the host is there may still be closing.
        Of::Connections => ("--max-connections", number + 1, number),
    };
    let files = ["--max-open-files", limits::OPEN_FILES];
    let value = value.to_string();
    let mut server = host(site.root(), &[files, [flag, &value]].concat())?;
    let load = Load {
        connections,
        keep_alive: true,
        threads: load_threads(),
        warm_up: if connections < MANY_CONNECTIONS {
            turns.warm_up
        } else {
            WARM_UP
        },
        duration: turns.duration,
        faults: Faults::Refused,
    };
    let turn = Turn::measure(&mut server, &load, site.file(Size::Kib1));
    turn.with_context(|| format!("{number} {}", of.name()))
}

impl Point {
    fn of(of: Of, number: usize, turns: &[Turn]) -> Self {
        let median = |of: fn(&Turn) -> f64| report::median(turns.iter().map(of).collect());
        Self {
            of,
            number,
            requests_per_second: median(|turn| turn.requests_per_second),
            p99_ms: median(|turn| turn.p99_ms),
            cpu_seconds_per_1000_requests: median(|turn| turn.cpu_seconds_per_1000_requests),
        }
    }
}

/// Asks for so long until so many requests are answered. Resident memory is read when the pool has grown, and
/// at the end, both times while nobody is connected.
pub(crate) fn soak(site: &Site, requests: f64) -> anyhow::Result<Soak> {
    let server = host(site.root(), &["--mode", "pool"])?;
    let mut load = Load {
        connections: TARGET_CONNECTIONS,
        keep_alive: true,
        threads: load_threads(),
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(1),
        faults: Faults::Refused,
    };
    let question = site.file(Size::Kib1);
    let mut answered = load::run(server.address, &load, question)?.responses;
    let before_mib = server.resident_kib()? / 1024.0;
    load.duration = SOAK_TURN;
    while answered < requests {
        answered += load::run(server.address, &load, question)?.responses;
        eprintln!("soak: {answered:.0} of {requests:.0} requests");
    }
    Ok(Soak {
        requests: answered,
        before_mib,
        after_mib: server.resident_kib()? / 1024.0,
    })
}
