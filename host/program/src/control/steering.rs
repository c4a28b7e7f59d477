//! *Steering*: what the control socket, signals and a watched file can have a host do.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tokio::sync::watch;
use wasm_pool_host::steps::Steps;
use wasm_pool_host::{Cluster, Host, HostInfo, Module, Pid, Role, State, Tls, Watch, Workers};

use super::api;
use super::events::{Named, Query};
use crate::cli::config::{self, Configured};
use crate::cli::{self, LogLevel, Serve, explain};
use crate::commands::{Identity, Said, Served, is_denial, is_forbidden, load, named, tls};
use crate::confine::has_successors;
use crate::log;
use crate::service_manager::ServiceManager;
use crate::signals::{self, Other};

/// A host and all that changes it while it serves.
#[derive(Debug)]
pub(crate) struct Steering {
    host: Host,
    /// The pools as they are configured, in the order of the host's.
    pools: Mutex<Vec<Served>>,
    /// Held while pools are loaded, so that what is configured is what is loaded.
    loading: tokio::sync::Mutex<()>,
    address: String,
    started: Instant,
    around: Around,
    stop: watch::Sender<Option<Stop>>,
}

/// What is said of the pools of a front.
const NO_POOL: &str = "this host is a front, and has no pools";

/// What a host has around it.
#[derive(Debug)]
pub(crate) struct Around {
    /// What the host was started with, before any configuration was read.
    pub(crate) asked: Serve,
    /// What the configuration said of the host as a whole.
    pub(crate) of_the_host: config::OfTheHost,
    /// The times of the steps of all requests.
    pub(crate) steps: Steps,
    pub(crate) said: Said,
    pub(crate) log: log::Control,
    /// The certificates that clients find, if they may speak TLS.
    pub(crate) tls: Option<Tls>,
    pub(crate) manager: ServiceManager,
    /// The files and folders to read that were named at the start.
    pub(crate) named: Vec<PathBuf>,
    /// Whether the host has given up what it did not need at its start.
    pub(crate) is_confined: bool,
}

/// A request to stop, with the time for running requests if it is not the usual.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) grace: Option<Duration>,
}

impl Steering {
    pub(crate) fn new(
        host: Host,
        pools: Vec<Served>,
        address: String,
        around: Around,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            pools: Mutex::new(pools),
            loading: tokio::sync::Mutex::default(),
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

    pub(crate) fn processes(&self) -> Vec<api::Process> {
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

    /// Who has started the host, and is told how it is.
    pub(crate) fn manager(&self) -> &ServiceManager {
        &self.around.manager
    }

    /// The longest time that a pool's process may take for a request.
    pub(crate) fn longest_request(&self) -> Duration {
        let pools = self.pools();
        let times = pools.iter().map(|pool| pool.settings.limits.request_time);
        times.max().unwrap_or_default()
    }

    /// Whether somebody has asked for the end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Why the host is not ready for requests, if it is not.
    pub(crate) fn obstacle(&self) -> Option<String> {
        if self.is_stopping() {
            return Some("stopping".to_owned());
        }
        let pools = self.host.pools();
        let names = |is: fn(&wasm_pool_host::PoolInfo) -> bool| {
            let names = pools.iter().filter(|pool| is(pool)).map(|pool| &*pool.name);
            names.collect::<Vec<_>>().join(", ")
        };
        let (draining, failing) = (
            names(|pool| pool.is_draining),
            names(|pool| pool.is_failing),
        );
        match (&*draining, &*failing) {
            ("", "") => self.host.cluster().and_then(missing),
            ("", pools) => Some(format!("no process can be started in {pools}")),
            (pools, _) => Some(format!("draining {pools}")),
        }
    }

    pub(crate) fn status(&self) -> api::Status {
        let (processes, stats) = (self.host.processes(), self.host.stats());
        let mut pools = Vec::new();
        for info in self.host.pools() {
            let own = || {
                processes
                    .iter()
                    .filter(|process| process.pool == info.number)
            };
            let counts = info.counts;
            pools.push(api::Pool {
                routes: self
                    .configured(&info.name)
                    .map(|pool| pool.routes)
                    .unwrap_or_default(),
                name: info.name,
                kind: info.kind.export().to_owned(),
                module: info.module,
                min: info.workers.map(|workers| workers.min),
                max: info.workers.map(|workers| workers.max),
                idle: own().filter(|process| process.state == State::Idle).count(),
                alive: own().count(),
                waiting: info.waiting,
                generation: info.generation,
                memory: own().map(|process| process.memory).sum(),
                is_draining: info.is_draining,
                is_failing: info.is_failing,
                responses: counts.responses,
                refused: counts.refused,
                restarts: counts.restarts(),
                latency: api::Latency::of(&counts.requests),
            });
        }
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            address: self.address.clone(),
            age_ms: self.started.elapsed().as_millis() as u64,
            answered: stats.answered,
            obstacle: self.obstacle(),
            pools,
            ended: stats
                .ended
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(exit, count)| (exit.name().to_owned(), count))
                .collect(),
            hosts: self
                .host
                .cluster()
                .map(Cluster::hosts)
                .map_or_else(Vec::new, |hosts| {
                    hosts.into_iter().map(api::ClusterHost::from).collect()
                }),
        }
    }

    /// What happens from now on.
    ///
    /// # Errors
    /// If there is no such pool or process.
    pub(super) fn watch(&self, query: &Query) -> anyhow::Result<Named> {
        let pool = query.pool.as_deref().map(|name| self.number(name));
        let missing = || {
            let pid = cli::Pid(query.pid.unwrap_or_default());
            anyhow!("there is no process {pid}")
        };
        let pid = query
            .pid
            .map(|pid| Pid::new(pid).ok_or_else(missing))
            .transpose()?;
        let watch = Watch {
            pool: pool.transpose()?,
            pid,
            calls: query.calls,
        };
        // Before the look for the process, so that its end isn't missed.
        let events = Named::watch(&self.host, watch);
        if let Some(pid) = pid
            && !self
                .host
                .processes()
                .iter()
                .any(|process| process.pid == pid)
        {
            return Err(missing());
        }
        Ok(events)
    }

    /// Ends a process. Returns whether it existed.
    pub(super) fn kill(&self, pid: u64, way: api::Way) -> bool {
        Pid::new(pid).is_some_and(|pid| match way {
            api::Way::Plain => self.host.kill(pid),
            api::Way::Trap => self.host.trap(pid),
            api::Way::Serving => self.host.kill_serving(pid),
        })
    }

    /// Sets what goes into the log.
    pub(super) fn set_level(&self, level: LogLevel) {
        self.around.log.set_level(level);
        tracing::info!(level = ?level, "the log's level has changed");
    }

    /// The pools' names, their modules, and what the files of these were before they were read.
    pub(crate) fn modules(&self) -> Vec<(String, Module, Option<Identity>)> {
        let pools = self.pools();
        let modules = pools.iter().map(|pool| {
            let Served { name, settings, .. } = pool;
            (name.clone(), settings.module.clone(), pool.used)
        });
        modules.collect()
    }

    /// Reads the configuration again, loads the module of this pool again, and has it take the
    /// place of the one that serves.
    ///
    /// # Errors
    /// If one of them can't be used. The one before goes on serving then.
    pub(crate) async fn reload(&self, pool: &str) -> anyhow::Result<()> {
        let reloaded = self.reload_pool(pool).await;
        reloaded.map_err(|error| self.walled(error))
    }

    async fn reload_pool(&self, pool: &str) -> anyhow::Result<()> {
        let number = self.number(pool);
        let number = number.context("reload without a name adds what the configuration has")?;
        let _one_by_one = self.loading.lock().await;
        let _told = self.around.manager.reloading();
        let mut read = self.read()?;
        let configured = read
            .pools
            .iter_mut()
            .find(|configured| configured.name() == pool);
        let Some(configured) = configured else {
            bail!("the configuration has no pool {pool} any more: reload without a name ends it");
        };
        let served = Served::of(configured, &self.around.steps);
        let served = served.map_err(|problem| anyhow!(problem))?;
        if self
            .configured(pool)
            .is_none_or(|before| before.title != served.title)
        {
            bail!("the configuration has other routes for it: reload without a name changes them");
        }
        let served = self.with_pushed(served)?;
        let loaded = load(&served.settings, self.around.said).await;
        let loaded = loaded.map_err(|error| anyhow!(configured.explained(&error)))?;
        let replaced = self.host.replace(number, loaded).await;
        replaced.map_err(|error| anyhow!(configured.explained(&error)))?;
        if let Some(before) = self.pools().iter_mut().find(|before| before.name == pool) {
            *before = served;
        }
        Ok(())
    }

    /// Opens the log's file anew, reads the configuration and the certificates again, loads all
    /// modules, and has these pools and routes take the place of those that serve: all, or none.
    /// Returns what it could not change.
    ///
    /// # Errors
    /// If any of them can't be used. All goes on as before then.
    pub(crate) async fn reload_all(&self) -> anyhow::Result<Vec<String>> {
        let reloaded = self.reload_everything().await;
        reloaded.map_err(|error| self.walled(error))
    }

    /// A pool as it is configured now, with what was pushed for it last. A reload asks the cluster
    /// for nothing.
    ///
    /// # Errors
    /// If its module was pushed and is not now, or the other way round.
    fn with_pushed(&self, mut served: Served) -> anyhow::Result<Served> {
        let before = self.configured(&served.name);
        let was_pushed = before.as_ref().is_some_and(|before| before.is_pushed);
        if served.is_pushed != was_pushed {
            bail!(
                "--module: whether pool {} serves what is pushed to the cluster needs a new start",
                served.name
            );
        }
        if let Some(before) = before.filter(|_| was_pushed) {
            served.settings.module = before.settings.module;
        }
        Ok(served)
    }

    /// Has a module that was pushed take the place of the one that serves, with the configuration
    /// as it was read last. Returns the number of its loading, and the module before.
    ///
    /// # Errors
    /// If it can't be used. The one before goes on serving then.
    pub(crate) async fn swap(&self, pool: &str, module: Module) -> anyhow::Result<(u64, Module)> {
        let number = self.number(pool)?;
        let _one_by_one = self.loading.lock().await;
        let _told = self.around.manager.reloading();
        let served = self.configured(pool);
        let mut served = served.context("the pool is gone")?;
        let before = std::mem::replace(&mut served.settings.module, module.clone());
        let loaded = load(&served.settings, self.around.said).await;
        let loaded = loaded.map_err(|error| anyhow!(explain::start(&error)))?;
        let replaced = self.host.replace(number, loaded).await;
        replaced.map_err(|error| anyhow!(explain::start(&error)))?;
        self.swapped(pool, module);
        let pools = self.host.pools();
        let loading = pools.iter().find(|pool| pool.number == number);
        Ok((loading.map_or(0, |pool| pool.generation), before))
    }

    /// The pool serves this module from now on, which was pushed.
    pub(crate) fn swapped(&self, pool: &str, module: Module) {
        let mut pools = self.pools();
        if let Some(served) = pools.iter_mut().find(|served| served.name == pool) {
            served.settings.module = module;
        }
    }

    /// Whether the pool serves what is pushed.
    pub(crate) fn is_pushed(&self, pool: &str) -> bool {
        self.configured(pool).is_some_and(|pool| pool.is_pushed)
    }

    /// An error of a reload, with what to do if a right is missing: the right of the host's user,
    /// or one that the host gave up at its start.
    fn walled(&self, error: anyhow::Error) -> anyhow::Error {
        if !is_denial(&error) {
            return error;
        }
        let text = format!("{error:#}");
        let file = self.named_in(&text);
        if let Some(file) = file.as_ref().filter(|file| is_forbidden(file)) {
            let file = file.display();
            return anyhow!(
                "{text}. The mode of {file}, or of a folder above it, keeps the host's user from reading it: give \
                 this user the right to"
            );
        }
        if !self.around.is_confined {
            return error;
        }
        match file.filter(|file| self.around.named.contains(file) && !has_successors(file)) {
            Some(file) => anyhow!(
                "{text}. In a folder that many share, a host reads only the file that was there at its start, and \
                 none that is renamed over it: write into {}, or give it a folder of its own and start the host \
                 again",
                file.display()
            ),
            None => anyhow!(
                "{text}. A host reads no folders that were not named at its start: if this is a new one, start \
                 the host again, with --reuse-port if no connection may be lost; --no-confine starts it without walls"
            ),
        }
    }

    /// The file or folder of the configuration that a text names.
    fn named_in(&self, text: &str) -> Option<PathBuf> {
        let mut files = self.around.named.clone();
        if let Ok(mut read) = self.read() {
            files.extend(named(&mut read));
        }
        let mut files = files.into_iter();
        files.find(|file| text.contains(&format!(" {}:", file.display())))
    }

    async fn reload_everything(&self) -> anyhow::Result<Vec<String>> {
        self.reopen_log();
        let _one_by_one = self.loading.lock().await;
        let _told = self.around.manager.reloading();
        let mut read = self.read()?;
        if read.pools.is_empty() != self.pools().is_empty() {
            bail!(
                "--role: a front has no pools, and others have: start the host again to change it"
            );
        }
        let tls = self.read_tls(&read)?;
        let mut pools = Vec::new();
        for configured in &mut read.pools {
            let served = Served::of(configured, &self.around.steps);
            pools.push(self.with_pushed(served.map_err(|problem| anyhow!(problem))?)?);
        }
        let mut loaded = Vec::new();
        for (configured, served) in read.pools.into_iter().zip(&pools) {
            let module = load(&served.settings, self.around.said).await;
            let module = module.map_err(|error| anyhow!(configured.explained(&error)))?;
            loaded.push(configured.with(module));
        }
        let changed = self.host.reconfigure(loaded).await;
        changed.map_err(|error| anyhow!(explain::start(&error)))?;
        *self.pools() = pools;
        let mut fixed = read.of_the_host.other_than(&self.around.of_the_host);
        if let (Some(current), Some(tls)) = (&self.around.tls, tls) {
            current.replace(&tls);
            fixed.retain(|flag| !flag.starts_with("--tls-")); // they have changed
        }
        match (!fixed.is_empty()).then(|| fixed.join(", ")) {
            None => tracing::info!("everything was loaded again"),
            Some(needs_a_new_start) => {
                tracing::warn!(needs_a_new_start, "everything was loaded again");
            }
        }
        Ok(fixed)
    }

    /// Reads the certificates again.
    fn read_tls(&self, read: &Configured) -> anyhow::Result<Option<Tls>> {
        let files = read.serve.connections.tls();
        let files = files.filter(|_| self.around.tls.is_some());
        files.map(|files| tls(&files)).transpose()
    }

    fn read(&self) -> anyhow::Result<Configured> {
        config::read(self.around.asked.clone()).map_err(|problem| anyhow!(problem))
    }

    /// Has these pools take no new requests, all if none is named. Returns once they have none.
    ///
    /// # Errors
    /// If there is no such pool.
    pub(super) async fn drain(&self, pool: Option<&str>) -> anyhow::Result<()> {
        let numbers = match pool {
            Some(pool) => vec![self.number(pool)?],
            None => self.host.pools().iter().map(|pool| pool.number).collect(),
        };
        if numbers.is_empty() {
            bail!(NO_POOL);
        }
        tracing::info!(pool, "draining");
        let drains = numbers.into_iter().map(|number| {
            let host = self.host.clone();
            async move { host.drain(number).await }
        });
        let mut drains: tokio::task::JoinSet<_> = drains.collect();
        while let Some(drained) = drains.join_next().await {
            drained?.map_err(|error| anyhow!(explain::start(&error)))?;
        }
        tracing::info!(pool, "drained: no request is left");
        Ok(())
    }

    /// Does what a signal asks for.
    pub(crate) async fn hear(&self, signal: Other) {
        match signal {
            Other::Hangup => match self.reload_all().await {
                Ok(_logged) => {}
                Err(error) => {
                    let reason = format!("{error:#}");
                    tracing::warn!(reason, "nothing was loaded again: all goes on as before");
                }
            },
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
    pub(super) async fn scale(&self, pool: &str, workers: api::Workers) -> anyhow::Result<()> {
        let pools = self.host.pools();
        let number = self.number(pool)?;
        let found = pools.iter().find(|pool| pool.number == number);
        if found.is_none_or(|pool| pool.workers.is_none()) {
            bail!("a program starts processes as it likes; --max-processes bounds them");
        }
        let api::Workers { min, max } = workers;
        let scaled = self.host.scale(number, Workers { min, max }).await;
        scaled.map_err(|error| anyhow!(explain::start(&error)))
    }

    /// The number of the pool of this name.
    fn number(&self, name: &str) -> anyhow::Result<u32> {
        let pools = self.host.pools();
        let found = pools.iter().find(|pool| pool.name == name);
        found.map(|pool| pool.number).ok_or_else(|| {
            let names: Vec<_> = pools.iter().map(|pool| &*pool.name).collect();
            match &*names {
                [] => anyhow!(NO_POOL),
                names => anyhow!("there is no pool {name:?}; there is {}", names.join(", ")),
            }
        })
    }

    /// The pool of this name, as it was configured.
    fn configured(&self, name: &str) -> Option<Served> {
        self.pools().iter().find(|pool| pool.name == name).cloned()
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Served>> {
        // No step under this lock can panic.
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a host lacks that is nothing without its cluster, if it lacks anything. One with clients
/// and processes of its own serves them whatever becomes of the others.
fn missing(cluster: &Cluster) -> Option<String> {
    let hosts = cluster.hosts();
    let this = hosts.iter().find(|host| host.is_this)?;
    let is_front = matches!(this.role, Role::Front);
    let may_answer =
        |host: &HostInfo| !host.is_this && !host.is_draining && !matches!(host.role, Role::Front);
    if matches!(this.role, Role::Both) {
        None
    } else if !cluster.counts().is_connected {
        Some("cut off from the cluster".to_owned())
    } else if is_front && !hosts.iter().any(may_answer) {
        Some("no other host of the cluster takes requests".to_owned())
    } else {
        None
    }
}
