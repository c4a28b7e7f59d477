//! The host beside its peers: in one run on one machine, all taking turns, several rounds, medians
//! and spread.
//!
//! ```text
//! make compare                                   installs the peers, and runs all: half an hour
//! cargo bench --bench compare                    the same without installing anything
//! cargo bench --bench compare -- --ours          without peers: the quick measurement, six minutes
//! cargo bench --bench compare -- --soak          only ten million requests, and their traces
//! cargo bench --bench compare -- --quick         a short round over everything: is all in order?
//! cargo bench --bench compare -- --render FILE   tables and plot of results that were kept as JSON
//! ```
//!
//! Figures differ from machine to machine and from hour to hour. Ratios do so less, and the targets
//! are ratios. Load and servers share the machine's cores. A full run writes `host/bench/results/`.
//! A missed target is a line of the report, and so is a peer that can't do something. This ends
//! with an error only where the host itself can't be run, or answers wrongly.

mod contestants;
mod drills;
mod matrix;
mod peers;
mod plots;
mod results;
mod scaling;
mod site;
mod tables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use wasm_pool_guest_build::{build, workspace};

use crate::limits;
use contestants::{BE_NATIVE, Field};
use drills::Drills;
use matrix::{Cell, Pace, Turns};
use results::{Origin, Results};
use site::{Site, Size};

/// Where targets are, figures must be trusted: five rounds of two seconds. Three short rounds
/// elsewhere, since the whole would otherwise take an hour.
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

/// Does what the arguments ask for, with this program as the host.
///
/// # Errors
/// Where the host can't be run, or answers wrongly.
pub fn main(program: &Path) -> anyhow::Result<()> {
    let mut args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|first| first == BE_NATIVE) {
        args.remove(0);
        return contestants::be_native(args);
    }
    args.retain(|arg| arg != "--bench"); // which cargo adds
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    limits::raise_both();
    let bench = || Bench::new(program);
    let passing = workspace().join("target/compare");
    match &args.iter().map(AsRef::as_ref).collect::<Vec<&str>>()[..] {
        // README speaks of these results.
        [] => keep(
            &bench()?.everything(FULL, SOAK_REQUESTS)?,
            &workspace().join("host/bench/results"),
        ),
        ["--quick"] => keep(&bench()?.everything(QUICK, QUICK_SOAK_REQUESTS)?, &passing),
        ["--ours"] => show(&bench()?.ours()?),
        ["--soak"] => {
            println!(
                "{}",
                tables::soak(&scaling::soak(&bench()?.site, SOAK_REQUESTS)?)
            );
            Ok(())
        }
        ["--render", file] => {
            // cargo runs benches in their package's folder, where hardly anybody types a path.
            let file = workspace().join(file);
            keep(&Results::read(&file)?, file.parent().unwrap_or(&passing))
        }
        _ => bail!("{args:?}: there are --ours, --quick, --soak, and --render FILE, one at a time"),
    }
}

/// Writes results into this folder, and shows them.
fn keep(results: &Results, folder: &Path) -> anyhow::Result<()> {
    let file = results.write(folder)?;
    println!("written: {}\n", file.display());
    show(results)
}

/// Prints results. A fault of the host is an error only afterwards: half an hour of figures is not
/// thrown away.
fn show(results: &Results) -> anyhow::Result<()> {
    println!("{}", tables::markdown(results));
    let entries = results.entries.iter();
    for entry in entries.filter(|entry| entry.contestant.is_host()) {
        let name = entry.contestant.name();
        let fault = entry.obstacle.as_deref().unwrap_or_default();
        ensure!(fault.is_empty(), "{name}, {}: {fault}", entry.cell.name());
    }
    Ok(())
}

/// What is served, and by which guests.
struct Bench {
    site: Site,
    /// The worker that does on request what no worker should.
    misbehave: PathBuf,
    /// The pool that is a program.
    prefork: PathBuf,
    /// The component that `wasmtime serve` runs.
    wasi_http: PathBuf,
}

impl Bench {
    fn new(program: &Path) -> anyhow::Result<Self> {
        let guests = build(workspace(), &["misbehave", "prefork", "wasi-http-files"]);
        let guests = guests.map_err(anyhow::Error::msg)?;
        Ok(Self {
            site: Site::new(program)?,
            misbehave: guests.join("misbehave.wasm"),
            prefork: guests.join("prefork.wasm"),
            wasi_http: guests.join("wasi_http_files.wasm"),
        })
    }

    fn everything(&self, pace: Pace, soak_requests: f64) -> anyhow::Result<Results> {
        let field = Field::find(&self.wasi_http);
        let versions = field.versions();
        for (name, _) in versions.iter().filter(|(_, version)| version.is_none()) {
            eprintln!("{name} is not installed, and not compared: make compare installs it");
        }
        // Drills are quick and can fail, so they come first.
        let drills = self.drills(pace.target).run()?;
        let scaling = scaling::curves(&self.site, pace.other)?;
        let soak = scaling::soak(&self.site, soak_requests)?;
        let entries = matrix::run(&field, &self.site, pace, &Cell::all())?;
        let mut findings = matrix::ratios(&entries);
        findings.extend(drills);
        Ok(Results {
            machine: Origin::here(),
            versions,
            findings,
            entries,
            scaling,
            soak: Some(soak),
        })
    }

    /// Only what needs no peers, where the targets are.
    fn ours(&self) -> anyhow::Result<Results> {
        let field = Field::without_peers();
        let entries = matrix::run(&field, &self.site, FULL, &Size::ALL.map(Cell::target))?;
        let mut findings = matrix::ratios(&entries);
        findings.extend(self.drills(FULL.target).run()?);
        Ok(Results {
            machine: Origin::here(),
            versions: Vec::new(),
            findings,
            entries,
            scaling: Vec::new(),
            soak: None,
        })
    }

    fn drills(&self, turns: Turns) -> Drills<'_> {
        Drills {
            site: &self.site,
            prefork: &self.prefork,
            misbehave: &self.misbehave,
            turns,
        }
    }
}

/// A path as an argument of a command line that is text.
fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is not Unicode")
}
