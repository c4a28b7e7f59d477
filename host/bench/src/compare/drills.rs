//! The *drills*: the price that healthy requests pay for processes that crash or spin, and the cost
//! of a process that is idle, starts, or lives for one request.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use wasm_pool_host::{Mode, Module};

use super::matrix::Turns;
use super::site::{Site, Size};
use super::text;
use crate::findings::{Finding, Target};
use crate::handler::Bench;
use crate::limits;
use crate::load::{Faults, Load, Question};
use crate::numbers::{median, median_ratio};
use crate::server::Server;

/// So many processes that whatever else a host needs is no longer seen.
const CROWD: usize = 10_000;

/// One request in so many crashes its process.
const CRASH_ONE_IN: u64 = 100;

/// Starts of the host, and lives of processes, of which the median counts.
const STARTS: usize = 11;
const LIVES: usize = 20_000;

pub(crate) struct Drills<'a> {
    pub(crate) site: &'a Site,
    /// The pool that is a program (examples/prefork).
    pub(crate) prefork: &'a Path,
    /// The worker that does on request what no worker should (examples/misbehave).
    pub(crate) misbehave: &'a Path,
    pub(crate) turns: Turns,
}

const OK: Question<'_> = Question {
    path: "/ok",
    body: b"ok\n",
};

impl Drills<'_> {
    pub(crate) fn run(&self) -> anyhow::Result<Vec<Finding>> {
        let mut findings = vec![self.program()?, self.crashes()?, self.spinner()?];
        findings.extend([life()?, self.start()?]);
        findings.extend(self.memory()?);
        Ok(findings)
    }

    fn misbehaving(&self, flags: &[&str]) -> anyhow::Result<Server> {
        let module = ["--module", text(self.misbehave)?];
        self.site.host(&[&module, flags].concat())
    }

    /// A program's listener is a guest, too: a request is one message more, and passes another
    /// wall.
    fn program(&self) -> anyhow::Result<Finding> {
        let (mut program, mut pool) = (Vec::new(), Vec::new());
        let load = self.turns.target_load();
        let file = self.site.file(Size::Kib1);
        let modes = [["--mode", "pool"], ["--module", text(self.prefork)?]];
        for _ in 0..self.turns.rounds {
            for (flags, rates) in modes.iter().zip([&mut pool, &mut program]) {
                let turn = self.site.host(flags)?.measure(&load, file)?;
                rates.push(turn.requests_per_second);
            }
        }
        let ratio = median_ratio(&program, &pool);
        let name = "examples/prefork / host, pool, 1 KiB";
        Ok(Finding::new(name, ratio, "", Target::AtLeast(0.5, 0.5)))
    }

    /// The cost for all requests when some of them crash, with the log of each crash and the next
    /// process.
    fn crashes(&self) -> anyhow::Result<Finding> {
        let crashes = Faults::Provoked {
            path: "/trap",
            one_in: CRASH_ONE_IN,
        };
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..self.turns.rounds {
            for (faults, costs) in [(Faults::Refused, &mut without), (crashes, &mut with)] {
                let load = Load {
                    faults,
                    ..self.turns.target_load()
                };
                let turn = self.misbehaving(&[])?.measure(&load, OK)?;
                let is_provoked = matches!(faults, Faults::Provoked { .. });
                ensure!((turn.failed > 0) == is_provoked, "{} crashed", turn.failed);
                costs.push(turn.cpu_seconds_per_1000_requests);
            }
        }
        let ratio = median_ratio(&with, &without);
        let name = "CPU per request, 1 % trapping / none";
        Ok(Finding::new(name, ratio, "", Target::AtMost(1.1, 1.03)))
    }

    /// The latency of healthy requests beside a process that computes for ever.
    fn spinner(&self) -> anyhow::Result<Finding> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let load = self.turns.target_load();
        for _ in 0..self.turns.rounds {
            without.push(self.misbehaving(&[])?.measure(&load, OK)?.p99_ms);
            let mut server = self.misbehaving(&[])?;
            let spinning = server.send("/spin")?;
            with.push(server.measure(&load, OK)?.p99_ms);
            ensure!(spinning.is_unanswered()?, "/spin did not spin");
        }
        let ratio = median_ratio(&with, &without);
        let name = "p99, one process spinning / none";
        Ok(Finding::new(name, ratio, "", Target::AtMost(2.0, 1.2)))
    }

    /// From the start of the program to its first response, by the built-in worker.
    fn start(&self) -> anyhow::Result<Finding> {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let begin = Instant::now();
            self.site.host(&[])?.ask(Size::Kib1.path())?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        let target = Target::AtMost(60.0, 20.0);
        let name = "start to first response, built-in worker";
        Ok(Finding::new(name, median(times), "ms", target))
    }

    /// The memory of an idle process: by how much the host's resident memory grows from one process
    /// to as many as there may be.
    fn memory(&self) -> anyhow::Result<[Finding; 2]> {
        const TARGET: Target = Target::AtMost(40.0, 24.0);

        let finding = |name, number: usize, few, many: f64| {
            let name = if number < CROWD {
                format!("{name} of {number} (the limit on open files allows no {CROWD})")
            } else {
                format!("{name} of {number}")
            };
            Finding::new(name, (many - few) / (number - 1) as f64, "KiB", TARGET)
        };
        let idle = limits::processes().min(CROWD);
        let started = |workers: String| self.site.host(&crowd(&workers))?.resident_kib();
        let (few, many) = (started("1".into())?, started(idle.to_string())?);
        let started = finding("memory per idle process", idle, few, many);

        let busy = limits::processes_and_connections().min(CROWD);
        let (few, many) = (self.served(1, busy)?, self.served(busy, busy)?);
        let served = finding("memory per process that has served", busy, few, many);
        Ok([started, served])
    }

    /// The resident memory of a host whose processes have all served. Whatever their number, the
    /// host has the same number of connections and requests, so that what these leave behind is
    /// always there. Requests come all at once, and are so slow that each needs a process of its
    /// own, if there are so many.
    fn served(&self, workers: usize, requests: usize) -> anyhow::Result<f64> {
        let slow = match workers {
            1 => "/slow?ms=0",
            _ => "/slow?ms=20000",
        };
        let (workers_given, requests_given) = (workers.to_string(), requests.to_string());
        let flags = [
            "--expose-pid",
            "--queue",
            &requests_given,
            "--max-connections",
            &requests_given,
        ];
        let server = self.misbehaving(&[&crowd(&workers_given), &flags[..]].concat())?;
        let asked: anyhow::Result<Vec<_>> = (0..requests).map(|_| server.send(slow)).collect();
        let mut pids = HashSet::new();
        for pending in asked? {
            let answer = server.check(pending.answer())?;
            ensure!(
                answer.is_good(),
                "{slow} is answered with status {}",
                answer.status
            );
            pids.extend(answer.field("x-wasm-pid").map(str::to_owned));
        }
        ensure!(pids.len() == workers, "{} processes were used", pids.len());
        server.resident_kib()
    }
}

/// Flags for so many processes.
fn crowd(workers: &str) -> [&str; 4] {
    ["--workers", workers, "--max-open-files", limits::OPEN_FILES]
}

/// A process for one request: created, asked for a file of 1 KiB, dropped. Without HTTP, on one
/// thread.
fn life() -> anyhow::Result<Finding> {
    let bench = Bench::new(Module::BuiltIn, Mode::PerRequest);
    let times = bench.run(async {
        let mut times = Vec::with_capacity(LIVES);
        for _ in 0..LIVES {
            let begin = Instant::now();
            bench.ask().await;
            times.push(begin.elapsed());
        }
        times
    });
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let median = median(times.into_iter().map(us).collect());
    let name = "create a process, serve one request, drop it";
    Ok(Finding::new(name, median, "µs", Target::AtMost(12.0, 8.0)))
}
