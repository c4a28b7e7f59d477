//! The *sandbox* is the only door to wasmtime. Above it there are modules, instances that take a
//! request and give a response, and failures in plain words; below it there are engines, stores,
//! linkers and traps.
//!
//! A module is compiled once. From then on an instance is a slot of memory that already exists,
//! mapped copy-on-write: creating one takes about as long as opening a file.

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

use std::sync::atomic::AtomicU32;

use wasmtime::component::Component;

pub use check::{Import, Report, check};
pub use failure::LoadError;
pub(crate) use handler::{Handlers, Instance};
pub(crate) use inherit::{output_failed, output_written};
pub use output::GUEST_OUTPUT;
pub(crate) use program::{Birth, Programs, Spawn};

use crate::files::Root;
use crate::settings::{Module, Output};
use crate::steps::Steps;
use crate::table::Kind;
use clock::Clock;
use state::Common;

/// What instances are made of and what they may use.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Instances that may exist at one time. Memory for them is reserved, not used, at the start.
    pub(crate) instances: u32,
    /// The most memory that one instance may have, in bytes, all its memories and tables together.
    pub(crate) memory: u64,
    /// The largest response body, in bytes, that is copied out of an instance.
    pub(crate) max_response: u64,
    /// The largest request body, in bytes, that one process may send another.
    pub(crate) max_body: u64,
    /// The most bytes that one process may send another in one message.
    pub(crate) max_message: u64,
    /// The most files that one instance may have open.
    pub(crate) max_open_files: u32,
    /// The most files that all of them together may have open.
    pub(crate) max_open_files_in_all: u32,
    /// Where guests print to.
    pub(crate) output: Output,
    /// Times the steps of a request, where on.
    pub(crate) steps: Steps,
}

/// A module that is compiled, and known to be of a kind. It has no memory to run in yet.
pub(crate) struct Compiled {
    module: Module,
    component: Component,
    kind: Kind,
}

impl Compiled {
    /// Compiles a module, and finds out its kind. A module with neither export is a handler that
    /// lacks its own; one with both can't say which it is.
    ///
    /// # Errors
    /// Where the module is not a component, or not one that this host can run.
    pub(crate) fn read(module: Module) -> Result<Self, LoadError> {
        let component = engine::compile_only(&module)?;
        match kind_of(&component) {
            Ok(kind) => Ok(Self {
                module,
                component,
                kind,
            }),
            Err(error) => Err(LoadError::Contract { module, error }),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Reserves memory for processes that answer requests.
    ///
    /// # Errors
    /// Where there is not enough, or the module wants what this host does not have.
    pub(crate) fn reserve_handlers(
        self,
        settings: Settings,
        root: Root,
    ) -> Result<Handlers, LoadError> {
        let (component, common) = self.reserve(settings, root)?;
        match handler::prepare(&component) {
            Ok(prepared) => Ok(Handlers::new(prepared, common)),
            Err(error) => Err(self.contract(error)),
        }
    }

    /// Reserves memory for the processes of a program.
    ///
    /// # Errors
    /// Where there is not enough, or the module wants what this host does not have.
    pub(crate) fn reserve_programs(
        self,
        settings: Settings,
        root: Root,
    ) -> Result<Programs, LoadError> {
        let (component, common) = self.reserve(settings, root)?;
        match program::prepare(&component) {
            Ok(prepared) => Ok(Programs::new(prepared, common)),
            Err(error) => Err(self.contract(error)),
        }
    }

    fn reserve(&self, settings: Settings, root: Root) -> Result<(Component, Common), LoadError> {
        let host = |error: std::io::Error| LoadError::Host(error.into());
        if settings.output == Output::Inherit {
            inherit::start().map_err(host)?;
        }
        let component = engine::reserve(&self.component, &settings)?;
        let clock = Clock::start(component.engine().weak()).map_err(host)?;
        let common = Common {
            clock,
            root,
            settings,
            open_files: AtomicU32::new(0),
        };
        Ok((component, common))
    }

    fn contract(self, error: wasmtime::Error) -> LoadError {
        let module = self.module;
        LoadError::Contract { module, error }
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled")
            .field("module", &self.module)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

fn kind_of(component: &Component) -> wasmtime::Result<Kind> {
    contract::fits(component)?;
    let exported = component.component_type();
    let has = |name| {
        let mut exports = exported.exports(component.engine());
        exports.any(|(export, _)| export == name)
    };
    match (has("handle"), has("run")) {
        (_, false) => Ok(Kind::Handler),
        (false, true) => Ok(Kind::Program),
        (true, true) => Err(wasmtime::format_err!(
            "it exports both `handle` and `run`: it must be either a handler or a program"
        )),
    }
}
