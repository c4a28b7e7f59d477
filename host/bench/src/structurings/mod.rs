//! The *structurings* of a server, measured on this machine with this module: the host's three, and
//! native servers with threads and with fork and exec. This is the program's command `bench`.
//!
//! Each structuring is a server in its own process, and all get the same requests. First each
//! server times its steps, on one connection, so that no step includes waiting. The steps are means
//! over all requests, since a server does not know which requests are its warm-up. Then the servers
//! take turns under load, in rounds, without timing inside them. The memory of one more process and
//! a crash come last. If these can't be measured, the results give the reason.

mod crash;
mod memory;
mod subject;
mod words;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use wasm_pool_host::descriptors;
use wasm_pool_host::steps::Total;

use crate::chart::{self, Panel};
use crate::load::Load;
use crate::outputs::{Files, Outputs};
use crate::progress::Progress;
use crate::quantities::{ANSWERS_AGAIN, MEMORY, P50, P99, P99_9, RATE, STEPS};
use crate::results::{Case, Results, Turn};
use crate::server::Server;
use crate::table;
use crash::OTHERS;
use subject::{Structuring, Subject};

/// The warm-up takes a quarter of the measured time, but no longer than a pool needs to grow and
/// caches need to be filled.
const WARM_UP: (u32, Duration) = (4, Duration::from_millis(500));

/// The files in the temporary folder: the module's answer, and the worker of the crash drill.
const FILES: usize = 2;

/// The cases.
const WORK: &str = "step by step";
const LOAD: &str = "under load";
const IDLE: &str = "memory";
const CRASH: &str = "at a crash";

const TITLE: &str = "Work per request";
const INTRODUCTION: &str = "\
    threads and fork-exec are native servers, without wasm. Figures are medians over the rounds, and\n\
    behind them is how far the rounds lie apart, in percent of the median.";

/// The subject of the measurement, its extent, and the files for the figures.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Flags of the host: the files that guests may read, and their memory limit.
    pub guests: Vec<OsString>,
    /// The most open files of a process.
    pub max_open_files: u32,
    /// The module. None means the built-in worker.
    pub module: Option<PathBuf>,
    /// The path of the requests.
    pub path: String,
    /// Connections that each send the next request as soon as the last is answered.
    pub connections: usize,
    /// The time for which each structuring is measured in a round.
    pub time: Duration,
    /// The number of rounds. A figure is their median.
    pub rounds: usize,
    /// The most processes of a pool by default. As many threads are enough, too.
    pub workers: usize,
    /// The files for the results.
    pub files: Files,
}

/// Measures everything and writes the figures. Stops as soon as `stop` completes. All servers end
/// with it.
///
/// # Errors
/// If requests can't be measured, a file can't be written, or a server answers wrongly.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let outputs = Outputs::open(&settings.files)?;
    let scratch = tempfile::tempdir().context("can't make a temporary folder")?;
    let folder = scratch.path().to_owned();
    descriptors::raise(); // each connection needs a socket
    // Each structuring has a turn for its steps, one for each round, and one for its crash. The
    // module and the memory take one turn each.
    let turns = Structuring::ALL.len() * (settings.rounds + 2) + 2;
    let progress = Progress::of(turns)?;
    let shown = progress.clone();
    // Servers end with the thread that started them if their guards can't end them.
    let measuring = tokio::task::spawn_blocking(move || measure(&settings, &folder, &shown));
    let measured = tokio::select! {
        biased;
        () = stop => None,
        measured = measuring => Some(measured.context("the measuring thread panicked")?),
    };
    // The measuring thread can't be stopped, and may be writing one of its files now. Without the
    // folder it can't write another.
    let _gone = (0..=FILES).any(|_| fs::remove_dir_all(scratch.path()).is_ok());
    progress.end();
    match measured {
        None => Ok(()),
        Some(Ok(results)) => {
            let table = table::markdown(&results, TITLE, INTRODUCTION);
            outputs.write(&results, &table, &svg(&results)?)
        }
        Some(Err(error)) => Err(anyhow::Error::msg(words::in_words(&format!("{error:#}")))),
    }
}

fn measure(settings: &Settings, scratch: &Path, progress: &Progress) -> anyhow::Result<Results> {
    progress.turn("asking the module");
    let subject = Subject::new(settings, scratch)?;
    let drill = crash::subject(&subject, scratch)?;
    let module = settings.module.as_ref();
    let setup = json!({
        "module": module.map_or("built-in".into(), |module| module.display().to_string()),
        "path": settings.path,
        "body_bytes": subject.body.len(),
        "connections": settings.connections,
        "rounds": settings.rounds,
        "seconds": settings.time.as_secs_f64(),
    });
    let mut results = Results::new(words::command(), setup);

    let work = case(WORK, 1, |one| step_by_step(&subject, one, settings));
    results.run(&work, progress)?;
    let rounds = case(LOAD, settings.rounds, |one| {
        under_load(&subject, one, settings)
    });
    results.run(&rounds, progress)?;
    progress.turn(IDLE);
    memory::measure(&subject, &mut results);
    let crash = case(CRASH, 1, |one| crash::drill(&drill, one));
    let crash = Case {
        is_needed: false,
        ..crash
    };
    results.run(&crash, progress)?;
    remark(&mut results, settings);
    for gap in &mut results.not_measured {
        gap.why = words::in_words(&gap.why);
    }
    Ok(results)
}

/// All structurings.
fn case<'a>(
    name: &str,
    rounds: usize,
    measure: impl Fn(Structuring) -> anyhow::Result<Turn> + Copy + 'a,
) -> Case<'a> {
    let all = Structuring::ALL.into_iter();
    all.fold(Case::new(name, rounds), |case, one| {
        case.with(one.name(), move || measure(one))
    })
}

fn under_load(subject: &Subject, one: Structuring, settings: &Settings) -> anyhow::Result<Turn> {
    let threads = settings.connections.min(settings.workers).to_string();
    let flags: &[&str] = match one.is_ours() {
        true => &[],
        false => &["--workers", &threads],
    };
    let mut server = subject.server(one, flags)?;
    ask(&mut server, subject, settings.connections, settings.time)
}

fn step_by_step(subject: &Subject, one: Structuring, settings: &Settings) -> anyhow::Result<Turn> {
    let flags: &[&str] = match one.is_ours() {
        true => &["--steps"],
        false => &["--steps", "--workers", "1"],
    };
    let mut server = subject.server(one, flags)?;
    ask(&mut server, subject, 1, settings.time)?;
    let totals = server.steps()?;
    // Each request is received once.
    let requests = totals.receive.count.max(1) as f64;
    let share = |total: Total| total.nanoseconds as f64 / 1e3 / requests;
    let steps = [
        totals.receive,
        totals.hand_over,
        totals.run,
        totals.files,
        totals.reply,
    ];
    let steps = steps.map(share);
    let together = steps.iter().sum();
    Ok(STEPS
        .into_iter()
        .zip(steps.into_iter().chain([together]))
        .collect())
}

fn ask(
    server: &mut Server,
    subject: &Subject,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Turn> {
    let (part, most) = WARM_UP;
    let load = Load::new(connections, (duration / part).min(most), duration);
    server.measure(&load, subject.question())
}

/// Explains the figures.
fn remark(results: &mut Results, settings: &Settings) {
    results.note(WORK, "microseconds of one request, on one connection");
    let connections = settings.connections;
    let load = format!("{connections} connections: requests per second, latency, CPU, memory");
    results.note(LOAD, load);
    results.note(LOAD, order(results));
    let gone = results
        .of_case(CRASH)
        .filter(|entry| !entry.figures.contains_key(ANSWERS_AGAIN));
    let gone = gone.map(|entry| format!("; {} never answers again", entry.contestant));
    let gone: String = gone.collect();
    results.note(
        CRASH,
        format!("{OTHERS} other requests were in flight{gone}"),
    );
}

/// Names the structurings whose order in throughput means nothing: the fastest round of a
/// structuring is at least as fast as the slowest round of the next faster one.
fn order(results: &Results) -> String {
    let mut sorted: Vec<_> = results
        .of_case(LOAD)
        .filter_map(|entry| Some((entry.figures.get(RATE)?, &*entry.contestant)))
        .collect();
    sorted.sort_by(|(one, _), (other, _)| one.median.total_cmp(&other.median));
    if sorted.iter().any(|(rate, _)| rate.rounds.len() == 1) {
        return "one round does not say how far rounds lie apart".into();
    }
    let groups = sorted.chunk_by(|(one, _), (next, _)| one.highest >= next.lowest);
    let groups = groups.filter(|group| group.len() > 1).map(|group| {
        let names: Vec<_> = group.iter().map(|(_, name)| *name).collect();
        names.join(", ")
    });
    match groups.collect::<Vec<_>>() {
        groups if groups.is_empty() => "no rounds overlap".into(),
        groups => format!("rounds overlap, no order: {}", groups.join(" · ")),
    }
}

fn svg(results: &Results) -> anyhow::Result<String> {
    let lost = format!("lost, of {OTHERS} other requests in flight");
    let rate = "requests per second; line: slowest to fastest round";
    let work = [Panel::new("One request, alone", WORK, &STEPS, "µs")];
    let load = [
        Panel::new("Throughput", LOAD, &[RATE], rate).linear(),
        Panel::new("Latency under load", LOAD, &[P50, P99, P99_9], "ms"),
    ];
    let rest = [
        Panel::new("Memory of one more", IDLE, &[MEMORY], "KiB"),
        Panel::new("One crash", CRASH, &["others_lost"], &lost).linear(),
        Panel::new("Answers again after", CRASH, &[ANSWERS_AGAIN], "ms"),
    ];
    let native = [Structuring::Threads, Structuring::ForkExec].map(Structuring::name);
    let is_ours = |name: &str| !native.contains(&name);
    chart::svg(results, TITLE, is_ours, &[&work, &load, &rest])
}
