//! `bench`, and the yardsticks that it starts.

use std::process::ExitCode;

use wasm_pool_bench::structurings;

use super::{print, runtime};
use crate::cli::{Bench, Yardstick, refuse};
use crate::signals;

pub(crate) fn measure(args: Bench) -> anyhow::Result<ExitCode> {
    let settings = args.settings().unwrap_or_else(|problem| refuse(&problem));
    let runtime = runtime()?;
    let mut signal = None;
    let outcome = runtime.block_on(async {
        let stopped = signals::stop()?;
        let stop = async { signal = stopped.await };
        structurings::run(settings, stop).await
    });
    // What is being measured must not keep us.
    runtime.shutdown_background();
    outcome?;
    Ok(signal.map_or(ExitCode::SUCCESS, |signal| {
        signals::exit_code(signal).into()
    }))
}

pub(crate) fn yardstick(args: Yardstick) -> anyhow::Result<ExitCode> {
    let steps = runtime()?.block_on(async {
        let stop = signals::stop()?;
        let steps = args.settings().start()?;
        stop.await;
        anyhow::Ok(steps)
    })?;
    print(&steps)?;
    Ok(ExitCode::SUCCESS)
}
