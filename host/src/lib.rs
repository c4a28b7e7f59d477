//! Prefork for WebAssembly: a pool of isolated wasm processes behind an HTTP server.
//!
//! [`serve`] is the one door: the program, the tests and embedders all come in through it. Behind it are
//! the floors below, from the ground up; each uses those above it in this list and no other.

pub mod message;

pub mod pid;

pub mod files;

pub mod shutdown;

pub mod sandbox;

pub mod process;

pub mod supervisor;

pub mod pool;

pub mod http;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use shutdown::Phase;

/// Everything that can be set, floor by floor.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that guests may read.
    pub root: PathBuf,
    /// What processes are made of.
    pub sandbox: sandbox::Settings,
    /// How many there are.
    pub pool: pool::Settings,
    /// What clients may do.
    pub http: http::Settings,
    /// How long running requests may go on when the host stops.
    pub grace: Duration,
}

/// A host whose module is compiled and whose processes are started, but that does not listen yet.
#[derive(Debug)]
pub struct Host {
    pool: Arc<pool::Pool>,
    settings: Settings,
}

impl Host {
    /// Compiles the module and starts the processes that are kept alive.
    ///
    /// # Errors
    /// Where the root can't be opened, the module can't be run, or a process can't be started.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let root = files::Root::open(&settings.root).with_context(|| {
            format!("--root {}: can't open this folder", settings.root.display())
        })?;
        // Compiling takes from tens of milliseconds to seconds; whoever waits for us may want to stop.
        let sandbox = tokio::task::spawn_blocking({
            let settings = settings.sandbox.clone();
            move || sandbox::Sandbox::load(settings, root)
        });
        let sandbox = sandbox.await.context("the compiler failed")??;
        let supervisor = supervisor::Supervisor::new(sandbox, settings.http.request_timeout);
        let pool = Arc::new(pool::Pool::new(supervisor, settings.pool));
        pool.warm().await.context("the module can't be started")?;
        Ok(Self { pool, settings })
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
        let Self { pool, settings } = self;
        let (stopper, stopping) = shutdown::channel();
        let service = Arc::new(http::Service::new(
            Arc::clone(&pool),
            settings.http,
            stopping,
        ));
        let stop_in_steps = async {
            stop.await;
            tracing::info!("stopping");
            stopper.enter(Phase::Draining);
            tokio::time::sleep(settings.grace).await;
            stopper.enter(Phase::Ending);
            pool.close();
            std::future::pending().await
        };
        let keep = async {
            pool.keep().await;
            std::future::pending().await // the pool is closed: now it is for the connections to end
        };
        tokio::select! {
            () = http::listen(listener, service) => {}
            () = stop_in_steps => {}
            () = keep => {}
        }
        pool.close();
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
    Host::start(settings).await?.serve(listener, stop).await
}
