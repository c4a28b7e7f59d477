//! A *host* is the single handle for everything below the command line. It starts processes, serves
//! any number of listeners or single requests, lists its processes, and stops.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use crate::exit::Exit;
use crate::files::RootFolder;
use crate::guests::{Guests, Plan, StartError, Trace, Unanswered};
use crate::http;
use crate::kind::Kind;
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::sandbox::Compiled;
use crate::settings::{Settings, Workers};
use crate::shutdown::{self, Phase, Stopper};
use crate::table::ProcessInfo;
use crate::threads;

/// A compiled module and an open root folder, ready to start.
#[derive(Debug)]
pub struct Loaded {
    compiled: Compiled,
    root_folder: RootFolder,
    settings: Settings,
}

/// A running host. Clones are handles of the same host. Dropping all of them ends its processes.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    guests: Arc<Guests>,
    service: Arc<http::Service>,
    stopper: Stopper,
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

    /// Reserves memory, and starts the processes that are kept alive.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Host, StartError> {
        let Self {
            compiled,
            root_folder,
            settings,
        } = self;
        let plan = Plan::new(compiled.kind(), &settings, true).map_err(StartError::Settings)?;
        let (stopper, stopping) = shutdown::channel();
        let served = http::Settings::new(&settings, plan.connections);
        let guests = Guests::start(compiled, plan, root_folder, &settings, stopping.clone()).await;
        let guests = Arc::new(guests?);
        let service = http::Service::new(Arc::clone(&guests), served, settings.steps, stopping);
        tokio::spawn(guests.maintain());
        Ok(Host(Arc::new(Inner {
            guests,
            service: Arc::new(service),
            stopper,
        })))
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

    /// Has another module, or the same one anew, take the place of the current one. Its processes
    /// are started first. Requests that run, and those that wait in line, finish with the old
    /// processes; no request fails for the change. The limits of connections, requests and trees
    /// stay those that the host was started with.
    ///
    /// # Errors
    /// [`StartError`]. The old module goes on serving then.
    pub async fn replace(&self, loaded: Loaded) -> Result<(), StartError> {
        let Loaded {
            compiled,
            root_folder,
            settings,
        } = loaded;
        let plan = Plan::new(compiled.kind(), &settings, true).map_err(StartError::Settings)?;
        let guests = &self.0.guests;
        let keep = guests
            .replace(compiled, plan, root_folder, &settings)
            .await?;
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

    /// Has a guest answer one request, without a listener. Returns the guest's response, which may
    /// not be valid HTTP.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn handle(&self, request: Request) -> Result<Response, Unanswered> {
        let mut trace = Trace::default();
        let answer = self
            .0
            .guests
            .answer(request, &mut trace, async |response| Ok(response));
        answer.await
    }

    /// The kind of the module.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.guests.kind()
    }

    /// How many processes are kept alive, and how many there may be, if the module exports
    /// `handle`.
    #[must_use]
    pub fn workers(&self) -> Workers {
        self.0.guests.workers()
    }

    /// A sample of all processes, sorted by pid.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessInfo> {
        self.0.guests.table().processes()
    }

    /// Ends a process: at once if it is idle, and at its next tick otherwise. Its current request
    /// fails. Returns whether the process existed.
    #[must_use]
    pub fn kill(&self, pid: Pid) -> bool {
        self.0.guests.kill(pid)
    }

    /// Sums over the whole life of the host.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (ended, answered) = self.0.guests.table().totals();
        Stats {
            answered,
            waiting: self.0.guests.in_line(),
            ended: Exit::ALL.into_iter().zip(ended).collect(),
        }
    }

    /// Stops the host. It begins nothing new, running requests may go on for `grace`, and then
    /// everything ends. Returns once all connections are closed and all processes have ended.
    pub async fn stop(&self, grace: Duration) {
        let Inner {
            guests,
            service,
            stopper,
        } = &*self.0;
        tracing::info!("stopping");
        stopper.enter(Phase::Draining);
        let draining = async {
            service.closed().await;
            guests.done().await;
        };
        let drained = tokio::time::timeout(grace, draining).await;
        stopper.enter(Phase::Ending);
        guests.close();
        if drained.is_err() {
            service.closed().await;
        }
        guests.end().await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopper.enter(Phase::Ending);
        self.guests.close();
    }
}
