//! *Steering*: what the control socket, signals and a watched file can have a host do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use tokio::sync::{Mutex, watch};
use wasm_pool_host::{Host, Pid, Settings, State};

use super::api;
use crate::cli::{LogLevel, config, explain};
use crate::commands::{Said, load};
use crate::log::Levels;

/// A host and all that changes it while it serves.
#[derive(Debug)]
pub(crate) struct Steering {
    host: Host,
    pools: Vec<Pool>,
    address: String,
    said: Said,
    started: Instant,
    levels: Levels,
    stop: watch::Sender<Option<Stop>>,
}

/// A request to stop, with the time for running requests if it is not the usual.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) grace: Option<Duration>,
}

#[derive(Debug)]
struct Pool {
    routes: Vec<String>,
    /// What the next loading uses. Loadings of one pool come one after the other.
    settings: Mutex<Settings>,
}

impl Steering {
    pub(crate) fn new(
        host: Host,
        pools: impl IntoIterator<Item = (Vec<String>, Settings)>,
        address: String,
        said: Said,
        levels: Levels,
    ) -> Arc<Self> {
        let pools = pools.into_iter().map(|(routes, settings)| Pool {
            routes,
            settings: Mutex::new(settings),
        });
        Arc::new(Self {
            host,
            pools: pools.collect(),
            address,
            said,
            started: Instant::now(),
            levels,
            stop: watch::Sender::new(None),
        })
    }

    /// Waits until somebody has asked for the end.
    pub(crate) async fn stopped(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        let asked = stop.wait_for(Option::is_some).await;
        asked
            .ok()
            .and_then(|stop| *stop)
            .unwrap_or(Stop { grace: None })
    }

    pub(super) fn stop(&self, grace: Option<Duration>) {
        self.stop.send_replace(Some(Stop { grace }));
    }

    pub(super) fn processes(&self) -> Vec<api::Process> {
        let pools = self.host.pools();
        let processes = self.host.processes().into_iter();
        processes
            .map(|process| api::Process::of(process, &pools))
            .collect()
    }

    pub(super) async fn status(&self) -> api::Status {
        let (processes, stats) = (self.host.processes(), self.host.stats());
        let mut pools = Vec::new();
        for ((number, info), pool) in (0..).zip(self.host.pools()).zip(&self.pools) {
            let own = || processes.iter().filter(|process| process.pool == number);
            pools.push(api::Pool {
                name: info.name,
                routes: pool.routes.clone(),
                kind: info.kind.export().to_owned(),
                module: info.module,
                min: info.workers.map(|workers| workers.min),
                max: info.workers.map(|workers| workers.max),
                idle: own().filter(|process| process.state == State::Idle).count(),
                alive: own().count(),
                waiting: info.waiting,
                generation: info.generation,
                memory: own().map(|process| process.memory).sum(),
            });
        }
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            address: self.address.clone(),
            age_ms: self.started.elapsed().as_millis() as u64,
            answered: stats.answered,
            pools,
            ended: stats
                .ended
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(exit, count)| (exit.name().to_owned(), count))
                .collect(),
        }
    }

    /// Ends a process. Returns whether it existed.
    pub(super) fn kill(&self, pid: u64) -> bool {
        let pid = Pid::new(pid);
        pid.is_some_and(|pid| self.host.kill(pid))
    }

    /// Sets what goes into the log.
    pub(super) fn set_level(&self, level: LogLevel) {
        self.levels.set(level);
        tracing::info!(level = ?level, "the log's level has changed");
    }

    /// The number of the pool of this name.
    pub(super) fn pool(&self, name: &str) -> anyhow::Result<usize> {
        let pools = self.host.pools();
        let found = pools.iter().position(|pool| pool.name == name);
        found.ok_or_else(|| {
            let names: Vec<_> = pools.iter().map(|pool| &*pool.name).collect();
            anyhow!("there is no pool {name:?}; there is {}", names.join(", "))
        })
    }

    /// Loads the module of this pool again, and has it take the place of the one that serves.
    ///
    /// # Errors
    /// If it can't be used. The one before goes on serving then.
    pub(crate) async fn reload(&self, pool: usize) -> anyhow::Result<()> {
        self.replace(pool, |_| Ok(())).await
    }

    /// Changes the number of processes of this pool.
    ///
    /// # Errors
    /// If there can't be as many, or the pool has none.
    pub(super) async fn scale(&self, pool: usize, workers: api::Workers) -> anyhow::Result<()> {
        self.replace(pool, |settings| {
            let pools = self.host.pools();
            if pools.get(pool).is_none_or(|pool| pool.workers.is_none()) {
                bail!("a program starts processes as it likes");
            }
            settings.pool.workers = Some(wasm_pool_host::Workers {
                min: workers.min,
                max: workers.max,
            });
            let checked = settings.check();
            checked.map_err(|error| anyhow!(explain::settings(&error)))
        })
        .await
    }

    async fn replace(
        &self,
        pool: usize,
        change: impl FnOnce(&mut Settings) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut settings = self.pools[pool].settings.lock().await;
        let mut changed = settings.clone();
        change(&mut changed)?;
        let replaced = async {
            let loaded = load(&changed, self.said).await?;
            self.host.replace(pool, loaded).await
        };
        replaced
            .await
            .map_err(|error| anyhow!(explain::start(&error)))?;
        *settings = changed;
        Ok(())
    }
}

/// The routes of a pool as they are shown.
pub(crate) fn routes(pool: &config::Pool) -> Vec<String> {
    pool.routes.iter().map(ToString::to_string).collect()
}
