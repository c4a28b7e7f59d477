//! *Steering*: what the control socket, signals and a watched file can have a host do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use tokio::sync::{Mutex, watch};
use wasm_pool_host::{Host, Pid, Settings, State};

use super::api;
use crate::cli::{LogLevel, Serve, config, explain};
use crate::commands::{Said, Served, load};
use crate::log;
use crate::signals::{self, Other};

/// A host and all that changes it while it serves.
#[derive(Debug)]
pub(crate) struct Steering {
    host: Host,
    pools: Vec<Pool>,
    address: String,
    started: Instant,
    around: Around,
    stop: watch::Sender<Option<Stop>>,
}

/// What a host has around it.
#[derive(Debug)]
pub(crate) struct Around {
    /// What the host was started with, before any configuration was read.
    pub(crate) asked: Serve,
    pub(crate) said: Said,
    pub(crate) log: log::Control,
}

/// A request to stop, with the time for running requests if it is not the usual.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) grace: Option<Duration>,
}

#[derive(Debug)]
struct Pool {
    /// The name and the routes.
    title: String,
    routes: Vec<String>,
    /// What the next loading uses. Loadings of one pool come one after the other.
    settings: Mutex<Settings>,
}

impl Steering {
    pub(crate) fn new(host: Host, pools: &[Served], address: String, around: Around) -> Arc<Self> {
        let pools = pools.iter().cloned().map(|served| Pool {
            title: served.title,
            routes: served.routes,
            settings: Mutex::new(served.settings),
        });
        Arc::new(Self {
            host,
            pools: pools.collect(),
            address,
            started: Instant::now(),
            around,
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

    /// Asks for the end, unless somebody has.
    pub(crate) fn stop(&self, grace: Option<Duration>) {
        self.stop.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(Stop { grace });
            is_first
        });
    }

    pub(super) fn processes(&self) -> Vec<api::Process> {
        let pools = self.host.pools();
        let processes = self.host.processes().into_iter();
        processes
            .map(|process| api::Process::of(process, &pools))
            .collect()
    }

    /// The host that is steered.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Why the host is not ready for requests, if it is not.
    pub(crate) fn obstacle(&self) -> Option<String> {
        if self.stop.borrow().is_some() {
            return Some("stopping".to_owned());
        }
        let pools = self.host.pools().into_iter();
        let failing = pools.filter(|pool| pool.is_failing).map(|pool| pool.name);
        match &*failing.collect::<Vec<_>>() {
            [] => None,
            pools => Some(format!("no process can be started in {}", pools.join(", "))),
        }
    }

    pub(crate) fn status(&self) -> api::Status {
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

    /// Ends a process, by a trap if it is to be one. Returns whether it existed.
    pub(super) fn kill(&self, pid: u64, traps: bool) -> bool {
        Pid::new(pid).is_some_and(|pid| match traps {
            true => self.host.trap(pid),
            false => self.host.kill(pid),
        })
    }

    /// Sets what goes into the log.
    pub(super) fn set_level(&self, level: LogLevel) {
        self.around.log.set_level(level);
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

    /// Reads the configuration again, loads the module of this pool again, and has it take the
    /// place of the one that serves.
    ///
    /// # Errors
    /// If one of them can't be used. The one before goes on serving then.
    pub(crate) async fn reload(&self, pool: usize) -> anyhow::Result<()> {
        let read = config::read(self.around.asked.clone()).map_err(|problem| anyhow!(problem))?;
        let names: Vec<_> = read.pools.iter().map(config::Pool::title).collect();
        let routes = self.pools.iter().map(|pool| &pool.title);
        if !names.iter().eq(routes) {
            bail!(
                "the configuration has other pools or routes: the host must be started again for them"
            );
        }
        let configured = read.pools.into_iter().nth(pool);
        let mut configured = configured.ok_or_else(|| anyhow!("there is no such pool"))?;
        let settings = configured.settings().map_err(|problem| anyhow!(problem))?;
        self.replace(pool, |current| {
            let steps = current.steps.clone();
            *current = Settings { steps, ..settings };
            Ok(())
        })
        .await
    }

    /// Does what a signal asks for.
    pub(crate) async fn hear(&self, signal: Other) {
        match signal {
            Other::Hangup => {
                self.reopen_log();
                for (number, pool) in self.pools.iter().enumerate() {
                    let pool = &pool.title;
                    match self.reload(number).await {
                        Ok(()) => tracing::info!(pool, "the module was loaded again"),
                        Err(error) => {
                            let reason = format!("{error:#}");
                            tracing::warn!(
                                pool,
                                reason,
                                "the module can't be loaded again: the one before goes on serving"
                            );
                        }
                    }
                }
            }
            Other::User1 => {
                if !self.reopen_log() {
                    signals::ignored(signal);
                }
            }
            Other::User2 => signals::ignored(signal),
        }
    }

    /// Returns whether the log has a file.
    fn reopen_log(&self) -> bool {
        let reopened = self.around.log.reopen();
        reopened.unwrap_or_else(|error| {
            let reason = format!("{error:#}");
            tracing::warn!(reason, "the log's file can't be opened anew");
            true
        })
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
            let loaded = load(&changed, self.around.said).await?;
            self.host.replace(pool, loaded).await
        };
        replaced
            .await
            .map_err(|error| anyhow!(explain::start(&error)))?;
        *settings = changed;
        Ok(())
    }
}
