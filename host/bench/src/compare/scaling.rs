//! How the pool *scales*: with processes, nearly all of which are idle, and with connections; and
//! whether it stays as it is over millions of requests.

use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::matrix::Turns;
use super::site::{Site, Size};
use crate::load::{self, Load};
use crate::turn::{Rounds, Turn};
use crate::{limits, numbers};

const PROCESSES: [usize; 4] = [10, 100, 1_000, 10_000];
const CONNECTIONS: [usize; 4] = [32, 256, 1_000, 10_000];

/// So many connections take so long until all are made.
const MANY_CONNECTIONS: usize = 1_000;
const WARM_UP: Duration = Duration::from_secs(3);

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
    let processes = PROCESSES.map(|number| (Of::Processes, number.min(limits::processes())));
    let connections =
        CONNECTIONS.map(|number| (Of::Connections, number.min(limits::connections())));
    let asked = [processes, connections].concat();
    let mut measured = vec![Rounds::default(); asked.len()];
    for _ in 0..turns.rounds {
        for (&(of, number), rounds) in asked.iter().zip(&mut measured) {
            let turn = turn(site, of, number, turns);
            let turn = turn.with_context(|| format!("{number} {}", of.name()))?;
            rounds.0.push(turn);
        }
    }
    let point = |((of, number), rounds): ((Of, usize), Rounds)| Point {
        of,
        number,
        requests_per_second: numbers::median(rounds.rates()),
        p99_ms: numbers::median(rounds.each(|turn| turn.p99_ms)),
        cpu_seconds_per_1000_requests: numbers::median(
            rounds.each(|turn| turn.cpu_seconds_per_1000_requests),
        ),
    };
    Ok(asked.into_iter().zip(measured).map(point).collect())
}

fn turn(site: &Site, of: Of, number: usize, turns: Turns) -> anyhow::Result<Turn> {
    let (flag, load) = match of {
        Of::Processes => ("--workers", turns.target_load()),
        Of::Connections => ("--max-connections", turns.load(number)),
    };
    let files = ["--max-open-files", limits::OPEN_FILES];
    let mut server = site.host(&[files, [flag, &number.to_string()]].concat())?;
    let is_many = load.connections >= MANY_CONNECTIONS;
    let warm_up = if is_many { WARM_UP } else { load.warm_up };
    server.measure(&Load { warm_up, ..load }, site.file(Size::Kib1))
}

/// Asks until so many requests are answered. Resident memory is read when the pool has grown, and
/// at the end, both times while nobody is connected.
pub(crate) fn soak(site: &Site, requests: f64) -> anyhow::Result<Soak> {
    let server = site.host(&["--mode", "pool"])?;
    let turn = |duration| Turns {
        rounds: 1,
        warm_up: Duration::ZERO,
        duration,
    };
    let ask = |duration| {
        let load = turn(duration).target_load();
        let asked = load::run(server.address, &load, site.file(Size::Kib1));
        server.check(asked).map(|sample| sample.responses)
    };
    let mut answered = ask(Duration::from_secs(1))?;
    let before_mib = server.resident_kib()? / 1024.0;
    while answered < requests {
        answered += ask(SOAK_TURN)?;
        eprintln!("soak: {answered:.0} of {requests:.0} requests");
    }
    Ok(Soak {
        requests: answered,
        before_mib,
        after_mib: server.resident_kib()? / 1024.0,
    })
}
