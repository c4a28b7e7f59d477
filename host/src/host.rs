//! A *host* is the single handle for everything below the command line. It starts processes, serves
//! any number of listeners or single requests, lists its processes, and stops.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Mutex;

#[cfg(feature = "cluster")]
use crate::cluster::{Cluster, Local};
use crate::exit::Exit;
use crate::feed::{Event, Events, Watch};
use crate::files::RootFolder;
use crate::guests::{Division, Guests, Place, StartError, Trace, Unanswered};
use crate::http::{self, Listener, Routing, Served};
use crate::kind::Kind;
use crate::message::{Request, Response};
use crate::peers::{Alone, Peers};
use crate::pid::Pid;
use crate::routes::{Route, Routes};
use crate::sandbox::Compiled;
use crate::settings::{HostSettings, Settings, Workers};
use crate::shutdown::{self, Phase, Stopper, Stopping};
use crate::table::{Lives, ProcessInfo};
use crate::tally::{Counts, Tally};
use crate::threads;

/// How long a process that is to end in the middle of a request waits for one.
const DOOM: Duration = Duration::from_secs(10);

/// The name of a host's only pool, if it was given none.
const ONLY: &str = "main";

/// A compiled module and an open root folder, ready to start.
#[derive(Debug)]
pub struct Loaded {
    compiled: Arc<Compiled>,
    root_folder: RootFolder,
    settings: Settings,
}

/// A module with the requests that it answers: a pool of processes, or a program.
#[derive(Debug)]
pub struct Pool {
    /// The name, which no other pool of the host has.
    pub name: String,
    /// The requests of this pool. If several pools have a route for a request, the most specific
    /// one counts.
    pub routes: Vec<Route>,
    /// Whether guests get paths without what the route itself names: of `/api/*`, without `/api`.
    pub strips_prefix: bool,
    /// The module.
    pub loaded: Loaded,
}

/// A running host. Clones are handles of the same host. Dropping all of them ends its processes.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: HostSettings,
    /// The part in a cluster.
    #[cfg(feature = "cluster")]
    cluster: Option<Cluster>,
    lives: Arc<Lives>,
    service: Arc<http::Service>,
    /// The number of the next pool.
    next: AtomicU32,
    /// Held while pools change: one change comes after the other.
    changing: Mutex<()>,
    /// Pools that get no requests any more, and are about to end.
    leaving: std::sync::Mutex<Vec<Weak<Guests>>>,
    stopping: Stopping,
    stopper: Stopper,
}

/// A pool or a program of a host, at one moment.
#[derive(Clone, Debug)]
pub struct PoolInfo {
    /// The number, which no other pool of this host has or had.
    pub number: u32,
    /// The name.
    pub name: String,
    /// The kind of its module.
    pub kind: Kind,
    /// The module, as it was given.
    pub module: String,
    /// How many processes are kept alive, and how many there may be. `None` for a program.
    pub workers: Option<Workers>,
    /// Requests that wait for a process.
    pub waiting: usize,
    /// The number of the loading of the module: 1 for the first.
    pub generation: u64,
    /// Whether this loading has answered no request yet, and the one before may come back.
    pub is_on_trial: bool,
    /// Whether its processes can't be started at present.
    pub is_failing: bool,
    /// Whether it takes no new requests.
    pub is_draining: bool,
    /// What has happened there since the host was started.
    pub counts: Counts,
}

/// Sums over the whole life of a host.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Requests that processes have answered.
    pub answered: u64,
    /// Requests that wait for a process now.
    pub waiting: usize,
    /// Processes that have ended, by exit. All codes count as one.
    pub ended: Vec<(Exit, u64)>,
}

impl Loaded {
    /// Opens the root folder and compiles the module.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn new(settings: Settings) -> Result<Self, StartError> {
        Self::telling(settings, || ()).await
    }

    /// As [`Loaded::new`]. `compiling` is called before a compilation, which may take long: not if
    /// the module is built in or in the cache.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn telling(
        settings: Settings,
        compiling: impl FnOnce() + Send + 'static,
    ) -> Result<Self, StartError> {
        settings.check().map_err(StartError::Settings)?;
        let root_folder = RootFolder::open(&settings.root).map_err(|error| StartError::Root {
            path: settings.root.clone(),
            error,
        })?;
        let (module, cache) = (settings.module.clone(), settings.cache.clone());
        // Compiling takes from tens of milliseconds to seconds, and the caller may want to stop
        // meanwhile.
        let read = move || Compiled::read(module, cache.as_deref(), compiling);
        let compiled = threads::run(read).await.map_err(StartError::Thread)?;
        Ok(Self {
            compiled: Arc::new(compiled.map_err(StartError::Load)?),
            root_folder,
            settings,
        })
    }

    /// The kind of the module.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.compiled.kind()
    }

    /// Starts a host whose only pool this is.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Host, StartError> {
        let pool = Pool {
            name: ONLY.to_owned(),
            routes: vec![Route::all()],
            strips_prefix: false,
            loaded: self,
        };
        Host::of(HostSettings::default(), vec![pool]).await
    }

    pub(crate) fn into_parts(self) -> (Arc<Compiled>, RootFolder, Settings) {
        (self.compiled, self.root_folder, self.settings)
    }
}

impl Host {
    /// Compiles the module and starts the processes that are kept alive.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Loaded::new(settings).await?.start().await
    }

    /// Reserves memory, and starts the processes that are kept alive in these pools. Several pools
    /// share the connections, and the memory of [`HostSettings::memory`]; each has bounds of its
    /// own for everything else.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn of(settings: HostSettings, pools: Vec<Pool>) -> Result<Self, StartError> {
        let alone = Others {
            #[cfg(feature = "cluster")]
            cluster: None,
        };
        Self::among(alone, settings, pools).await
    }

    /// As [`Host::of`], for a host of a cluster: other hosts answer requests for which it has no
    /// room, and it answers theirs. A front has no pools.
    ///
    /// # Errors
    /// [`StartError`].
    #[cfg(feature = "cluster")]
    pub async fn in_cluster(
        cluster: Cluster,
        settings: HostSettings,
        pools: Vec<Pool>,
    ) -> Result<Self, StartError> {
        let others = Others {
            cluster: Some(cluster),
        };
        Self::among(others, settings, pools).await
    }

    async fn among(
        others: Others,
        settings: HostSettings,
        pools: Vec<Pool>,
    ) -> Result<Self, StartError> {
        settings.check().map_err(StartError::Settings)?;
        let division = division(&settings, &pools)?;
        let (stopper, stopping) = shutdown::channel();
        let lives = Arc::new(Lives::new(settings.memory, others.peers()));
        let steps = pools.last().map(|pool| pool.loaded.settings.steps.clone());
        let routes = Routes::new(pools.iter().map(|pool| &*pool.routes));
        let have_names = pools.len() > 1;
        let mut served = Vec::new();
        for ((number, pool), files) in (0..).zip(pools).zip(division.files) {
            let place = Place {
                lives: Arc::clone(&lives),
                number,
                name: (have_names || pool.name != ONLY).then(|| (*pool.name).into()),
                files,
            };
            let name = pool.name.clone();
            let started = pool.start(place, stopping.clone()).await;
            served.push(started.map_err(|error| named(have_names, name, error))?);
        }
        for pool in &served {
            tokio::spawn(pool.guests.maintain());
        }
        let routing = Routing {
            pools: served.into(),
            routes,
        };
        let next = routing.pools.len();
        let service = http::Service::new(
            routing,
            &settings,
            division.connections,
            steps.unwrap_or_default(),
            stopping.clone(),
            Tally::new(u32::MAX, Arc::clone(lives.feed())),
            others.elsewhere(),
        );
        let service = Arc::new(service);
        others.serve(&service);
        Ok(Self(Arc::new(Inner {
            settings,
            #[cfg(feature = "cluster")]
            cluster: others.cluster,
            lives,
            service,
            next: AtomicU32::new(u32::try_from(next).unwrap_or(u32::MAX)),
            changing: Mutex::default(),
            leaving: std::sync::Mutex::default(),
            stopping,
            stopper,
        })))
    }

    /// Has another module, or the same one anew, take the place of the current one in the pool of
    /// this number. Its processes are started first, and one of them is asked
    /// [`Settings::probe`]. Requests that run, and those that wait in line, finish with the old
    /// processes; no request fails for the change. If the new one does nothing but fail in its
    /// first ten seconds, the old one comes back.
    ///
    /// # Errors
    /// [`StartError`]. The old module goes on serving then.
    pub async fn replace(&self, pool: u32, loaded: Loaded) -> Result<(), StartError> {
        let _one_by_one = self.0.changing.lock().await;
        let guests = self.guests(pool)?;
        let (compiled, root_folder, settings) = loaded.into_parts();
        let ready = guests.prepare(compiled, root_folder, &settings, None);
        let ready = self.unless_stopping(ready).await?;
        tokio::spawn(guests.commit(ready)?);
        Ok(())
    }

    /// Changes how many processes the pool of this number keeps alive, and how many there may be.
    /// The module stays as it was loaded.
    ///
    /// # Errors
    /// [`StartError`]. Nothing has changed then.
    pub async fn scale(&self, pool: u32, workers: Workers) -> Result<(), StartError> {
        let _one_by_one = self.0.changing.lock().await;
        let guests = self.guests(pool)?;
        let ready = self.unless_stopping(guests.prepare_scaled(workers)).await?;
        tokio::spawn(guests.commit(ready)?);
        Ok(())
    }

    /// The outcome of a change, unless the host begins to stop before.
    async fn unless_stopping<T>(
        &self,
        change: impl Future<Output = Result<T, StartError>>,
    ) -> Result<T, StartError> {
        let mut stopping = self.0.stopping.clone();
        tokio::select! {
            biased;
            () = stopping.reached(Phase::Draining) => Err(StartError::Stopping),
            changed = change => changed,
        }
    }

    /// Has these pools, with their modules and routes, take the place of all there are, in one
    /// step. A pool of a name that is there already is replaced as by [`Host::replace`]; those of
    /// other names are new; what is missing here finishes its requests and ends. The limits of
    /// connections and memory stay those that the host was started with.
    ///
    /// # Errors
    /// [`StartError`]. Nothing has changed then.
    pub async fn reconfigure(&self, pools: Vec<Pool>) -> Result<(), StartError> {
        let inner = &*self.0;
        let _one_by_one = inner.changing.lock().await;
        let division = division(&inner.settings, &pools)?;
        let routes = Routes::new(pools.iter().map(|pool| &*pool.routes));
        let before = inner.service.routing();
        let have_names = pools.len() > 1;
        let mut changes = Vec::new();
        for (pool, files) in pools.into_iter().zip(division.files) {
            let same = before.pools.iter().find(|served| served.name == pool.name);
            let change = match same {
                Some(served) => {
                    let mut served = served.clone();
                    served.strips_prefix = pool.strips_prefix;
                    let (compiled, root_folder, settings) = pool.loaded.into_parts();
                    let guests = &served.guests;
                    let ready = guests.prepare(compiled, root_folder, &settings, Some(files));
                    let ready = self.unless_stopping(ready).await;
                    let ready = ready.map_err(|error| named(have_names, pool.name, error))?;
                    (served, Some(ready))
                }
                None => {
                    let place = Place {
                        lives: Arc::clone(&inner.lives),
                        number: inner.next.fetch_add(1, Ordering::Relaxed),
                        name: Some((*pool.name).into()),
                        files,
                    };
                    let name = pool.name.clone();
                    let started = pool.start(place, inner.stopping.clone());
                    let started = self.unless_stopping(started).await;
                    (
                        started.map_err(|error| named(have_names, name, error))?,
                        None,
                    )
                }
            };
            changes.push(change);
        }
        // From here on nothing can fail: a host that stops waits until this is over.
        let mut served = Vec::new();
        for (pool, ready) in changes {
            match ready {
                Some(ready) => drop(tokio::spawn(pool.guests.commit(ready)?)),
                None => drop(tokio::spawn(pool.guests.maintain())),
            }
            served.push(pool);
        }
        let is_kept = |pool: &&Served| served.iter().any(|kept| kept.name == pool.name);
        let gone = before.pools.iter().filter(|pool| !is_kept(pool));
        let gone: Vec<_> = gone.map(|pool| Arc::clone(&pool.guests)).collect();
        inner.service.route(Routing {
            pools: served.into(),
            routes,
        });
        let mut leaving = inner.leaving();
        leaving.retain(|guests| guests.strong_count() > 0);
        for guests in gone {
            leaving.push(Arc::downgrade(&guests));
            tokio::spawn(guests.finish());
        }
        Ok(())
    }

    /// Has the pool of this number take no new requests: they get `503`. Returns once those that
    /// came before have their answers, and its processes have ended; those of a program stay.
    /// [`Host::replace`] and [`Host::scale`] have it take requests again.
    ///
    /// # Errors
    /// [`StartError::NoPool`], and [`StartError::Superseded`] if it takes requests again meanwhile.
    pub async fn drain(&self, pool: u32) -> Result<(), StartError> {
        let is_drained = self.guests(pool)?.drain().await;
        is_drained.then_some(()).ok_or(StartError::Superseded)
    }

    /// What happens from now on, in the pools and processes that `watch` names.
    #[must_use]
    pub fn watch(&self, watch: Watch) -> Events {
        self.0.lives.feed().watch(watch)
    }

    /// The last processes that ended by a failure or were killed, some tens, the oldest first.
    #[must_use]
    pub fn recent_ends(&self) -> Vec<Event> {
        self.0.lives.feed().recent()
    }

    fn guests(&self, pool: u32) -> Result<Arc<Guests>, StartError> {
        let routing = self.0.service.routing();
        let mut pools = routing.pools.iter().map(|pool| &pool.guests);
        let found = pools.find(|guests| guests.number() == pool);
        found.map(Arc::clone).ok_or(StartError::NoPool)
    }

    /// The part in a cluster, if it has one.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.0.cluster.as_ref()
    }

    /// Serves connections of `listener` until the host stops and all connections are closed. A host
    /// serves any number of listeners at the same time. Its limits bound all of them together.
    ///
    /// # Errors
    /// If tokio can't use the listener.
    pub async fn serve(&self, listener: impl Into<Listener>) -> io::Result<()> {
        let listener = listener.into().open()?;
        listener.listen(Arc::clone(&self.0.service)).await;
        Ok(())
    }

    /// Has a guest answer one request, without a listener. The request's path and `host` field
    /// choose the pool. Returns the guest's response, which may not be valid HTTP.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn handle(&self, request: Request) -> Result<Response, Unanswered> {
        let mut trace = Trace::default();
        self.0.service.handle(request, &mut trace).await
    }

    /// Asks the pool of this number a request of the host's own, [`Settings::probe`] or `/`, to see
    /// whether it answers at all. Returns the status. The request is neither logged nor counted; a
    /// process that serves one request only is used up by it.
    ///
    /// # Errors
    /// [`Unanswered`]; [`Unanswered::NoRoute`] if there is no such pool.
    pub async fn ask(&self, pool: u32) -> Result<u16, Unanswered> {
        let guests = self.guests(pool).map_err(|_| Unanswered::NoRoute)?;
        guests.ask_own().await
    }

    /// The pools, in the order in which they were given.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolInfo> {
        let routing = self.0.service.routing();
        let pools = routing.pools.iter();
        let pools = pools.map(
            |Served {
                 name, guests: pool, ..
             }| PoolInfo {
                number: pool.number(),
                name: name.clone(),
                kind: pool.kind(),
                module: pool.module(),
                workers: pool.kind().is_pooled().then(|| pool.workers()),
                waiting: pool.in_line(),
                // Before the number: a trial that ends may bring the one before back.
                is_on_trial: pool.is_on_trial(),
                generation: pool.generation(),
                is_failing: pool.is_failing(),
                is_draining: pool.is_draining(),
                counts: pool.table().tally().counts(),
            },
        );
        pools.collect()
    }

    /// A sample of all processes, sorted by pid.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessInfo> {
        let mut processes = self.0.lives.sample();
        for pool in &self.0.service.routing().pools {
            pool.guests.table().complete(&mut processes);
        }
        processes
    }

    /// Ends a process: at once if it is idle, and at its next tick otherwise. Its current request
    /// fails. Returns whether the process existed.
    #[must_use]
    pub fn kill(&self, pid: Pid) -> bool {
        let Some(row) = self.0.lives.find(pid) else {
            return false;
        };
        let leaving = || {
            self.0
                .leaving()
                .iter()
                .filter_map(Weak::upgrade)
                .collect::<Vec<_>>()
        };
        let pool = self.guests(row.pool).ok();
        let pool = pool.or_else(|| leaving().into_iter().find(|pool| pool.number() == row.pool));
        if let Some(pool) = pool {
            pool.kill(&row);
        }
        true
    }

    /// Ends a process in the middle of a request: the current one, or the next one as soon as it
    /// has it, if that comes within ten seconds. Returns whether the process existed. Not for
    /// programs.
    #[must_use]
    pub fn kill_serving(&self, pid: Pid) -> bool {
        match self.0.lives.find(pid) {
            Some(row) if row.kind.is_pooled() && row.request().is_none() => {
                row.doom(DOOM);
                true
            }
            Some(_) | None => self.kill(pid),
        }
    }

    /// What has happened to requests that no pool has a route for, or that were not HTTP.
    #[must_use]
    pub fn unrouted(&self) -> Counts {
        self.0.service.unrouted()
    }

    /// Ends a process as [`Host::kill`] does. If its guest runs, it traps where it is, so that the
    /// log has its backtrace. Not for programs.
    #[must_use]
    pub fn trap(&self, pid: Pid) -> bool {
        match self.0.lives.find(pid) {
            Some(row) if row.kind.is_pooled() && row.trap() => true,
            Some(_) | None => self.kill(pid),
        }
    }

    /// Sums over the whole life of the host.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Inner { lives, service, .. } = &*self.0;
        Stats {
            answered: lives.served(),
            waiting: service
                .routing()
                .pools
                .iter()
                .map(|pool| pool.guests.in_line())
                .sum(),
            ended: lives.exits(),
        }
    }

    /// Stops the host. It begins nothing new, running requests may go on for `grace`, and then
    /// everything ends. Returns once all connections are closed and all processes have ended.
    pub async fn stop(&self, grace: Duration) {
        let Inner {
            service,
            stopper,
            lives,
            ..
        } = &*self.0;
        let running = lives.sample();
        let running = running.iter().filter(|process| process.request.is_some());
        let (running, grace_ms) = (running.count(), grace.as_millis() as u64);
        tracing::info!(running, grace_ms, "stopping");
        stopper.enter(Phase::Draining);
        // A change that has begun is given up, or is over soon.
        let _one_by_one = self.0.changing.lock().await;
        let mut pools: Vec<_> = self.0.leaving().iter().filter_map(Weak::upgrade).collect();
        pools.extend(
            service
                .routing()
                .pools
                .iter()
                .map(|pool| Arc::clone(&pool.guests)),
        );
        let draining = async {
            // Others are told first, so that they ask no more.
            tokio::join!(service.closed(), self.0.drain_for_others());
            for pool in &pools {
                pool.done().await;
            }
        };
        let drained = tokio::time::timeout(grace, draining).await;
        stopper.enter(Phase::Ending);
        for pool in &pools {
            pool.close();
        }
        if drained.is_err() {
            service.closed().await;
        }
        for pool in &pools {
            pool.end().await;
        }
        self.0.leave_others().await;
    }
}

/// The other hosts of a cluster, if there is one.
struct Others {
    #[cfg(feature = "cluster")]
    cluster: Option<Cluster>,
}

#[cfg(feature = "cluster")]
impl Others {
    fn peers(&self) -> Arc<dyn Peers> {
        match &self.cluster {
            Some(cluster) => Arc::new(cluster.clone()),
            None => Arc::new(Alone),
        }
    }

    fn elsewhere(&self) -> Option<http::Elsewhere> {
        self.cluster.clone().map(http::Elsewhere::new)
    }

    /// Has this host answer requests of others.
    fn serve(&self, service: &Arc<http::Service>) {
        if let Some(cluster) = &self.cluster {
            let service = Arc::downgrade(service);
            let local: Weak<dyn Local> = service;
            cluster.serve(local);
        }
    }
}

#[cfg(not(feature = "cluster"))]
impl Others {
    fn peers(&self) -> Arc<dyn Peers> {
        Arc::new(Alone)
    }

    fn elsewhere(&self) -> Option<http::Elsewhere> {
        None
    }

    fn serve(&self, _service: &Arc<http::Service>) {}
}

#[cfg(feature = "cluster")]
impl Inner {
    /// Has others send no more requests, and answers those that they have sent.
    async fn drain_for_others(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.drain().await;
        }
    }

    async fn leave_others(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.leave().await;
        }
    }
}

#[cfg(not(feature = "cluster"))]
impl Inner {
    async fn drain_for_others(&self) {}

    async fn leave_others(&self) {}
}

impl Pool {
    /// Starts the processes.
    async fn start(self, place: Place, stopping: Stopping) -> Result<Served, StartError> {
        let (compiled, root_folder, settings) = self.loaded.into_parts();
        let guests = Guests::start(compiled, root_folder, &settings, place, stopping).await?;
        Ok(Served {
            name: self.name,
            guests: Arc::new(guests),
            strips_prefix: self.strips_prefix,
        })
    }
}

/// What there is for these pools.
fn division(settings: &HostSettings, pools: &[Pool]) -> Result<Division, StartError> {
    let modules = pools.iter().map(|pool| {
        let Loaded {
            compiled, settings, ..
        } = &pool.loaded;
        (compiled.kind(), settings)
    });
    let division = Division::among(settings, &modules.collect::<Vec<_>>());
    division.map_err(StartError::Settings)
}

/// An error with the name of its pool, if there are several.
fn named(have_names: bool, name: String, error: StartError) -> StartError {
    match have_names {
        true => StartError::Pool(name, Box::new(error)),
        false => error,
    }
}

impl Inner {
    fn leaving(&self) -> MutexGuard<'_, Vec<Weak<Guests>>> {
        // No step under this lock can panic.
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopper.enter(Phase::Ending);
        for pool in &self.service.routing().pools {
            pool.guests.close();
        }
    }
}
