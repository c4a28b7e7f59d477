//! The *drills*: what healthy requests pay for processes that crash or spin, and what a process costs that does
//! nothing, is born, or lives for one request.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use wasm_pool_host::process::Exit;
use wasm_pool_host::sandbox::Module;

use crate::contestants::{host, host_answering};
use crate::findings::Finding;
use crate::handler::Bench;
use crate::limits;
use crate::load::{Faults, Load, Question};
use crate::matrix::{TARGET_CONNECTIONS, Turn, Turns, load_threads};
use crate::report::{self, Target};
use crate::servers::Server;
use crate::site::{Site, Size};

/// So many processes that what a host needs besides them is no longer seen.
const CROWD: usize = 10_000;

/// One request in so many crashes its process.
const CRASH_ONE_IN: u64 = 100;

/// Starts of the host, and lives of processes, of which the median counts.
const STARTS: usize = 11;
const LIVES: usize = 20_000;

pub(crate) struct Drills<'a> {
    pub(crate) site: &'a Site,
    /// The pool that is a program (examples/prefork).
    pub(crate) prefork: &'a str,
    /// The worker that does on request what no worker should (examples/misbehave).
    pub(crate) misbehave: &'a str,
    pub(crate) turns: Turns,
}

const OK: Question<'_> = Question {
    path: "/ok",
    body: b"ok\n",
};

impl Drills<'_> {
    pub(crate) fn run(&self) -> anyhow::Result<Vec<Finding>> {
        let mut findings = vec![self.program()?, self.crashes()?, self.spinner()?];
        findings.push(life()?);
        findings.push(self.start()?);
        findings.extend(self.memory()?);
        Ok(findings)
    }

    fn misbehaving(&self) -> anyhow::Result<Server> {
        host_answering(self.site.root(), &["--module", self.misbehave], OK.path)
    }

    fn load<'a>(&self, faults: Faults<'a>) -> Load<'a> {
        Load {
            connections: TARGET_CONNECTIONS,
            keep_alive: true,
            threads: load_threads(),
            warm_up: self.turns.warm_up,
            duration: self.turns.duration,
            faults,
        }
    }

    /// In a program, the listener is a guest too: one message more, and another wall to pass it through.
    fn program(&self) -> anyhow::Result<Finding> {
        let (mut program, mut pool) = (Vec::new(), Vec::new());
        let load = self.load(Faults::Refused);
        let file = self.site.file(Size::Kib1);
        let modes = [["--mode", "pool"], ["--module", self.prefork]];
        for _ in 0..self.turns.rounds {
            for (flags, rates) in modes.iter().zip([&mut pool, &mut program]) {
                let mut server = host(self.site.root(), flags)?;
                rates.push(Turn::measure(&mut server, &load, file)?.requests_per_second);
            }
        }
        let ratio = report::median_ratio(&program, &pool);
        let name = "examples/prefork / host, pool, 1 KiB";
        Ok(Finding::new(name, ratio, "", Target::at_least(0.5, 0.5)))
    }

    /// What it costs all requests that some of them crash: the log of each crash and the next process included.
    fn crashes(&self) -> anyhow::Result<Finding> {
        let crashes = Faults::Provoked {
            path: "/trap",
            one_in: CRASH_ONE_IN,
        };
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..self.turns.rounds {
            for (faults, costs) in [(Faults::Refused, &mut without), (crashes, &mut with)] {
                let turn = Turn::measure(&mut self.misbehaving()?, &self.load(faults), OK)?;
                let is_provoked = matches!(faults, Faults::Provoked { .. });
                ensure!((turn.failed > 0) == is_provoked, "{} crashed", turn.failed);
                costs.push(turn.cpu_seconds_per_1000_requests);
            }
        }
        let ratio = report::median_ratio(&with, &without);
        let name = "CPU per request, 1 % trapping / none";
        Ok(Finding::new(name, ratio, "", Target::at_most(1.1, 1.03)))
    }

    /// What healthy requests notice of a process that computes for ever.
    fn spinner(&self) -> anyhow::Result<Finding> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let load = self.load(Faults::Refused);
        for _ in 0..self.turns.rounds {
            without.push(Turn::measure(&mut self.misbehaving()?, &load, OK)?.p99_ms);
            let mut server = self.misbehaving()?;
            let spinning = server.ask("/spin")?;
            with.push(Turn::measure(&mut server, &load, OK)?.p99_ms);
            spinning.is_running().context("/spin did not spin")?;
        }
        let ratio = report::median_ratio(&with, &without);
        let name = "p99, one process spinning / none";
        Ok(Finding::new(name, ratio, "", Target::at_most(2.0, 1.2)))
    }

    /// From the start of the program to its first response, by the worker that is built in.
    fn start(&self) -> anyhow::Result<Finding> {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let begin = Instant::now();
            let server = host(self.site.root(), &[])?; // which is when it has answered once
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            drop(server);
        }
        let target = Target::at_most(60.0, 20.0);
        let name = "start to first response, built-in worker";
        Ok(Finding::new(name, report::median(times), "ms", target))
    }

    /// What an idle process holds of the machine's memory: by how much the host's resident memory grows from
    /// one process to as many as there may be.
    fn memory(&self) -> anyhow::Result<Vec<Finding>> {
        const TARGET: Target = Target::at_most(40.0, 24.0);

        let per_process = |few: f64, many: f64, number| (many - few) / (number - 1) as f64;
        let finding = |name, number, kib| {
            let name = format!("{name}{}", limits::of(number, CROWD));
            Finding::new(name, kib, "KiB", TARGET)
        };
        let path = Size::Kib1.path();
        let fresh = |workers| self.crowd(workers, &[], path)?.resident_kib();
        let number = limits::processes()?.min(CROWD);
        let started = finding(
            "memory per idle process",
            number,
            per_process(fresh(1)?, fresh(number)?, number),
        );
        let number = limits::processes_and_connections()?.min(CROWD);
        let served = |workers| self.served(workers, number);
        let used = finding(
            "memory per process that has served",
            number,
            per_process(served(1)?, served(number)?, number),
        );
        Ok(vec![started, used])
    }

    /// The resident memory of a host whose processes have all served. Whatever their number, it has the same
    /// number of connections and requests, so that what these leave behind is always there. They come all at
    /// once, and are so slow that one process each is needed, if there are so many.
    fn served(&self, workers: usize, requests: usize) -> anyhow::Result<f64> {
        let slow = if workers == 1 {
            "/slow?ms=0"
        } else {
            "/slow?ms=20000"
        };
        let queue = requests.to_string();
        // The one that asked whether the host is there may still be closing.
        let connections = (requests + 1).to_string();
        let flags = [
            "--module",
            self.misbehave,
            "--expose-pid",
            "--queue",
            &queue,
            "--max-connections",
            &connections,
        ];
        let server = self.crowd(workers, &flags, OK.path)?;
        let asked: anyhow::Result<Vec<_>> = (0..requests).map(|_| server.ask(slow)).collect();
        let mut pids = HashSet::new();
        for pending in asked? {
            let answer = pending.answer()?;
            let pid = answer.lines().find(|line| line.starts_with("x-wasm-pid: "));
            pids.extend(pid.map(str::to_owned));
        }
        ensure!(pids.len() == workers, "{} processes were used", pids.len());
        server.resident_kib()
    }

    /// A host with so many processes.
    fn crowd(&self, workers: usize, flags: &[&str], path: &str) -> anyhow::Result<Server> {
        let workers = workers.to_string();
        let fixed = [
            "--workers",
            &workers,
            "--max-open-files",
            limits::OPEN_FILES,
        ];
        host_answering(self.site.root(), &[&fixed, flags].concat(), path)
    }
}

/// A process for one request: created, asked for a file of 1 KiB, dropped. Without HTTP, on one thread.
fn life() -> anyhow::Result<Finding> {
    let bench = Bench::new(Module::BuiltIn);
    let times = bench.run(async {
        let mut times = Vec::with_capacity(LIVES);
        for _ in 0..LIVES {
            let begin = Instant::now();
            let mut process = bench.start().await;
            bench.call(&mut process).await;
            process.end(Exit::Served);
            times.push(begin.elapsed());
        }
        times
    });
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let median = report::median(times.into_iter().map(us).collect());
    let name = "create a process, serve one request, drop it";
    Ok(Finding::new(name, median, "µs", Target::at_most(12.0, 8.0)))
}
