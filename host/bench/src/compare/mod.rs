//! Measures the host beside its peers, in one run on one machine. All take turns in several rounds.
//! The results are medians and spread.
//!
//! ```text
//! make compare                                   installs the peers, and runs all: half an hour
//! cargo bench --bench compare                    the same without installing anything
//! cargo bench --bench compare -- --ours          without peers: the quick measurement, six minutes
//! cargo bench --bench compare -- --doors         only TLS, HTTP/2 and confinement, beside nginx
//! cargo bench --bench compare -- --cluster       only hosts of a cluster, and their messages
//! cargo bench --bench compare -- --soak          only ten million requests, and their traces
//! cargo bench --bench compare -- --quick         a short round over everything: is all in order?
//! cargo bench --bench compare -- --render FILE   tables and chart of results that are kept as JSON
//! ```
//!
//! Figures differ from machine to machine and from hour to hour. Ratios differ less, and the
//! targets are ratios. Load and servers share the machine's cores. A full run writes
//! `host/bench/results/`. A missed target is a line of the report, and so is a peer that can't
//! serve a cell. The bench fails only if the host itself can't be run, or answers wrongly.

mod between;
mod cluster;
mod contestants;
mod doors;
mod drills;
mod matrix;
mod peers;
mod site;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use wasm_pool_guest_build::{build, workspace};

use crate::chart::{self, Panel};
use crate::limits;
use crate::progress::Progress;
use crate::quantities::{CPU, P99, RATE};
use crate::results::{Case, Results};
use crate::table;
use contestants::{BE_NATIVE, Contestant, is_host};
use drills::SCALING;
use matrix::{Cell, Pace, Turns};
use peers::Peers;
use site::{KIB_1, SIZES, Site};

/// Figures with targets must be reliable: they get five rounds of two seconds. All others get three
/// short rounds, since the whole would otherwise take an hour.
const FULL: Pace = Pace {
    target: turns(5, 400, 2000),
    other: turns(3, 200, 600),
    soak_requests: 10e6,
};
const QUICK: Pace = Pace {
    target: turns(1, 100, 200),
    other: turns(1, 100, 100),
    soak_requests: 10e3,
};

const TITLE: &str = "wasm-pool-host beside its peers";
const INTRODUCTION: &str = "\
    Load and servers share the cores. Targets are of 32 connections that are kept, unless they say\n\
    otherwise. Figures are medians over the rounds, in which all take turns, and behind them is how far\n\
    the rounds lie apart, in percent of the median. CPU is seconds per 1,000 requests, of the server and\n\
    all its children, in user mode and in the kernel. Memory is the sum of what each of its processes\n\
    held at most; pages that they share are counted with each, and CGI programs, which have ended by\n\
    then, are not.";

const fn turns(rounds: usize, warm_up_ms: u64, duration_ms: u64) -> Turns {
    Turns {
        rounds,
        warm_up: Duration::from_millis(warm_up_ms),
        duration: Duration::from_millis(duration_ms),
    }
}

/// Does what the arguments request, with this program as the host.
///
/// # Errors
/// If the host can't be run, or answers wrongly.
pub fn main(program: &Path) -> anyhow::Result<()> {
    let mut args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|first| first == BE_NATIVE) {
        args.remove(0);
        return contestants::be_native(args);
    }
    args.retain(|arg| arg != "--bench"); // cargo adds this
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    limits::raise_both();
    let bench = |pace| Bench::new(program, pace);
    let passing = workspace().join("target/compare");
    match &args.iter().map(AsRef::as_ref).collect::<Vec<&str>>()[..] {
        // docs/comparison.md quotes these results.
        [] => keep(
            &bench(FULL)?.everything()?,
            &workspace().join("host/bench/results"),
        ),
        ["--quick"] => keep(&bench(QUICK)?.everything()?, &passing),
        // Only measurements without peers, of the cells with targets.
        ["--ours"] => {
            let bench = bench(FULL)?;
            let targets = SIZES.map(Cell::target);
            show(&bench.measure(&Peers::default(), &targets, bench.drills())?)
        }
        [part @ ("--doors" | "--cluster")] => {
            let bench = bench(FULL)?;
            let peers = Peers::find(Path::new(""))?;
            let cases = match *part {
                "--doors" => Vec::from_iter(bench.doors(&peers)),
                _ => {
                    let mut cases = bench.cluster(&peers);
                    cases.extend(bench.between(&peers));
                    cases
                }
            };
            ensure!(
                !cases.is_empty(),
                "{part}: h2load or nats-server is not installed"
            );
            let mut results = blank(&peers);
            run(&mut results, &cases)?;
            match *part {
                "--doors" => doors::judge(&mut results),
                _ => {
                    cluster::judge(&mut results);
                    between::judge(&mut results);
                }
            }
            let folder = workspace().join("host/bench/results");
            save(&results, &folder, &part.replace("--", "-"))?;
            show(&results)
        }
        ["--soak"] => {
            let mut results = blank(&Peers::default());
            run(&mut results, &[bench(FULL)?.soak()])?;
            show(&results)
        }
        ["--render", file] => {
            // cargo runs benches in their package's folder. Users hardly ever type paths relative
            // to that folder.
            let file = workspace().join(file);
            let text = fs::read(&file).with_context(|| format!("can't read {}", file.display()))?;
            let results = serde_json::from_slice(&text);
            let results = results.with_context(|| format!("{} has no results", file.display()))?;
            keep(&results, file.parent().unwrap_or(&passing))
        }
        _ => bail!(
            "{args:?}: there are --ours, --quick, --doors, --cluster, --soak, and --render FILE, one at a time"
        ),
    }
}

/// Writes the results into this folder, named by day and commit, and shows them. A later run
/// replaces them only if it has the same name.
fn keep(results: &Results, folder: &Path) -> anyhow::Result<()> {
    let name = save(results, folder, "")?;
    fs::write(name.with_extension("svg"), svg(results)?)?;
    show(results)
}

/// Writes the results of a part and their tables. Returns their name without an ending.
fn save(results: &Results, folder: &Path, part: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let day = results.date.split('T').next().unwrap_or_default();
    let commit = results.commit.as_deref().unwrap_or("unknown");
    let name = folder.join(format!("{day}-{commit}{part}"));
    let tables = name.with_extension("md");
    let json = serde_json::to_string_pretty(results)? + "\n";
    fs::write(name.with_extension("json"), json)?;
    fs::write(&tables, table::markdown(results, TITLE, INTRODUCTION))?;
    println!("written: {}\n", tables.display());
    Ok(name)
}

/// Prints results. If the host has failed, returns the error only afterwards, since half an hour of
/// figures must not be lost.
fn show(results: &Results) -> anyhow::Result<()> {
    println!("{}", table::markdown(results, TITLE, INTRODUCTION));
    let mut gaps = results.not_measured.iter();
    match gaps.find(|gap| is_host(&gap.contestant)) {
        Some(gap) => bail!("{}, {}: {}", gap.contestant, gap.case, gap.why),
        None => Ok(()),
    }
}

/// Measures the servers with files of 1 KiB, and how the pool scales.
fn svg(results: &Results) -> anyhow::Result<String> {
    let case = Cell::target(KIB_1).name();
    let (rate, cpu) = ("requests per second", "seconds per 1,000 requests");
    let left = [
        Panel::new("Throughput: more is better", &case, &[RATE], rate).linear(),
        Panel::new("Latency, p99: less is better", &case, &[P99], "ms"),
    ];
    let right = [
        Panel::new("CPU time: less is better", &case, &[CPU], cpu),
        Panel::new("The pool, and how it scales", SCALING, &[RATE], rate).linear(),
    ];
    let title = format!("{TITLE}: {case}");
    chart::svg(results, &title, is_host, &[&left, &right])
}

/// The files to serve, and the durations.
struct Bench {
    site: Site,
    /// The folder of the guests.
    guests: PathBuf,
    pace: Pace,
}

impl Bench {
    fn new(program: &Path, pace: Pace) -> anyhow::Result<Self> {
        let guests = build(
            workspace(),
            &["between", "misbehave", "prefork", "wasi-http-files"],
        );
        Ok(Self {
            site: Site::new(program)?,
            guests: guests.map_err(anyhow::Error::msg)?,
            pace,
        })
    }

    fn everything(&self) -> anyhow::Result<Results> {
        let peers = Peers::find(&self.guests.join("wasi_http_files.wasm"))?;
        for (name, version) in peers.versions().as_object().into_iter().flatten() {
            if version.is_null() {
                eprintln!("{name} is not installed, and not compared: make compare installs it");
            }
        }
        // Drills are short and can fail, so they run first.
        let mut cases = self.drills();
        cases.extend(self.doors(&peers));
        cases.extend(self.cluster(&peers));
        cases.extend(self.between(&peers));
        cases.extend([self.scaling(), self.soak()]);
        self.measure(&peers, &Cell::all(), cases)
    }

    /// Measures these cases and cells, and judges the figures.
    fn measure<'a>(
        &'a self,
        peers: &'a Peers,
        cells: &[Cell],
        mut cases: Vec<Case<'a>>,
    ) -> anyhow::Result<Results> {
        let mut results = blank(peers);
        for cell in cells {
            let contestants = Contestant::all(&self.site, peers);
            cases.push(cell.case(&self.site, self.pace, contestants, &mut results));
        }
        run(&mut results, &cases)?;
        matrix::judge(&mut results);
        cluster::judge(&mut results);
        between::judge(&mut results);
        doors::judge(&mut results);
        drills::judge(&mut results);
        Ok(results)
    }
}

/// Results without any figures.
fn blank(peers: &Peers) -> Results {
    let args: Vec<_> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let command = format!("cargo bench --bench compare -- {}", args.join(" "));
    Results {
        commit: Some(commit().unwrap_or_else(|| "unknown".into())),
        ..Results::new(command, peers.versions())
    }
}

fn run(results: &mut Results, cases: &[Case<'_>]) -> anyhow::Result<()> {
    let progress = Progress::of(cases.iter().map(Case::turns).sum())?;
    let outcome = cases
        .iter()
        .try_for_each(|case| results.run(case, &progress));
    progress.end();
    outcome
}

/// The output of git for this repository, if it is one.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty=+", "--exclude=*"]);
    let output = git.current_dir(workspace()).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    let commit = commit.trim();
    (output.status.success() && !commit.is_empty()).then(|| commit.into())
}
