//! `serve`: binds, compiles, starts the first processes, and only then listens. A taken port is
//! reported before the module is compiled, and a host that does not start accepts no client.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::SignalKind;
use wasm_pool_host::{Host, Loaded, Settings, descriptors};

use super::bind::bind;
use super::compiling::{Said, announced};
use super::{explained, print, runtime, watch};
use crate::cli::{Serve, refuse};
use crate::{log, signals};

pub(crate) fn serve(mut args: Serve) -> anyhow::Result<ExitCode> {
    let (format, level) = (args.log_format, args.log_level);
    let mut said = Said::by(format, level);
    if args.end_with_parent {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        said = Said::Never; // the parent tells what takes its time
    }
    descriptors::raise();
    let settings = args.settings().unwrap_or_else(|problem| refuse(&problem));
    let steps = settings.steps.clone();

    let runtime = runtime()?;
    let log = log::start(format, level)?;
    let outcome = runtime.block_on(serve_until_stopped(&args, settings, said));
    // While the runtime lives, so that a second signal still ends it all.
    drop(log);
    // A thread that still waits for a disk must not delay the end.
    runtime.shutdown_background();
    if let Some(signal) = outcome? {
        return Ok(signals::exit_code(signal).into()); // it never served
    }
    print(&steps)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the signal that stopped the host before it served, if one did.
async fn serve_until_stopped(
    args: &Serve,
    settings: Settings,
    said: Said,
) -> anyhow::Result<Option<SignalKind>> {
    let mut stop = std::pin::pin!(signals::stop()?);
    signals::ignore_others()?;
    let used = watch::identity(&settings.module);
    let start = async {
        let bound = bind(&args.listen).await?;
        let module = settings.module.clone();
        let settings = settings.clone();
        let loading = announced(&module, said, |begins| {
            Loaded::telling(settings, || begins.now())
        });
        let loaded = loading.await.map_err(explained)?;
        anyhow::Ok((bound, loaded.start().await.map_err(explained)?))
    };
    let (bound, host) = tokio::select! {
        biased;
        signal = stop.as_mut() => return Ok(signal),
        started = start => started?,
    };
    let listener = bound.listen()?;
    let url = format!("http://{}", listener.local_addr()?);
    let summary = args.summary(host.kind(), &settings, host.workers());
    writeln!(std::io::stdout(), "wasm-pool-host: {url} · {summary}")
        .context("can't write the start line")?;
    let stopped = stop_after(&host, stop, args.grace);
    let served = async { tokio::try_join!(host.serve(listener), stopped) };
    let watching = async {
        match args.watch {
            true => watch::watch(&host, &settings, said, used).await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        served = served => served.map(|_| None).map_err(Into::into),
        never = watching => match never {},
    }
}

async fn stop_after<T>(
    host: &Host,
    stop: impl Future<Output = T>,
    grace: Duration,
) -> std::io::Result<()> {
    stop.await;
    host.stop(grace).await;
    Ok(())
}
