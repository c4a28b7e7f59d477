//! The *sandbox* is the only door to wasmtime. Above it there are modules, instances that take a request
//! and give a response, and failures in plain words; below it there are engines, stores, linkers and traps.
//!
//! A module is compiled once. From then on an instance is a slot of memory that already exists, mapped
//! copy-on-write: creating one takes about as long as opening a file.

mod backtrace;
mod bindings;
mod check;
mod clock;
mod code;
mod contract;
mod engine;
mod excerpt;
mod failure;
mod files;
mod handler;
mod inherit;
mod lifted;
mod limits;
mod lines;
mod mailbox;
mod mappings;
mod names;
mod output;
mod process;
mod program;
mod source;
mod state;
mod wire;

use std::path::PathBuf;
use std::sync::atomic::AtomicU32;

use wasmtime::component::Component;

pub use check::{Report, check};
pub use failure::{Crash, Failure, LoadError};
pub use handler::{Handlers, Instance};
pub use inherit::{output_failed, output_written};
pub use mappings::most_instances;
pub use output::{GUEST_OUTPUT, Output};
pub use program::{Birth, Programs, Spawn};

use crate::files::Root;
use crate::steps::Steps;
use clock::Clock;
use state::Common;

/// What instances are made of and what they may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The component to run.
    pub module: Module,
    /// Instances that may exist at one time, if the module is a handler. Memory for them is reserved, not
    /// used, at the start.
    pub handlers: u32,
    /// The same, if it is a program.
    pub processes: u32,
    /// The most memory that one instance may have, in bytes, all its memories and tables together.
    pub memory: u64,
    /// The largest response body, in bytes, that is copied out of an instance.
    pub max_response: u64,
    /// The largest request body, in bytes, that one process may send another.
    pub max_body: u64,
    /// The most bytes that one process may send another in one message.
    pub max_message: u64,
    /// The most files that one instance may have open.
    pub max_open_files: u32,
    /// The most files that all of them together may have open.
    pub max_open_files_in_all: u32,
    /// Where guests print to.
    pub output: Output,
    /// Whether it is timed what a request costs.
    pub steps: Steps,
}

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// The static file server that is compiled into this program.
    BuiltIn,
    /// A component in a file, as a binary or as text.
    File(PathBuf),
}

/// A compiled module, by its world.
#[derive(Debug)]
pub enum Sandbox {
    /// It exports `handle`, and answers requests one by one.
    Handlers(Handlers),
    /// It exports `run`, and is a program of processes that talk to each other.
    Programs(Programs),
}

/// What a module is made for, by what it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// It exports `handle`.
    Handler,
    /// It exports `run`.
    Program,
}

impl std::fmt::Display for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl World {
    /// A module with neither export is a handler that lacks its own; one with both can't say what it wants.
    fn of(component: &Component) -> wasmtime::Result<Self> {
        contract::fits(component)?;
        let kind = component.component_type();
        let has = |name| {
            kind.exports(component.engine())
                .any(|(export, _)| export == name)
        };
        match (has("handle"), has("run")) {
            (_, false) => Ok(Self::Handler),
            (false, true) => Ok(Self::Program),
            (true, true) => Err(wasmtime::format_err!(
                "it exports both `handle` and `run`: it must be either a handler or a program"
            )),
        }
    }
}

impl Sandbox {
    /// Compiles the module and reserves the memory of its instances.
    ///
    /// # Errors
    /// Where the module is not a component, or not one that this host can run.
    pub fn load(settings: Settings, root: Root) -> Result<Self, LoadError> {
        if settings.output == Output::Inherit {
            inherit::start().map_err(|error| LoadError::Host(error.into()))?;
        }
        let (component, world) = engine::load(&settings)?;
        let clock = Clock::start(component.engine().weak())
            .map_err(|error| LoadError::Host(error.into()))?;
        let common = Common {
            clock,
            root,
            settings,
            open_files: AtomicU32::new(0),
        };
        let module = common.settings.module.clone();
        let sandbox = match world {
            World::Handler => handler::prepare(&component)
                .map(|prepared| Self::Handlers(Handlers::new(prepared, common))),
            World::Program => program::prepare(&component)
                .map(|prepared| Self::Programs(Programs::new(prepared, common))),
        };
        sandbox.map_err(|error| LoadError::Contract { module, error })
    }

    /// What the module is made for.
    #[must_use]
    pub fn world(&self) -> World {
        match self {
            Self::Handlers(_) => World::Handler,
            Self::Programs(_) => World::Program,
        }
    }
}
