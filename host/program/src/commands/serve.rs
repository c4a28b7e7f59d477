//! `serve`: binds, compiles, starts the first processes, and only then listens. A taken port is
//! reported before any module is compiled, and a host that does not start accepts no client.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::SignalKind;
use wasm_pool_host::steps::Steps;
use wasm_pool_host::{Host, HostSettings, Loaded, Module, Settings, StartError, descriptors};

use super::bind::bind;
use super::compiling::{Said, announced};
use super::watch::{self, Identity};
use super::{explained, print, refused, runtime};
use crate::cli::config::{self, Configured};
use crate::cli::{Serve, refuse};
use crate::control::{Control, Steering, steering};
use crate::log::{self, Levels};
use crate::signals;

/// A pool with its settings.
struct Pool {
    pool: config::Pool,
    settings: Settings,
    /// The module's file before it was read.
    used: Option<Identity>,
}

pub(crate) fn serve(args: Serve) -> anyhow::Result<ExitCode> {
    let ends_with_parent = args.end_with_parent;
    if ends_with_parent {
        set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    descriptors::raise();
    let Configured { serve, pools } = config::read(args).unwrap_or_else(|problem| refuse(&problem));
    let host = serve
        .host_settings()
        .unwrap_or_else(|problem| refuse(&problem));
    let pools = pools.into_iter().map(|mut pool| {
        let settings = pool.settings()?;
        let used = watch::identity(&settings.module);
        Ok(Pool {
            pool,
            settings,
            used,
        })
    });
    let pools: Result<Vec<_>, String> = pools.collect();
    let mut pools = pools.unwrap_or_else(|problem| refuse(&problem));
    let has_file = |pool: &Pool| pool.settings.module != Module::BuiltIn;
    if serve.watch && !pools.iter().any(has_file) {
        refuse("--watch: the built-in worker has no file that could change; give --module");
    }
    let steps = Steps::on_if(serve.steps);
    for pool in &mut pools {
        pool.settings.steps = steps.clone();
    }
    let said = match ends_with_parent {
        true => Said::Never, // the parent tells what takes its time
        false => Said::by(serve.log_format, serve.log_level),
    };

    let runtime = runtime()?;
    let log = log::start(serve.log_format, serve.log_level)?;
    let levels = log.levels.clone();
    let outcome = runtime.block_on(serve_until_stopped(&serve, host, pools, said, levels));
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
    settings: HostSettings,
    pools: Vec<Pool>,
    said: Said,
    levels: Levels,
) -> anyhow::Result<Option<SignalKind>> {
    let mut stop = std::pin::pin!(signals::stop()?);
    signals::ignore_others()?;
    let watched: Vec<_> = pools
        .iter()
        .map(|pool| (pool.settings.clone(), pool.used))
        .collect();
    let titles: Vec<_> = pools.iter().map(|pool| pool.pool.title()).collect();
    let routes: Vec<_> = pools
        .iter()
        .map(|pool| steering::routes(&pool.pool))
        .collect();
    let start = async {
        let bound = bind(&args.listen).await?;
        let control = Control::bind(&args.control())?;
        let mut loaded = Vec::new();
        for pool in pools {
            let module = load(&pool.settings, said).await;
            let module = module.map_err(|error| refused(&error, pool.pool.explained(&error)))?;
            loaded.push(pool.pool.with(module));
        }
        let host = Host::of(settings, loaded).await;
        anyhow::Ok((bound, control, host.map_err(explained)?))
    };
    let (bound, control, host) = tokio::select! {
        biased;
        signal = stop.as_mut() => return Ok(signal),
        started = start => started?,
    };
    let listener = bound.listen()?;
    let url = format!("http://{}", listener.local_addr()?);
    // One line, because whoever waits for it may read no more.
    let line = match (&*watched, &*host.pools()) {
        ([(settings, _)], [pool]) => Serve::summary(settings, pool.workers),
        _ => format!("pools {}", titles.join("; ")),
    };
    let line = format!("wasm-pool-host: {url} · {line}");
    writeln!(std::io::stdout(), "{line}").context("can't write the start line")?;
    let pools = watched.iter().map(|(settings, _)| settings.clone());
    let steering = Steering::new(
        host.clone(),
        routes.into_iter().zip(pools),
        url,
        said,
        levels,
    );
    let mut beside = tokio::task::JoinSet::new();
    beside.spawn(control.serve(Arc::clone(&steering)));
    for (pool, (settings, used)) in (0..).zip(watched).filter(|_| args.watch) {
        let steering = Arc::clone(&steering);
        beside.spawn(async move { watch::watch(&steering, pool, &settings.module, used).await });
    }
    let stopped = async {
        let grace = tokio::select! {
            _signal = stop => None,
            asked = steering.stopped() => asked.grace,
        };
        host.stop(grace.unwrap_or(args.grace)).await;
        Ok(())
    };
    tokio::try_join!(host.serve(listener), stopped)?;
    Ok(None)
}

/// Loads a module, and reports that if it takes long.
pub(crate) async fn load(settings: &Settings, said: Said) -> Result<Loaded, StartError> {
    let loading = announced(&settings.module, said, |begins| {
        Loaded::telling(settings.clone(), || begins.now())
    });
    loading.await
}
