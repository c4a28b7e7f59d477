//! The *cluster*: what a request costs that another host answers, what a host pays for being one of
//! many, and how hosts add up. All of them share this machine with their `nats-server`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;

use super::Bench;
use super::matrix::Turns;
use super::peers::Peers;
use super::site::KIB_1;
use crate::findings::Target::{self, AtLeast, AtMost};
use crate::load::{Load, Question};
use crate::process::Running;
use crate::quantities::{CPU, P50, RATE};
use crate::results::{Case, Results, Turn};
use crate::server::{self, Server};

const ONE_BY_ONE: &str = "1 KiB, one request at a time, over a cluster";
const MANY: &str = "1 KiB, 32 connections, over a cluster";
const WAITING: &str = "hosts whose processes wait";
const COMPUTING: &str = "hosts that compute, with a quarter of a core each";

const ALONE: &str = "host, alone";
const MEMBER: &str = "host, with --nats";
const HOP: &str = "host, by a front and a worker";
const HOSTS: [&str; 3] = ["1 host", "2 hosts", "3 hosts"];

/// What the hop adds to one request: a message to a server and on to a host, and back.
const MOST_ADDED_US: f64 = 120.0;

/// A request waits for so long. Each host has so many processes, and enough clients for all.
const SLOW: Question<'_> = Question {
    path: "/slow?ms=20",
    body: b"slept 20 ms\n",
};
const PROCESSES: usize = 4;
const CLIENTS_PER_HOST: usize = 2 * PROCESSES;

/// A request computes for some milliseconds.
const COMPUTE: Question<'_> = Question {
    path: "/compute?rounds=1000000",
    body: b"computed 1000000 rounds\n",
};

/// A quarter of a core, as the kernel's scheduler gives it: so much of each period.
const PERIOD_US: u32 = 20_000;
const QUOTA_US: u32 = PERIOD_US / 4;

const RATIOS: &[(&str, [&str; 2], &str, Target)] = &[
    (MANY, [MEMBER, ALONE], RATE, AtLeast(0.98, 1.0)),
    (MANY, [HOP, ALONE], RATE, Target::None),
    (MANY, [HOP, ALONE], CPU, AtMost(2.5, 1.8)),
    (ONE_BY_ONE, [HOP, ALONE], P50, Target::None),
    (WAITING, [HOSTS[1], HOSTS[0]], RATE, AtLeast(1.9, 2.0)),
    (WAITING, [HOSTS[2], HOSTS[0]], RATE, AtLeast(2.9, 3.0)),
    (COMPUTING, [HOSTS[1], HOSTS[0]], RATE, AtLeast(1.8, 2.0)),
    (COMPUTING, [HOSTS[2], HOSTS[0]], RATE, AtLeast(2.7, 3.0)),
];

pub(super) fn judge(results: &mut Results) {
    let rounds = |one| results.rounds((one, ONE_BY_ONE), P50).map(<[f64]>::to_vec);
    if let (Some(alone), Some(hop)) = (rounds(ALONE), rounds(HOP)) {
        let added = alone
            .iter()
            .zip(&hop)
            .map(|(alone, hop)| (hop - alone) * 1e3);
        let added = added.collect::<Vec<_>>();
        results.find_value(
            "latency that the hop adds, p50",
            added,
            "µs",
            AtMost(MOST_ADDED_US, 65.0),
        );
    }
    for (case, contestants, quantity, target) in RATIOS {
        results.find_ratio(case, *contestants, quantity, *target);
    }
}

/// A server of NATS with an empty store. Dropping it ends it.
pub(super) struct Nats {
    pub(super) process: Running,
    pub(super) url: String,
    _store: TempDir,
}

impl Nats {
    pub(super) fn start(program: &Path) -> anyhow::Result<Self> {
        let store = tempfile::tempdir()?;
        let address = server::free_address()?;
        let mut command = Command::new(program);
        command.args(["-js", "-a", "127.0.0.1", "-p", &address.port().to_string()]);
        command.arg("-sd").arg(store.path());
        let process = Running::start("nats-server", command)?;
        server::wait_for(&process, address)?;
        Ok(Self {
            process,
            url: format!("nats://{address}"),
            _store: store,
        })
    }
}

/// A group of the kernel's whose processes have a part of a core. Dropping it gives it back.
struct Quarter(PathBuf);

impl Quarter {
    /// # Errors
    /// If this user may not make one.
    fn of(process: &Running) -> anyhow::Result<Self> {
        let name = format!("wasm-pool-bench-{}", process.group());
        let (first, second) = (Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup"));
        let is_first = first.join("cpu.cfs_quota_us").exists();
        let this = Self(if is_first { first } else { second }.join(name));
        fs::create_dir(&this.0).with_context(|| format!("can't make {}", this.0.display()))?;
        let write = |file: &str, text: String| {
            let file = this.0.join(file);
            fs::write(&file, text).with_context(|| format!("can't write {}", file.display()))
        };
        if is_first {
            write("cpu.cfs_period_us", PERIOD_US.to_string())?;
            write("cpu.cfs_quota_us", QUOTA_US.to_string())?;
        } else {
            write("cpu.max", format!("{QUOTA_US} {PERIOD_US}"))?;
        }
        write("cgroup.procs", process.group().to_string())?;
        Ok(this)
    }
}

impl Drop for Quarter {
    fn drop(&mut self) {
        // The kernel gives it back once its processes have ended. They are about to.
        let give_up = Instant::now() + Duration::from_secs(2);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < give_up {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A front, and workers with this module.
struct Cluster {
    front: Server,
    /// Behind the front: its end ends the processes in them.
    _quarters: Vec<Quarter>,
}

impl Bench {
    /// Nothing if `nats-server` is not installed.
    pub(super) fn cluster<'a>(&'a self, peers: &'a Peers) -> Vec<Case<'a>> {
        let Some(nats) = &peers.nats else {
            return Vec::new();
        };
        let nats = nats.path();
        let turns = self.pace.target;
        let one = move |name| self.over(nats, name, turns.load(1));
        let many = move |name| self.over(nats, name, turns.target_load());
        let adding = move |name, count, question, is_bounded| {
            case_of_hosts(
                name,
                turns,
                move |hosts| self.hosts(nats, hosts, question, is_bounded, &turns),
                count,
            )
        };
        let mut cases = vec![
            [ALONE, HOP]
                .into_iter()
                .fold(Case::new(ONE_BY_ONE, turns.rounds), |case, name| {
                    case.with(name, one(name))
                }),
            [ALONE, MEMBER, HOP]
                .into_iter()
                .fold(Case::new(MANY, turns.rounds), |case, name| {
                    case.with(name, many(name))
                }),
            adding(WAITING, HOSTS.len(), SLOW, false),
            adding(COMPUTING, HOSTS.len(), COMPUTE, true),
        ];
        for case in &mut cases {
            case.is_needed = false;
        }
        cases
    }

    /// Measures a host alone, as one of many, or as a front with one worker.
    fn over<'a>(
        &'a self,
        nats: &'a Path,
        name: &'static str,
        load: Load<'static>,
    ) -> impl Fn() -> anyhow::Result<Turn> + 'a {
        move || {
            if name == ALONE {
                return self.site.measure(&[], &load);
            }
            let nats = Nats::start(nats)?;
            let flags = ["--nats", &nats.url];
            let mut server = if name == MEMBER {
                self.site.host(&flags)?.beside(vec![nats.process])
            } else {
                self.front(nats, (&[], KIB_1.path), 1, false)?.front
            };
            server.measure(&load, self.site.file(KIB_1))
        }
    }

    /// Measures so many hosts behind a front.
    fn hosts(
        &self,
        nats: &Path,
        hosts: usize,
        question: Question<'_>,
        is_bounded: bool,
        turns: &Turns,
    ) -> anyhow::Result<Turn> {
        let (module, processes) = (self.module("misbehave.wasm"), PROCESSES.to_string());
        let flags = ["--module", &module, "--workers", &processes];
        let nats = Nats::start(nats)?;
        let mut cluster = self.front(nats, (&flags, question.path), hosts, is_bounded)?;
        let load = turns.load(CLIENTS_PER_HOST * hosts);
        cluster.front.measure(&load, question)
    }

    /// Starts workers with these flags, which answer this path, and a front.
    fn front(
        &self,
        nats: Nats,
        (flags, path): (&[&str], &str),
        workers: usize,
        is_bounded: bool,
    ) -> anyhow::Result<Cluster> {
        let (mut others, mut quarters) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let mut command = self.site.worker();
            command.args(["--nats", &nats.url]).args(flags);
            let worker = Running::start("a worker", command)?;
            worker.line("it did not start")?;
            if is_bounded {
                quarters.push(Quarter::of(&worker)?);
            }
            others.push(worker);
        }
        let front = self.site.front(&["--nats", &nats.url])?;
        // The front has asked who is there. Its line holds this request until somebody is.
        front.ask(path)?;
        others.push(nats.process);
        Ok(Cluster {
            front: front.beside(others),
            _quarters: quarters,
        })
    }
}

fn case_of_hosts<'a>(
    name: &'static str,
    turns: Turns,
    measure: impl Fn(usize) -> anyhow::Result<Turn> + Copy + 'a,
    count: usize,
) -> Case<'a> {
    let case = Case::new(name, turns.rounds);
    (1..=count).fold(case, |case, hosts| {
        case.with(HOSTS[hosts - 1], move || measure(hosts))
    })
}
