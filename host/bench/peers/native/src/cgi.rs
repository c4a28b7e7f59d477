//! The process that fork and exec create for one request, as CGI does. It is this program again,
//! which looks for its argument before anything else, so that it starts as fast as it can. It opens
//! and reads a file, and writes a whole response to its standard output, behind a line with the
//! nanoseconds of its steps.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use wasm_pool_host::steps::{Step, Steps};

use crate::task::Task;
use crate::yardstick;

/// The first argument of such a process. The task and the file follow.
const ANSWER: &str = "yardstick-answer";

/// In place of a [`Task`]: the process says how much memory it has for itself at the end of its
/// work.
const MEMORY: &str = "memory";

/// Answers a request, where this program was started for that. Must be called first.
#[must_use]
pub fn child() -> Option<ExitCode> {
    let begin = Instant::now();
    let mut args = std::env::args_os().skip(1);
    if args.next()? != ANSWER {
        return None;
    }
    let answered = answer(begin, args.collect());
    Some(answered.map_or_else(
        |error| {
            eprintln!("wasm-pool-host {ANSWER}: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

fn answer(begin: Instant, args: Vec<OsString>) -> anyhow::Result<()> {
    let [what, file] = &args[..] else {
        bail!("this is how `bench` starts what it measures; there is nothing to see here");
    };
    let opened = Instant::now();
    let body = yardstick::read(file.as_ref())?;
    let files = opened.elapsed();
    Task::of(&what.to_string_lossy()).perform();
    let mut answer = yardstick::response(&body);
    if what == MEMORY {
        answer = own_kib()?.to_string().into();
    }
    let run = begin.elapsed().saturating_sub(files);
    let mut out = format!("{} {}\n", run.as_nanos(), files.as_nanos()).into_bytes();
    out.append(&mut answer);
    Ok(std::io::stdout().write_all(&out)?)
}

/// The memory of this process that it shares with no other.
fn own_kib() -> anyhow::Result<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let mut own = 0;
    for line in rollup.lines() {
        let mut words = line.split_whitespace();
        if let Some("Private_Clean:" | "Private_Dirty:") = words.next() {
            own += words.next().context("no size")?.parse::<u64>()?;
        }
    }
    Ok(own)
}

/// Has such a process answer. Time that the process did not spend on its own steps went into
/// creating and ending it.
pub(crate) fn respond(
    program: &Path,
    task: Task,
    file: &Path,
    steps: &Steps,
) -> anyhow::Result<Vec<u8>> {
    let begin = Instant::now();
    let output = run(program, task.word(), file)?;
    let took = begin.elapsed();
    steps.took(Step::Run, output.run);
    steps.took(Step::Files, output.files);
    steps.took(
        Step::HandOver,
        took.saturating_sub(output.run + output.files),
    );
    Ok(output.answer)
}

/// The memory that one such process has for itself when its work is done, in KiB, without pages
/// that it shares.
///
/// # Errors
/// Where the process can't be created, or fails.
pub fn own_memory_kib(program: &Path, file: &Path) -> anyhow::Result<f64> {
    let output = run(program, MEMORY, file)?;
    Ok(String::from_utf8(output.answer)?.parse()?)
}

struct Output {
    run: Duration,
    files: Duration,
    answer: Vec<u8>,
}

fn run(program: &Path, what: &str, file: &Path) -> anyhow::Result<Output> {
    let mut command = Command::new(program);
    command.args([ANSWER, what]).arg(file);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the child: {}", output.status);
    let end = output.stdout.iter().position(|byte| *byte == b'\n');
    let (line, answer) = output
        .stdout
        .split_at(end.context("the child said nothing")?);
    let mut times = std::str::from_utf8(line)?.split(' ').map(str::parse);
    let (Some(run), Some(files)) = (times.next(), times.next()) else {
        bail!("the child did not say what its steps took");
    };
    Ok(Output {
        run: Duration::from_nanos(run?),
        files: Duration::from_nanos(files?),
        answer: answer[1..].to_vec(),
    })
}
