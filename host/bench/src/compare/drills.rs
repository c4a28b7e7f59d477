//! The *drills* measure the host alone: the cost to healthy requests of processes that crash or
//! spin; the cost of a process that is idle, starts, or lives for one request; how the pool scales;
//! and whether the host is stable over millions of requests.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::ensure;
use wasm_pool_host::{Mode, Module};

use super::Bench;
use super::contestants::POOL;
use super::matrix::Turns;
use super::site::KIB_1;
use crate::findings::Target::{AtLeast, AtMost};
use crate::handler;
use crate::limits;
use crate::load::{self, Load, Question};
use crate::numbers::median;
use crate::quantities::{CPU, MEMORY, P99, RATE};
use crate::results::{Case, Results, Turn};
use crate::server::Server;

/// The number of processes in a crowd: so many that all other memory of a host is negligible.
const CROWD: usize = 10_000;

/// One of this many requests crashes its process.
const CRASH_ONE_IN: u64 = 100;

/// The numbers of host starts and of process lives. The figure is their median.
const STARTS: usize = 11;
const LIVES: usize = 20_000;

/// The numbers of processes, nearly all of them idle, and of connections.
const PROCESSES: [usize; 4] = [10, 100, 1_000, 10_000];
const CONNECTIONS: [usize; 4] = [32, 256, 1_000, 10_000];

/// From this many connections on, the warm-up is this long: it takes so long to open them all.
const MANY_CONNECTIONS: usize = 1_000;
const WARM_UP: Duration = Duration::from_secs(3);

/// The interval at which a soak checks whether it is done.
const SOAK_TURN: Duration = Duration::from_secs(10);

/// The cases.
const PROGRAM: &str = "1 KiB, by a program";
const CRASHES: &str = "processes that trap";
const SPINNER: &str = "a process that spins";
const LIFE: &str = "create a process, serve one request, drop it";
const START: &str = "start to first response";
const CROWDS: &str = "memory of one of many processes";
pub(crate) const SCALING: &str = "host, pool, 1 KiB: how it scales";
const SOAK: &str = "host, pool: resident memory before and after many requests";

/// Contestants.
const PREFORK: &str = "examples/prefork";
const NONE: &str = "none";
const SOME: &str = "1 % of requests";
const ONE: &str = "one";
const BUILT_IN: &str = "host, built-in worker";
const IDLE: &str = "idle";
const SERVED: &str = "has served";

pub(crate) fn judge(results: &mut Results) {
    results.find_ratio(PROGRAM, [PREFORK, POOL], RATE, AtLeast(0.5, 0.5));
    results.find_ratio(CRASHES, [SOME, NONE], CPU, AtMost(1.1, 1.03));
    results.find_ratio(SPINNER, [ONE, NONE], P99, AtMost(2.0, 1.2));
    results.find_median((BUILT_IN, LIFE), "us", AtMost(12.0, 8.0));
    results.find_median((BUILT_IN, START), "ms", AtMost(60.0, 20.0));
    results.find_median((IDLE, CROWDS), MEMORY, AtMost(40.0, 24.0));
    results.find_median((SERVED, CROWDS), MEMORY, AtMost(40.0, 24.0));
    let most = [limits::PROCESS, limits::PROCESS_AND_CONNECTION].map(limits::most);
    let [idle, served] = most.map(|most| most.min(CROWD));
    let growth = format!("from one process to {idle} that are idle, or {served} that have served");
    let limit = format!("{CROWD}, where the limit on open files allows so many");
    results.note(CROWDS, format!("{growth}: {limit}"));
}

const OK: Question<'_> = Question {
    path: "/ok",
    body: b"ok\n",
};

impl Bench {
    pub(super) fn drills(&self) -> Vec<Case<'_>> {
        let Turns { rounds, .. } = self.pace.target;
        let load = self.pace.target.target_load();
        vec![
            // In a program the listener is a guest, too. So a request costs one more message, and
            // is copied once more.
            Case::new(PROGRAM, rounds)
                .with(POOL, move || self.site.measure(&["--mode", "pool"], &load))
                .with(PREFORK, move || {
                    let module = self.module("prefork.wasm");
                    self.site.measure(&["--module", &module], &load)
                }),
            Case::new(CRASHES, rounds)
                .with(NONE, move || self.crashing(None))
                .with(SOME, move || self.crashing(Some(("/trap", CRASH_ONE_IN)))),
            Case::new(SPINNER, rounds)
                .with(NONE, move || self.misbehaving(&[])?.measure(&load, OK))
                .with(ONE, move || self.spinning(&load)),
            Case::new(LIFE, 1).with(BUILT_IN, life),
            Case::new(START, STARTS).with(BUILT_IN, || {
                let begin = Instant::now();
                self.site.host(&[])?.ask(KIB_1.path)?;
                Ok(vec![("ms", begin.elapsed().as_secs_f64() * 1e3)])
            }),
            Case::new(CROWDS, 1)
                .with(IDLE, || {
                    let of = |workers: usize| {
                        let host = self.site.host(&crowd(&workers.to_string()))?;
                        host.resident_kib()
                    };
                    growth(limits::most(limits::PROCESS), of)
                })
                .with(SERVED, || {
                    let busy = limits::most(limits::PROCESS_AND_CONNECTION);
                    growth(busy, |workers| self.served(workers, busy.min(CROWD)))
                }),
        ]
    }

    pub(super) fn module(&self, name: &str) -> String {
        self.guests.join(name).display().to_string()
    }

    fn misbehaving(&self, flags: &[&str]) -> anyhow::Result<Server> {
        let module = self.module("misbehave.wasm");
        self.site.host(&[&["--module", &module], flags].concat())
    }

    /// Measures all requests while some crash. The cost of a crash includes its log line and the
    /// start of the next process.
    fn crashing(&self, fault: Option<(&str, u64)>) -> anyhow::Result<Turn> {
        let load = Load {
            fault,
            ..self.pace.target.target_load()
        };
        let turn = self.misbehaving(&[])?.measure(&load, OK)?;
        let failed = turn.iter().filter(|(quantity, _)| *quantity == "failed");
        let failed: f64 = failed.map(|(_, count)| count).sum();
        ensure!((failed > 0.0) == fault.is_some(), "{failed} crashed");
        Ok(turn)
    }

    /// Measures healthy requests beside a process that computes for ever.
    fn spinning(&self, load: &Load<'_>) -> anyhow::Result<Turn> {
        let mut server = self.misbehaving(&[])?;
        let spinning = server.send("/spin")?;
        let turn = server.measure(load, OK)?;
        ensure!(spinning.is_unanswered()?, "/spin did not spin");
        Ok(turn)
    }

    /// The resident memory of a host after all its processes have served a request. The host gets
    /// the same number of connections and requests for any number of processes, so that their
    /// memory is always included. All requests are sent at once. With more than one process, each
    /// request is so slow that it needs its own process.
    fn served(&self, workers: usize, requests: usize) -> anyhow::Result<f64> {
        let slow = match workers {
            1 => "/slow?ms=0",
            _ => "/slow?ms=20000",
        };
        let (workers_given, requests_given) = (workers.to_string(), requests.to_string());
        let room = [
            "--queue",
            &requests_given,
            "--max-connections",
            &requests_given,
        ];
        let flags = [&crowd(&workers_given), &room[..], &["--expose-pid"]];
        let server = self.misbehaving(&flags.concat())?;
        let asked: anyhow::Result<Vec<_>> = (0..requests).map(|_| server.send(slow)).collect();
        let mut pids = HashSet::new();
        for pending in asked? {
            let answer = server.check(pending.answer())?;
            let status = answer.status;
            ensure!(answer.is_good(), "{slow} is answered with status {status}");
            pids.extend(answer.field("x-wasm-pid").map(str::to_owned));
        }
        ensure!(pids.len() == workers, "{} processes were used", pids.len());
        server.resident_kib()
    }

    pub(super) fn scaling(&self) -> Case<'_> {
        let turns = self.pace.other;
        let mut case = Case::new(SCALING, turns.rounds);
        for number in PROCESSES.map(|number| number.min(limits::most(limits::PROCESS))) {
            case = case.with(format!("{number} processes"), move || {
                self.scaled("--workers", number, turns.target_load())
            });
        }
        for number in CONNECTIONS.map(|number| number.min(limits::most(limits::CONNECTION))) {
            case = case.with(format!("{number} connections"), move || {
                self.scaled("--max-connections", number, turns.load(number))
            });
        }
        case
    }

    fn scaled(&self, flag: &str, number: usize, load: Load<'_>) -> anyhow::Result<Turn> {
        let number = number.to_string();
        let flags = [flag, &number, "--max-open-files", limits::OPEN_FILES];
        let is_many = load.connections >= MANY_CONNECTIONS;
        let warm_up = if is_many { WARM_UP } else { load.warm_up };
        self.site.measure(&flags, &Load { warm_up, ..load })
    }

    /// Sends requests until this many are answered. Reads the resident memory after the pool has
    /// grown, and at the end. Both times nobody is connected.
    pub(super) fn soak(&self) -> Case<'_> {
        Case::new(SOAK, 1).with(POOL, || {
            let requests = self.pace.soak_requests;
            let server = self.site.host(&["--mode", "pool"])?;
            let ask = |duration| {
                let load = Turns {
                    rounds: 1,
                    warm_up: Duration::ZERO,
                    duration,
                };
                let asked = load::run(server.address, &load.target_load(), self.site.file(KIB_1));
                server.check(asked).map(|tally| tally.responses_in_all())
            };
            let mut answered = ask(Duration::from_secs(1))?;
            let before = server.resident_kib()? / 1024.0;
            while answered < requests {
                answered += ask(SOAK_TURN)?;
                eprintln!("soak: {answered:.0} of {requests:.0} requests");
            }
            let after = server.resident_kib()? / 1024.0;
            let turn = [("responses", answered.round()), ("before_mib", before)];
            Ok(turn.into_iter().chain([("after_mib", after)]).collect())
        })
    }
}

/// The memory of a process: the growth of a host's resident memory from one process to the largest
/// possible number, divided by the number of added processes.
fn growth(most: usize, kib: impl Fn(usize) -> anyhow::Result<f64>) -> anyhow::Result<Turn> {
    let many = most.min(CROWD);
    let (before, after) = (kib(1)?, kib(many)?);
    Ok(vec![(MEMORY, (after - before) / (many - 1) as f64)])
}

/// Flags for this many processes.
fn crowd(workers: &str) -> [&str; 4] {
    ["--workers", workers, "--max-open-files", limits::OPEN_FILES]
}

/// Measures a process that serves one request: it is created, asked for a file of 1 KiB, and
/// dropped. Without HTTP, on one thread.
fn life() -> anyhow::Result<Turn> {
    let bench = handler::Bench::new(Module::BuiltIn, Mode::PerRequest);
    let times = bench.run(async {
        let mut times = Vec::with_capacity(LIVES);
        for _ in 0..LIVES {
            let begin = Instant::now();
            bench.ask().await;
            times.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        times
    });
    Ok(vec![("us", median(times))])
}
