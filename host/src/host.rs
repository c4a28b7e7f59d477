//! A *host* is the single handle for everything below the command line. It starts processes, serves
//! any number of listeners or single requests, lists its processes, and stops.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use crate::exit::Exit;
use crate::files::RootFolder;
use crate::guests::{Division, Guests, Place, StartError, Trace, Unanswered};
use crate::http::{self, Served};
use crate::kind::Kind;
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::routes::{Route, Routes};
use crate::sandbox::Compiled;
use crate::settings::{HostSettings, Settings, Workers};
use crate::shutdown::{self, Phase, Stopper};
use crate::steps::Steps;
use crate::table::{Lives, ProcessInfo};
use crate::tally::Counts;
use crate::threads;

/// The name of a host's only pool, if it was given none.
const ONLY: &str = "main";

/// A compiled module and an open root folder, ready to start.
#[derive(Debug)]
pub struct Loaded {
    compiled: Compiled,
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
    lives: Arc<Lives>,
    pools: Vec<Arc<Guests>>,
    names: Vec<String>,
    service: Arc<http::Service>,
    stopper: Stopper,
}

/// A pool or a program of a host, at one moment.
#[derive(Clone, Debug)]
pub struct PoolInfo {
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
    /// How often the module has been loaded.
    pub generation: u64,
    /// Whether its processes can't be started at present.
    pub is_failing: bool,
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
            compiled: compiled.map_err(StartError::Load)?,
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

    pub(crate) fn into_parts(self) -> (Compiled, RootFolder, Settings) {
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
        settings.check().map_err(StartError::Settings)?;
        let modules = pools.iter().map(|pool| {
            let Loaded {
                compiled, settings, ..
            } = &pool.loaded;
            (compiled.kind(), settings)
        });
        let division = Division::among(&settings, &modules.collect::<Vec<_>>());
        let division = division.map_err(StartError::Settings)?;
        let (stopper, stopping) = shutdown::channel();
        let lives = Arc::new(Lives::new(settings.memory));
        let routes = Routes::new(pools.iter().map(|pool| &*pool.routes));
        let (mut served, mut steps) = (Vec::new(), Steps::default());
        let have_names = pools.len() > 1;
        let names = pools.iter().map(|pool| pool.name.clone()).collect();
        for ((number, pool), files) in (0..).zip(pools).zip(division.files) {
            let place = Place {
                lives: Arc::clone(&lives),
                number,
                name: have_names.then(|| pool.name.clone().into()),
                files,
            };
            let Loaded {
                compiled,
                root_folder,
                settings,
            } = pool.loaded;
            let guests = Guests::start(compiled, root_folder, &settings, place, stopping.clone());
            let guests = guests.await.map_err(|error| match have_names {
                true => StartError::Pool(pool.name, Box::new(error)),
                false => error,
            })?;
            served.push(Served {
                guests: Arc::new(guests),
                strips_prefix: pool.strips_prefix,
            });
            steps = settings.steps;
        }
        let pools: Vec<_> = served.iter().map(|pool| Arc::clone(&pool.guests)).collect();
        for pool in &pools {
            tokio::spawn(pool.maintain());
        }
        let connections = division.connections;
        let served = served.into();
        let service = http::Service::new(served, routes, &settings, connections, steps, stopping);
        Ok(Self(Arc::new(Inner {
            lives,
            pools,
            names,
            service: Arc::new(service),
            stopper,
        })))
    }

    /// Has another module, or the same one anew, take the place of the current one in the pool of
    /// this number. Its processes are started first. Requests that run, and those that wait in
    /// line, finish with the old processes; no request fails for the change. The limits of
    /// connections, memory and trees stay those that the host was started with.
    ///
    /// # Errors
    /// [`StartError`]. The old module goes on serving then.
    ///
    /// # Panics
    /// If there is no such pool.
    pub async fn replace(&self, pool: usize, loaded: Loaded) -> Result<(), StartError> {
        let Loaded {
            compiled,
            root_folder,
            settings,
        } = loaded;
        let guests = &self.0.pools[pool];
        let keep = guests.replace(compiled, root_folder, &settings).await?;
        tokio::spawn(keep);
        Ok(())
    }

    /// Serves connections of `listener` until the host stops and all connections are closed. A host
    /// serves any number of listeners at the same time. Its limits bound all of them together.
    ///
    /// # Errors
    /// If tokio can't use the listener.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        http::listen(listener, Arc::clone(&self.0.service)).await;
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

    /// The pools, in the order in which they were given. [`ProcessInfo::pool`] is an index into
    /// these.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolInfo> {
        let pools = self.0.names.iter().zip(&self.0.pools);
        let pools = pools.map(|(name, pool)| PoolInfo {
            name: name.clone(),
            kind: pool.kind(),
            module: pool.module(),
            workers: pool.kind().is_pooled().then(|| pool.workers()),
            waiting: pool.in_line(),
            generation: pool.generations(),
            is_failing: pool.is_failing(),
            counts: pool.table().tally().counts(),
        });
        pools.collect()
    }

    /// A sample of all processes, sorted by pid.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessInfo> {
        let mut processes = self.0.lives.sample();
        for pool in &self.0.pools {
            pool.table().complete(&mut processes);
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
        if let Some(pool) = self.0.pools.get(row.pool as usize) {
            pool.kill(&row);
        }
        true
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
        let Inner { lives, pools, .. } = &*self.0;
        let mut ended: Vec<_> = Exit::ALL.into_iter().map(|exit| (exit, 0)).collect();
        for pool in pools {
            let exits = pool.table().tally().counts().exits;
            for ((_, sum), (_, count)) in ended.iter_mut().zip(exits) {
                *sum += count;
            }
        }
        Stats {
            answered: lives.served(),
            waiting: pools.iter().map(|pool| pool.in_line()).sum(),
            ended,
        }
    }

    /// Stops the host. It begins nothing new, running requests may go on for `grace`, and then
    /// everything ends. Returns once all connections are closed and all processes have ended.
    pub async fn stop(&self, grace: Duration) {
        let Inner {
            pools,
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
        let draining = async {
            service.closed().await;
            for pool in pools {
                pool.done().await;
            }
        };
        let drained = tokio::time::timeout(grace, draining).await;
        stopper.enter(Phase::Ending);
        for pool in pools {
            pool.close();
        }
        if drained.is_err() {
            service.closed().await;
        }
        for pool in pools {
            pool.end().await;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopper.enter(Phase::Ending);
        for pool in &self.pools {
            pool.close();
        }
    }
}
