//! How fast the house is, beside what it could be: ratios from one run, in which all take turns.
//!
//! ```text
//! cargo bench --bench throughput              some three minutes
//! cargo bench --bench throughput -- --quick   one round: is everything in order?
//! ```
//!
//! Figures differ from machine to machine and from hour to hour; ratios do so less, and the targets are
//! ratios. Load and server share the machine's cores. A missed target is a line of the report, not a failure:
//! this ends with an error only where something can't be run or answers wrongly.

#[path = "../../src/bench/load/mod.rs"]
mod load;
#[allow(dead_code)] // its own door
#[path = "../../examples/native.rs"]
mod native;
#[path = "../shared/report.rs"]
mod report;
mod series;
mod servers;

#[allow(dead_code)] // the build script uses the rest of it
#[path = "../../guest_build.rs"]
mod guest_build;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use load::{Faults, Load, Question, Sample};
use report::Target;
use series::Series;
use servers::Server;

/// How long each server is measured in a round.
const TURN: Duration = Duration::from_secs(2);

/// What the targets speak of: so many connections that a server with few cores is never idle.
const LOAD: Load<'_> = Load {
    connections: 32,
    keep_alive: true,
    threads: 1,
    warm_up: Duration::from_millis(500),
    duration: TURN,
    faults: Faults::Refused,
};

/// Rounds, of which the median counts.
const ROUNDS: usize = 5;

/// Starts, of which the median counts.
const STARTS: usize = 11;

/// So many processes that what a host needs besides them is no longer seen.
const PROCESSES: u16 = 1000;

fn main() -> anyhow::Result<()> {
    let mut args: Vec<_> = std::env::args_os().skip(1).collect();
    if args
        .first()
        .is_some_and(|first| first == servers::BE_NATIVE)
    {
        args.remove(0);
        return native::run(args);
    }
    let is_quick = args.iter().any(|arg| arg == "--quick");
    let rounds = if is_quick { 1 } else { ROUNDS };

    raise_descriptor_limit()?;
    let root = tempfile::tempdir()?;
    std::fs::write(root.path().join("file"), file())?;
    let guests = guests()?;
    let misbehave = guests.join("misbehave.wasm");
    throughput(root.path(), &guests.join("prefork.wasm"), rounds)?;
    spinner(root.path(), &misbehave, rounds)?;
    memory(root.path(), &misbehave)?;
    start(root.path(), if is_quick { 1 } else { STARTS })
}

/// The load needs a socket per connection; soft limits are often at 1024.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?)
}

/// 1 KiB in which no two neighbours are alike.
fn file() -> Vec<u8> {
    (0..=255).cycle().take(1024).collect()
}

/// The folder with the guests that are measured: the one that goes wrong on request, and the pool that is a
/// program.
fn guests() -> anyhow::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let workspace = workspace.context("the host is not in its workspace")?;
    guest_build::build(workspace, &["misbehave", "prefork"]).map_err(anyhow::Error::msg)
}

/// A file of 1 KiB, through the host and without it.
fn throughput(root: &Path, prefork: &Path, rounds: usize) -> anyhow::Result<()> {
    let program = prefork.to_str().context("a path that is not Unicode")?;
    let content = file();
    let file = Question {
        path: "/file",
        body: &content,
    };
    let same = Question {
        path: "/",
        body: &native::CONSTANT,
    };
    let mut ceiling = Series::new("ceiling: hyper, constant answer");
    let mut native = Series::new("native: hyper, open+read+close");
    let mut pool = Series::new("host, --mode pool");
    let mut prefork = Series::new("host, examples/prefork");
    let mut per_request = Series::new("host, --mode per-request");
    for _ in 0..rounds {
        ceiling.add(measure(&servers::constant()?, same)?);
        native.add(measure(&servers::native(root)?, file)?);
        pool.add(measure(&servers::host(root, &["--mode", "pool"])?, file)?);
        prefork.add(measure(
            &servers::host(root, &["--module", program])?,
            file,
        )?);
        per_request.add(measure(
            &servers::host(root, &["--mode", "per-request"])?,
            file,
        )?);
    }
    report::heading("1 KiB, 32 keep-alive connections");
    series::table(&[&ceiling, &native, &pool, &prefork, &per_request]);
    let rate = |sample: &Sample| sample.per_second;
    pool.ratio("pool / native", &native, rate, Target::AtLeast(0.9));
    per_request.ratio("per-request / pool", &pool, rate, Target::AtLeast(0.75));
    // In a program, the listener is a guest too: one message more, and another wall to pass it through.
    prefork.ratio("prefork / pool", &pool, rate, Target::AtLeast(0.5));
    pool.ratio("pool / ceiling", &ceiling, rate, Target::None);
    Ok(())
}

/// What healthy requests notice of a process that computes for ever.
fn spinner(root: &Path, misbehave: &Path, rounds: usize) -> anyhow::Result<()> {
    let module = misbehave.to_str().context("a path that is not Unicode")?;
    let ok = Question {
        path: "/ok",
        body: b"ok\n",
    };
    let mut without = Series::new("all processes are healthy");
    let mut with = Series::new("one more spins all the while");
    for _ in 0..rounds {
        without.add(measure(&servers::host(root, &["--module", module])?, ok)?);
        let server = servers::host(root, &["--module", module])?;
        let spinning = server.ask("/spin")?;
        with.add(measure(&server, ok)?);
        spinning.is_running().context("/spin did not spin")?;
    }
    report::heading("healthy requests beside a spinning process (examples/misbehave, /ok)");
    series::table(&[&without, &with]);
    let tail = |sample: &Sample| sample.p99.as_secs_f64();
    with.ratio("p99 with / without", &without, tail, Target::AtMost(3.0));
    Ok(())
}

fn measure(server: &Server, question: Question<'_>) -> anyhow::Result<Sample> {
    Ok(load::run(server.address, &LOAD, question)?)
}

/// What an idle process holds of the machine's memory: by how much the host's resident memory grows from
/// one process to [`PROCESSES`].
fn memory(root: &Path, misbehave: &Path) -> anyhow::Result<()> {
    report::heading("resident memory per idle process");
    let target = Target::AtMost(64.0);
    let per_process = |one: f64, many: f64| (many - one) / f64::from(PROCESSES - 1);

    let started = |workers: u16| crowd(root, workers, &[])?.resident_kib();
    let fresh = per_process(started(1)?, started(PROCESSES)?);
    report::value("started (built-in worker)", fresh, "KiB", target);

    // Both hosts have the same number of connections and requests, so that what these leave behind is in
    // both. They come all at once, and are so slow that one process each is needed, if there are so many.
    let module = misbehave.to_str().context("a path that is not Unicode")?;
    let used = |workers: u16, path: &str| {
        let server = crowd(root, workers, &["--module", module, "--expose-pid"])?;
        let asked: anyhow::Result<Vec<_>> = (0..PROCESSES).map(|_| server.ask(path)).collect();
        let mut pids = HashSet::new();
        for pending in asked? {
            let answer = pending.answer()?;
            pids.extend(
                answer
                    .lines()
                    .find(|line| line.starts_with("x-wasm-pid: "))
                    .map(str::to_owned),
            );
        }
        anyhow::ensure!(
            pids.len() == usize::from(workers),
            "{} processes were used",
            pids.len()
        );
        server.resident_kib()
    };
    let served = per_process(used(1, "/slow?ms=1")?, used(PROCESSES, "/slow?ms=5000")?);
    report::value(
        "after a request (examples/misbehave)",
        served,
        "KiB",
        target,
    );
    Ok(())
}

/// A host with so many processes. Few open files each: the host promises descriptors to all of them, and
/// some systems don't have so many.
fn crowd(root: &Path, workers: u16, flags: &[&str]) -> anyhow::Result<Server> {
    let workers = workers.to_string();
    let fixed = ["--workers", &workers, "--max-open-files", "4"];
    servers::host(root, &[&fixed, flags].concat())
}

/// From the start of the program to its first response.
fn start(root: &Path, starts: usize) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for _ in 0..starts {
        let begin = Instant::now();
        let server = servers::host(root, &[])?;
        server.ask("/file")?.answer()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    report::heading("start to first response (built-in worker)");
    let target = Target::AtMost(150.0);
    report::value("median", report::median(times), "ms", target);
    Ok(())
}
