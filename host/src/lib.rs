//! Prefork for WebAssembly: a pool of isolated wasm processes behind an HTTP server.
//!
//! [`serve`] is the one door: the program, the tests and embedders all come in through it. Behind it are
//! the floors below, from the ground up; each uses those before it and on its own floor, and no other.

pub mod text;

pub mod pid;

pub mod files;

pub mod call;

pub mod message;

pub mod shutdown;

mod deadline;

pub mod outlet;
mod rate;

mod threads;

pub mod steps;

pub mod scheduler;

pub mod mailbox;

pub mod table;

pub mod router;

pub mod sandbox;

pub mod process;

pub mod tree;

pub mod supervisor;

pub mod root;

pub mod pool;

pub mod http;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use http::Guests;
use message::ExitStatus;
use pool::Pool;
use root::RootKeeper;
use sandbox::{Programs, Sandbox, World};
use shutdown::Phase;
use supervisor::Supervisor;
use table::Table;
use tree::Tree;

/// Everything that can be set, floor by floor.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that guests may read.
    pub root: PathBuf,
    /// What processes are made of.
    pub sandbox: sandbox::Settings,
    /// How many there are, if the module is a handler.
    pub pool: pool::Settings,
    /// How many there may be, if it is a program.
    pub processes: table::Settings,
    /// What clients may do.
    pub http: http::Settings,
    /// How long running requests may go on when the host stops.
    pub grace: Duration,
}

/// A module that is compiled.
#[derive(Debug)]
pub struct Loaded {
    sandbox: Sandbox,
    settings: Settings,
}

/// A host whose first processes are started, but that does not listen yet.
#[derive(Debug)]
pub struct Host {
    guests: Guests,
    settings: Settings,
}

impl Loaded {
    /// Opens the root and compiles the module.
    ///
    /// # Errors
    /// Where the root can't be opened, or the module can't be run.
    pub async fn new(settings: Settings) -> anyhow::Result<Self> {
        let sandbox = load(&settings.root, &settings.sandbox).await?;
        Ok(Self { sandbox, settings })
    }

    /// What the module is made for.
    #[must_use]
    pub fn world(&self) -> World {
        self.sandbox.world()
    }

    /// Starts the processes that are kept alive.
    ///
    /// # Errors
    /// Where one of them can't be started.
    pub async fn start(self) -> anyhow::Result<Host> {
        let Self { sandbox, settings } = self;
        let patience = settings.http.request_timeout;
        let guests = match sandbox {
            Sandbox::Handlers(handlers) => {
                let supervisor = Supervisor::new(handlers, patience);
                let pool = Arc::new(Pool::new(supervisor, settings.pool));
                pool.warm().await.context("the module can't be started")?;
                Guests::Pool(pool)
            }
            Sandbox::Programs(programs) => {
                let tree = Tree::new(programs, Table::new(settings.processes), patience);
                let root = RootKeeper::new(tree).map_err(root_not_started)?;
                Guests::Program(Arc::new(root))
            }
        };
        Ok(Host { guests, settings })
    }
}

impl Host {
    /// Compiles the module and starts the processes that are kept alive.
    ///
    /// # Errors
    /// Those of [`Loaded::new`] and [`Loaded::start`].
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        Loaded::new(settings).await?.start().await
    }

    /// Serves connections of `listener` until `stop` completes; then lets running requests finish within
    /// the grace time, and returns.
    ///
    /// # Errors
    /// Where the listener is not one that tokio can use.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let Self { guests, settings } = self;
        let (stopper, stopping) = shutdown::channel();
        let steps = settings.sandbox.steps;
        let service = http::Service::new(guests.clone(), settings.http, steps, stopping);
        let service = Arc::new(service);
        let close = || match &guests {
            Guests::Pool(pool) => pool.close(),
            Guests::Program(program) => program.close(),
        };
        let stop_in_steps = async {
            stop.await;
            tracing::info!("stopping");
            stopper.enter(Phase::Draining);
            tokio::time::sleep(settings.grace).await;
            stopper.enter(Phase::Ending);
            close();
            std::future::pending().await
        };
        let keep = async {
            match &guests {
                Guests::Pool(pool) => pool.keep().await,
                Guests::Program(program) => program.keep().await,
            }
            std::future::pending().await // all is closed: now it is for the connections to end
        };
        tokio::select! {
            () = http::listen(listener, service) => {}
            () = stop_in_steps => {}
            () = keep => {}
        }
        match &guests {
            Guests::Pool(pool) => pool.close(),
            Guests::Program(program) => program.end().await,
        }
        Ok(())
    }
}

/// Starts a host and serves with it; see [`Host`].
///
/// # Errors
/// Those of [`Host::start`] and [`Host::serve`].
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut stop = std::pin::pin!(stop);
    let host = tokio::select! {
        biased;
        () = stop.as_mut() => return Ok(()),
        host = Host::start(settings) => host?,
    };
    host.serve(listener, stop).await
}

/// What a program may do that is run by itself, without HTTP.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// The folder that guests may read.
    pub root: PathBuf,
    /// What processes are made of.
    pub sandbox: sandbox::Settings,
    /// How many there may be.
    pub processes: table::Settings,
    /// How long start code may take.
    pub patience: Duration,
}

/// How long a program that has ended waits for a reader of its output who reads nothing: a pager waits for a person.
const UNREAD: Duration = Duration::from_secs(10);

/// The same for a program that was stopped.
const UNREAD_WHEN_STOPPED: Duration = Duration::from_secs(1);

/// A program that is compiled.
#[derive(Debug)]
pub struct Program {
    programs: Programs,
    processes: table::Settings,
    patience: Duration,
}

impl Program {
    /// Opens the root folder and compiles the module.
    ///
    /// # Errors
    /// Where the root folder can't be opened, or the module is not a program that can be run here.
    pub async fn load(settings: RunSettings) -> anyhow::Result<Self> {
        let RunSettings {
            root,
            sandbox,
            processes,
            patience,
        } = settings;
        match load(&root, &sandbox).await? {
            Sandbox::Programs(programs) => Ok(Self {
                programs,
                processes,
                patience,
            }),
            Sandbox::Handlers(_) => bail!(
                "{}: this module exports `handle`, not `run`: serve it with --module",
                sandbox.module
            ),
        }
    }

    /// Runs it until its root ends, or until `stop` completes. All its processes end with it.
    ///
    /// # Errors
    /// Where the root can't be started, or what it prints can't be written: an [`std::io::Error`],
    /// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe) where its reader has gone.
    pub async fn run(
        self,
        args: Vec<String>,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<Option<ExitStatus>> {
        let tree = Tree::new(self.programs, Table::new(self.processes), self.patience);
        let _closing = tree.closing();
        let mut root = tree.plant(args).map_err(root_not_started)?;
        let mut stop = std::pin::pin!(stop);
        let status = tokio::select! {
            status = root.ended() => Some(status),
            () = stop.as_mut() => None,
            error = sandbox::output_failed() => return Err(error.into()),
        };
        tree.fell().await;
        let patience = match status {
            Some(_) => UNREAD,
            None => UNREAD_WHEN_STOPPED,
        };
        tokio::select! {
            bytes = sandbox::output_written(patience) => if bytes > 0 {
                tracing::warn!(bytes, "nobody reads the output: the rest of it is lost");
            },
            () = stop, if status.is_some() => {}
            error = sandbox::output_failed() => return Err(error.into()),
        }
        Ok(status)
    }
}

/// Compiles a program and runs it; see [`Program`]. Nothing where `stop` completes before its root ends.
///
/// # Errors
/// Those of [`Program::load`] and [`Program::run`].
pub async fn run(
    settings: RunSettings,
    args: Vec<String>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Option<ExitStatus>> {
    let mut stop = std::pin::pin!(stop);
    let program = tokio::select! {
        biased;
        () = stop.as_mut() => return Ok(None),
        program = Program::load(settings) => program?,
    };
    program.run(args, stop).await
}

fn root_not_started(error: table::ProcessError) -> anyhow::Error {
    anyhow::anyhow!("the root can't be started: {error:?}")
}

/// Compiling takes from tens of milliseconds to seconds; whoever waits for it may want to stop.
async fn load(root: &Path, settings: &sandbox::Settings) -> anyhow::Result<Sandbox> {
    let root = files::Root::open(root)
        .with_context(|| format!("--root {}: can't open this folder", root.display()))?;
    let settings = settings.clone();
    let loading = threads::run(move || Sandbox::load(settings, root)).await;
    Ok(loading.context("the compiler failed")??)
}
