//! The *sandbox* is the only door to wasmtime. Above it there are modules, instances that take a request
//! and give a response, and failures in plain words; below it there are engines, stores, linkers and traps.
//!
//! A module is compiled once. From then on an instance is a slot of memory that already exists, mapped
//! copy-on-write: creating one takes about as long as opening a file.

mod bindings;
mod check;
mod clock;
mod engine;
mod failure;
mod files;
mod handler;
mod limits;
mod output;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use check::{Report, check};
pub use failure::{Failure, LoadError};
pub use handler::Instance;

use crate::files::Root;
use crate::pid::Pid;
use bindings::HandlerPre;
use clock::Clock;
use handler::State;

/// What instances are made of and what they may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The component to run.
    pub module: Module,
    /// Instances that may exist at one time. Memory for them is reserved, not used, at the start.
    pub instances: u32,
    /// The most memory that one instance may have, in bytes, all its memories and tables together.
    pub memory: u64,
    /// The largest response body, in bytes, that is copied out of an instance.
    pub max_response: u64,
    /// The most files that one instance may have open.
    pub max_open_files: u32,
}

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// The static file server that is compiled into this program.
    BuiltIn,
    /// A component in a file, as a binary or as text.
    File(PathBuf),
}

/// A compiled module, ready to be instantiated any number of times.
pub struct Sandbox {
    prepared: HandlerPre<State>,
    clock: Arc<Clock>,
    root: Root,
    settings: Settings,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Sandbox {
    /// Compiles the module and reserves the memory of its instances.
    ///
    /// # Errors
    /// Where the module is not a component, or not one that this host can run.
    pub fn load(settings: Settings, root: Root) -> Result<Self, LoadError> {
        let component = engine::load(&settings)?;
        let linker = handler::linker(component.engine())?;
        let prepared = linker
            .instantiate_pre(&component)
            .and_then(HandlerPre::new)
            .map_err(|error| LoadError::Contract {
                module: settings.module.clone(),
                error,
            })?;
        let clock = Clock::start(component.engine().weak())
            .map_err(|error| LoadError::Host(error.into()))?;
        Ok(Self {
            prepared,
            clock: Arc::new(clock),
            root,
            settings,
        })
    }

    /// Creates an instance and runs its start code, for at most `patience`.
    ///
    /// # Errors
    /// Where the start code traps or outstays a limit.
    pub async fn instantiate(&self, pid: Pid, patience: Duration) -> Result<Instance, Failure> {
        Instance::create(self, pid, patience).await
    }
}
