//! The program: reads the command line, starts a host or runs a program, and stops it on a signal.

mod allocator;
mod bench;
mod cli;
mod descriptors;
mod log;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches};
use rustix::process::set_parent_process_death_signal;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wasm_pool_host::Loaded;
use wasm_pool_host::message::ExitStatus;
use wasm_pool_host::outlet;
use wasm_pool_host::sandbox::{self, Module, World};
use wasm_pool_host::steps::Steps;

use cli::{Bench, Cli, Command, Given, Plan, Run, Serve, Yardstick};

fn main() -> ExitCode {
    // Before anything that takes time: what this answers is timed from its start.
    if let Some(code) = bench::child() {
        return code;
    }
    allocator::settle();
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Some(Command::Run(args)) => run(args),
        Some(Command::Bench(args)) => measure(args),
        Some(Command::Yardstick(args)) => yardstick(args),
        Some(Command::Check { module, memory }) => check(module, memory.as_u64()),
        None => serve(cli.serve, &Given::from(&matches)),
    };
    result.unwrap_or_else(|error| {
        let _unread = outlet::say(io::stderr(), &format!("wasm-pool-host: {error:#}"));
        ExitCode::FAILURE
    })
}

fn serve(args: Serve, given: &Given) -> anyhow::Result<ExitCode> {
    let listen = args.listen;
    let (format, level) = (args.log_format, args.log_level);
    if args.end_with_parent {
        set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    }
    let cores = std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let mut plan = args.plan(cores).unwrap_or_else(|problem| usage(&problem));
    descriptors::fit(&mut plan).unwrap_or_else(|problem| usage(&problem));
    let Plan {
        settings,
        summary,
        fits_mailbox,
        ..
    } = plan;
    let steps = settings.sandbox.steps.clone();

    let runtime = runtime()?;
    let log = log::start(format, level)?;
    let outcome = runtime.block_on(async {
        let mut stop = std::pin::pin!(stop_signal()?);
        let start = async {
            let loaded = Loaded::new(settings).await?;
            let world = loaded.world();
            let fits = match world {
                World::Handler => Ok(()),
                World::Program => fits_mailbox,
            };
            given
                .suits(world)
                .and(fits)
                .unwrap_or_else(|problem| usage(&problem));
            anyhow::Ok((world, loaded.start().await?))
        };
        let (world, host) = tokio::select! {
            biased;
            _signal = stop.as_mut() => return Ok(()),
            started = start => started?,
        };
        // tokio's backlog is eight times the standard library's: a burst of clients is not dropped.
        let listener = tokio::net::TcpListener::bind(listen).await;
        let listener = listener
            .with_context(|| format!("--listen {listen}: can't listen there"))?
            .into_std()?;
        let url = format!("http://{}", listener.local_addr()?);
        let summary = match world {
            World::Handler => summary.handler,
            World::Program => summary.program,
        };
        writeln!(std::io::stdout(), "wasm-pool-host: {url} · {summary}")
            .context("can't write the start line")?;
        let stop = async {
            stop.await;
        };
        host.serve(listener, stop).await
    });
    // While the runtime lives, so that a second signal still ends it all.
    drop(log);
    // A thread that still waits for a disk must not keep us.
    runtime.shutdown_background();
    outcome?;
    print(&steps)?;
    Ok(ExitCode::SUCCESS)
}

fn run(args: Run) -> anyhow::Result<ExitCode> {
    /// What `timeout` and shells report for a program that ran out of time, aborted or was killed.
    const TIMED_OUT: u8 = 124;
    const ABORTED: u8 = 128 + 6;
    const KILLED: u8 = 128 + 9;
    /// What they report where the reader of the output has gone, as `head` does.
    const READER_GONE: u8 = 128 + 13;

    let mut settings = args.settings().unwrap_or_else(|problem| usage(&problem));
    descriptors::fit_program(&mut settings.sandbox).unwrap_or_else(|problem| usage(&problem));
    let runtime = runtime()?;
    let log = log::start(args.log_format, args.log_level)?;
    let mut signal = None;
    let outcome = runtime.block_on(async {
        let stopped = stop_signal()?;
        let stop = async { signal = stopped.await };
        wasm_pool_host::run(settings, args.args, stop).await
    });
    drop(log);
    runtime.shutdown_background();
    if let Err(error) = &outcome
        && error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    {
        return Ok(ExitCode::from(READER_GONE));
    }
    let code = match outcome? {
        Some(ExitStatus::Normal) => 0,
        Some(ExitStatus::Code(code)) => u8::try_from(code).unwrap_or(u8::MAX),
        Some(ExitStatus::Deadline) => TIMED_OUT,
        Some(ExitStatus::Trap | ExitStatus::Memory) => ABORTED,
        Some(ExitStatus::Killed) => KILLED,
        None => signal.map_or(KILLED, |signal| {
            u8::try_from(killed_by(signal)).unwrap_or(u8::MAX)
        }),
    };
    Ok(ExitCode::from(code))
}

fn measure(args: Bench) -> anyhow::Result<ExitCode> {
    args.check().unwrap_or_else(|problem| usage(&problem));
    let runtime = runtime()?;
    let mut signal = None;
    let outcome = runtime.block_on(async {
        let stopped = stop_signal()?;
        let stop = async { signal = stopped.await };
        bench::run(args, stop).await
    });
    // What is being measured must not keep us.
    runtime.shutdown_background();
    outcome?;
    Ok(signal.map_or(ExitCode::SUCCESS, |signal| {
        ExitCode::from(u8::try_from(killed_by(signal)).unwrap_or(u8::MAX))
    }))
}

fn yardstick(args: Yardstick) -> anyhow::Result<ExitCode> {
    let steps = runtime()?.block_on(async {
        let stop = stop_signal()?;
        let steps = bench::yardstick(args)?;
        stop.await;
        anyhow::Ok(steps)
    })?;
    print(&steps)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what was timed, if anything was.
fn print(steps: &Steps) -> anyhow::Result<()> {
    let Some(totals) = steps.totals() else {
        return Ok(());
    };
    let line = serde_json::to_string(&totals)?;
    outlet::say(io::stdout(), &line).context("can't write the steps")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // tokio panics where it can't have its first thread, so whether there are any is tried before.
    let thread = std::thread::Builder::new().spawn(|| ());
    let _nothing = thread.context("the system gives no threads")?.join();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.context("can't start the runtime")
}

/// A bad value is refused like clap refuses one: exit code 2, and where to read on.
fn usage(problem: &str) -> ! {
    Cli::command()
        .error(clap::error::ErrorKind::ValueValidation, problem)
        .exit()
}

/// Completes at the first SIGINT or SIGTERM; the second ends the program at once.
fn stop_signal() -> anyhow::Result<impl Future<Output = Option<SignalKind>>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let kind = either(&mut interrupt, &mut terminate).await;
        let _nobody = stop.send(kind);
        let kind = either(&mut interrupt, &mut terminate).await;
        std::process::exit(killed_by(kind));
    });
    Ok(async move { stopped.await.ok() })
}

/// What a shell reports for a program that this signal ended.
fn killed_by(kind: SignalKind) -> i32 {
    128 + kind.as_raw_value()
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    }
}

fn check(path: PathBuf, memory: u64) -> anyhow::Result<ExitCode> {
    let report = sandbox::check(&Module::File(path.clone()), memory)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "exports")?;
    for export in &report.exports {
        writeln!(out, "  {export}")?;
    }
    writeln!(out, "imports")?;
    for import in &report.imports {
        let note = if import.provided {
            ""
        } else {
            "  (this host does not have it)"
        };
        writeln!(out, "  {}{note}", import.name)?;
    }
    match report.obstacle {
        None => {
            writeln!(out, "{} runs here", path.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(obstacle) => {
            writeln!(out, "{} does not run here: {obstacle}", path.display())?;
            Ok(ExitCode::FAILURE)
        }
    }
}
