//! The program: reads the command line, starts a host, and stops it on a signal.

mod cli;
mod descriptors;
mod log;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use tokio::signal::unix::{Signal, SignalKind, signal};
use wasm_pool_host::Host;
use wasm_pool_host::sandbox::{self, Module};

use cli::{Cli, Command, Plan, Serve};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Check { module, memory }) => check(module, memory.as_u64()),
        None => serve(cli.serve),
    };
    result.unwrap_or_else(|error| {
        eprintln!("wasm-pool-host: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve(args: Serve) -> anyhow::Result<ExitCode> {
    let listen = args.listen;
    let (format, level) = (args.log_format, args.log_level);
    let cores = std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let mut plan = args.plan(cores).unwrap_or_else(|problem| usage(&problem));
    descriptors::fit(&mut plan).unwrap_or_else(|problem| usage(&problem));
    let Plan {
        settings, summary, ..
    } = plan;

    // Written by a thread of its own; what is left is written when the guard goes.
    let _log = log::start(format, level);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut stop = std::pin::pin!(stop_signal()?);
        let host = tokio::select! {
            biased;
            () = stop.as_mut() => return Ok(()),
            host = Host::start(settings) => host?,
        };
        // tokio's backlog is eight times the standard library's: a burst of clients is not dropped.
        let listener = tokio::net::TcpListener::bind(listen).await;
        let listener = listener
            .with_context(|| format!("--listen {listen}: can't listen there"))?
            .into_std()?;
        let url = format!("http://{}", listener.local_addr()?);
        writeln!(std::io::stdout(), "wasm-pool-host: {url} · {summary}")
            .context("can't write the start line")?;
        host.serve(listener, stop).await
    });
    // A thread that still waits for a disk must not keep us.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// A bad value is refused like clap refuses one: exit code 2, and where to read on.
fn usage(problem: &str) -> ! {
    Cli::command()
        .error(clap::error::ErrorKind::ValueValidation, problem)
        .exit()
}

/// Completes at the first SIGINT or SIGTERM; the second ends the program at once.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    /// What a shell reports for a program that this signal ended.
    fn killed_by(kind: SignalKind) -> i32 {
        128 + kind.as_raw_value()
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        drop(stop);
        let kind = either(&mut interrupt, &mut terminate).await;
        std::process::exit(killed_by(kind));
    });
    Ok(async move {
        let _dropped = stopped.await;
    })
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
