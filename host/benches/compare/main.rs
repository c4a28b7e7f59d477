//! The host beside its peers: in one run on one machine, all taking turns, several rounds, medians and spread.
//!
//! ```text
//! make compare                                   installs the peers, and runs all of this: half an hour
//! cargo bench --bench compare                    the same without installing anything
//! cargo bench --bench compare -- --ours          without peers: the quick measurement, six minutes
//! cargo bench --bench compare -- --soak          only ten million requests, and what they leave behind
//! cargo bench --bench compare -- --quick         a short round over everything: is all in order?
//! cargo bench --bench compare -- --render FILE   tables and plot of results that were kept as JSON
//! ```
//!
//! Figures differ from machine to machine and from hour to hour; ratios do so less, and the targets are
//! ratios. Load and servers share the machine's cores. A full run writes `host/benches/results/`. A missed
//! target is a line of the report, and so is a peer that can't do something; this ends with an error only where
//! the host itself can't be run, or answers wrongly.

mod contestants;
mod cost;
mod drills;
mod findings;
#[path = "../shared/handler.rs"]
mod handler;
mod limits;
#[path = "../../program/src/bench/load/mod.rs"]
mod load;
mod matrix;
#[allow(dead_code)] // its own door
#[path = "../../examples/native.rs"]
mod native;
mod peers;
mod plot;
#[path = "../shared/report.rs"]
mod report;
mod results;
mod scaling;
mod servers;
mod site;
mod tables;

#[allow(dead_code)] // the build script uses the rest of it
#[path = "../../guest_build.rs"]
mod guest_build;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use contestants::{BE_NATIVE, Field};
use drills::Drills;
use matrix::{Entry, Pace, Turns};
use results::{Machine, Results};
use site::Site;

/// Where targets are, figures are to be trusted: five rounds of two seconds. Everywhere else three short ones
/// must do, lest it take an hour.
const FULL: Pace = Pace {
    target: turns(5, 400, 2000),
    other: turns(3, 200, 600),
};
const QUICK: Pace = Pace {
    target: turns(1, 100, 200),
    other: turns(1, 100, 100),
};

const SOAK_REQUESTS: f64 = 10e6;
const QUICK_SOAK_REQUESTS: f64 = 10e3;

const fn turns(rounds: usize, warm_up_ms: u64, duration_ms: u64) -> Turns {
    Turns {
        rounds,
        warm_up: Duration::from_millis(warm_up_ms),
        duration: Duration::from_millis(duration_ms),
    }
}

/// What shall be done.
enum Task {
    Everything,
    Ours,
    Quick,
    Soak,
    Render(PathBuf),
}

fn main() -> anyhow::Result<()> {
    let mut args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|first| first == BE_NATIVE) {
        args.remove(0);
        return native::run(args);
    }
    args.retain(|arg| arg != "--bench"); // which is what cargo adds
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let task = match &args.iter().map(AsRef::as_ref).collect::<Vec<&str>>()[..] {
        [] => Task::Everything,
        ["--ours"] => Task::Ours,
        ["--quick"] => Task::Quick,
        ["--soak"] => Task::Soak,
        // cargo runs us in the host's folder; who types a path is seldom there.
        ["--render", file] => Task::Render(workspace()?.join(file)),
        _ => bail!("{args:?}: there are --ours, --quick, --soak, and --render FILE, one at a time"),
    };
    limits::raise()?;
    // What README speaks of, and what is to be looked at once.
    let kept = workspace()?.join("host/benches/results");
    let passing = workspace()?.join("target/compare");
    match task {
        Task::Everything => keep(&compare(FULL, SOAK_REQUESTS)?, &kept),
        Task::Quick => keep(&compare(QUICK, QUICK_SOAK_REQUESTS)?, &passing),
        Task::Render(file) => keep(&Results::read(&file)?, file.parent().unwrap_or(&passing)),
        Task::Ours => ours(),
        Task::Soak => soak(),
    }
}

/// All of it.
fn compare(pace: Pace, soak_requests: f64) -> anyhow::Result<Results> {
    let (site, guests) = (Site::new()?, Guests::build()?);
    let field = Field::find(guests.wasi_http.clone());
    let versions = field.versions();
    for (name, _) in versions.iter().filter(|(_, version)| version.is_none()) {
        eprintln!("{name} is not installed, and not compared: make compare installs it");
    }
    // What is quick and can fail comes first.
    let drills = guests.drills(&site, pace.target).run()?;
    let scaling = scaling::curves(&site, pace.other)?;
    let soak = scaling::soak(&site, soak_requests)?;
    let entries = matrix::run(&field, &site, pace, &matrix::Cell::all());
    let mut findings = findings::ratios(&entries);
    findings.extend(drills);
    Ok(Results {
        machine: Machine::this()?,
        versions,
        findings,
        entries,
        scaling,
        soak: Some(soak),
    })
}

/// The host itself did all that it was asked to.
fn check(entries: &[Entry]) -> anyhow::Result<()> {
    for entry in entries.iter().filter(|entry| entry.contestant.is_host()) {
        let name = entry.contestant.name();
        let fault = entry.obstacle.as_deref().unwrap_or_default();
        ensure!(fault.is_empty(), "{name}, {}: {fault}", entry.cell.name());
    }
    Ok(())
}

/// Writes them into this folder, and prints them. What went wrong with the host is an error only then: half an
/// hour of figures is not thrown away.
fn keep(results: &Results, folder: &Path) -> anyhow::Result<()> {
    let file = results.write(folder)?;
    println!("{}\nwritten: {}", tables::markdown(results), file.display());
    check(&results.entries)
}

/// Only what needs no peers, where the targets are.
fn ours() -> anyhow::Result<()> {
    let (site, guests) = (Site::new()?, Guests::build()?);
    let cells = site::Size::ALL.map(matrix::Cell::target);
    let field = Field::none(guests.wasi_http.clone());
    let entries = matrix::run(&field, &site, FULL, &cells);
    let mut findings = findings::ratios(&entries);
    findings.extend(guests.drills(&site, FULL.target).run()?);
    let results = Results {
        machine: Machine::this()?,
        versions: Vec::new(),
        findings,
        entries,
        scaling: Vec::new(),
        soak: None,
    };
    println!("{}", tables::markdown(&results));
    check(&results.entries)
}

fn soak() -> anyhow::Result<()> {
    let soak = scaling::soak(&Site::new()?, SOAK_REQUESTS)?;
    println!("{}", tables::soak(&soak));
    Ok(())
}

/// The guests that are measured, compiled.
struct Guests {
    misbehave: String,
    prefork: String,
    wasi_http: PathBuf,
}

impl Guests {
    fn build() -> anyhow::Result<Self> {
        let folder = guest_build::build(workspace()?, &["misbehave", "prefork", "wasi-http-files"]);
        let folder = folder.map_err(anyhow::Error::msg)?;
        let path = |name| folder.join(name).into_os_string().into_string().ok();
        let module = |name| path(name).context("a path that is not Unicode");
        Ok(Self {
            misbehave: module("misbehave.wasm")?,
            prefork: module("prefork.wasm")?,
            wasi_http: folder.join("wasi_http_files.wasm"),
        })
    }

    fn drills<'a>(&'a self, site: &'a Site, turns: Turns) -> Drills<'a> {
        Drills {
            site,
            prefork: &self.prefork,
            misbehave: &self.misbehave,
            turns,
        }
    }
}

fn workspace() -> anyhow::Result<&'static Path> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    workspace.context("the host is not in its workspace")
}
