//! `serve`: binds, compiles, starts the first processes, and only then listens. A port that is taken is said
//! before the module is compiled, and no client is accepted by a host that does not start.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use rustix::process::{Signal, set_parent_process_death_signal};
use wasm_pool_host::Loaded;
use wasm_pool_host::sandbox::World;

use super::bind::bind;
use super::compiling::{Said, announced};
use super::{print, runtime};
use crate::cli::{Given, Plan, Serve, refuse};
use crate::{descriptors, log, signals};

pub(crate) fn serve(args: Serve, given: &Given) -> anyhow::Result<ExitCode> {
    let listen = args.listen.clone();
    let (format, level) = (args.log_format, args.log_level);
    let mut said = Said::by(format, level);
    if args.end_with_parent {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        said = Said::Never; // the parent tells what takes its time
    }
    let cores = std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let mut plan = args.plan(cores).unwrap_or_else(|problem| refuse(&problem));
    descriptors::fit(&mut plan).unwrap_or_else(|problem| refuse(&problem));
    let Plan {
        settings,
        summary,
        fits_mailbox,
        ..
    } = plan;
    let steps = settings.sandbox.steps.clone();
    let module = settings.sandbox.module.clone();

    let runtime = runtime()?;
    let log = log::start(format, level)?;
    let outcome = runtime.block_on(async {
        let mut stop = std::pin::pin!(signals::stop()?);
        signals::ignore_others()?;
        let start = async {
            let bound = bind(&listen).await?;
            let loaded = announced(&module, said, Loaded::new(settings)).await?;
            let world = loaded.world();
            let fits = match world {
                World::Handler => Ok(()),
                World::Program => fits_mailbox,
            };
            given
                .suits(world)
                .and(fits)
                .unwrap_or_else(|problem| refuse(&problem));
            anyhow::Ok((bound, world, loaded.start().await?))
        };
        let (bound, world, host) = tokio::select! {
            biased;
            signal = stop.as_mut() => return Ok(signal),
            started = start => started?,
        };
        let listener = bound.listen()?;
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
        host.serve(listener, stop).await.map(|()| None)
    });
    // While the runtime lives, so that a second signal still ends it all.
    drop(log);
    // A thread that still waits for a disk must not keep us.
    runtime.shutdown_background();
    if let Some(signal) = outcome? {
        return Ok(signals::exit_code(signal).into()); // it never served
    }
    print(&steps)?;
    Ok(ExitCode::SUCCESS)
}
