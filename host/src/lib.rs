//! Prefork for WebAssembly: a pool of isolated wasm processes behind an HTTP server.
//!
//! A [`Host`] is the only door: the program, the tests and embedders all use it. It is created from
//! [`Settings`], all of which have defaults. It serves listeners or single requests until it is
//! stopped.
//!
//! ```no_run
//! use std::net::TcpListener;
//! use std::time::Duration;
//!
//! use wasm_pool_host::{Host, Module, Settings};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::start(Settings {
//!     module: Module::File("worker.wasm".into()),
//!     ..Settings::default()
//! })
//! .await?;
//! host.serve(TcpListener::bind("127.0.0.1:8080")?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The modules below are the floors, from the ground up. A module uses only its own floor and the
//! floors before it.

mod text;

mod exit;

mod kind;

mod pid;

mod rate;

mod threads;

mod feed;

mod tally;

mod deadline;

mod shutdown;

pub mod steps;

mod sync;

pub mod outlet;

pub mod descriptors;

mod files;

mod body;

mod call;

mod message;

mod routes;

mod settings;

mod mailbox;

mod scheduler;

#[cfg_attr(not(feature = "cluster"), expect(dead_code))]
mod queues;

#[cfg_attr(not(feature = "cluster"), expect(dead_code))]
mod peers;

mod table;

mod router;

mod sandbox;

mod process;

mod tree;

mod supervisor;

mod root;

mod pool;

#[cfg(feature = "cluster")]
mod cluster;

mod guests;

mod http;

mod host;

mod program;

pub use body::{Body, BodyError, FileSlice, Piece, Stream};
#[cfg(feature = "cluster")]
pub use cluster::{
    Cluster, ClusterCounts, ClusterError, ClusterSettings, Following, HostInfo, Line, Push,
    PushEnd, PushEvent, Role, Turn,
};
pub use exit::Exit;
pub use feed::{Ended, Event, Events, Watch, What};
pub use files::FileError;
pub use guests::{ProbeError, SettingsError, StartError, Unanswered};
pub use host::{Host, Loaded, Pool, PoolInfo, Stats};
pub use http::{KeyPair, Listener, Tls, TlsError, TlsFile};
pub use kind::Kind;
pub use message::{Headers, Request, Response, Scheme};
pub use pid::Pid;
pub use program::{Program, RunError};
pub use routes::{Route, RouteError};
pub use sandbox::{
    ForeignHost, GUEST_OUTPUT, Import, LoadError, Proposal, Provider, Report, Unfit, check,
};
pub use settings::{
    CoreDumps, Destination, Environment, HostSettings, Limits, MAX_PROCESSES, Mode, Module,
    ModuleBytes, Output, PoolSettings, ProgramSettings, Setting, Settings, TrustedProxies,
    WORKERS_PER_CORE, Workers,
};
pub use table::{ProcessInfo, State};
pub use tally::{Calls, Counts, Histogram, Interface};
