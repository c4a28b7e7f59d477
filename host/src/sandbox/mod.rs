//! The *sandbox* is the only door to wasmtime. The floors above see modules, instances that turn a
//! request into a response, and failures in plain words. Engines, stores, linkers and traps stay in
//! here.
//!
//! A module is compiled once. After that an instance is a reserved slot of memory, mapped
//! copy-on-write. Creating an instance takes about as long as opening a file.

mod backtrace;
mod bindings;
mod cache;
mod check;
mod clock;
mod cluster;
mod code;
mod command;
mod contract;
mod core_dump;
mod drafts;
mod engine;
mod excerpt;
mod failure;
mod files;
mod first_memory;
mod fit;
mod foreign;
mod handler;
mod http02;
mod http03;
mod inherit;
mod inspect;
mod instance;
mod interface;
mod lifted;
mod limits;
mod lines;
mod mailbox;
mod mappings;
mod names;
mod outbound;
mod output;
mod process;
mod program;
mod provider;
mod queue;
mod rpc;
mod shape;
mod slow;
mod source;
mod state;
mod stub;
mod unfit;
mod wasi;
mod wasi_files;
mod wasi_http;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{Engine, ResourcesRequired};

pub use check::{Import, Report, check};
pub(crate) use core_dump::MOST_BYTES as MOST_DUMPED;
pub use failure::LoadError;
pub(crate) use inherit::{output_failed, output_written};
pub(crate) use instance::{Instance, Prepared};
pub(crate) use outbound::MAX_OUTGOING;
pub use output::GUEST_OUTPUT;
pub(crate) use program::{NewProcess, PreparedProgram, Spawn};
pub use provider::Provider;
#[cfg(feature = "cluster")]
pub(crate) use source::MAX_BYTES as MAX_MODULE_BYTES;
pub use unfit::{ForeignHost, Proposal, Unfit};

use crate::files::RootFolder;
use crate::kind::Kind;
use crate::settings::{self, Environment, Module, Output};
use crate::steps::Steps;
use crate::table::Table;
use clock::Clock;
use core_dump::CoreDumps;
use engine::Compilation;
use foreign::PreparedForeign;
use handler::PreparedHandler;
use outbound::Outgoing;
use state::Common;

/// Limits and output of all instances of one module.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The most instances at one time. Their memory is reserved at the start, and not used yet.
    pub(crate) instances: u32,
    /// The most memory of one instance in bytes: the sum of its memories and tables.
    pub(crate) memory: u64,
    /// The largest response body that is copied out of an instance, in bytes.
    pub(crate) max_response: u64,
    /// The largest request body that one process may send to another, in bytes.
    pub(crate) max_body: u64,
    /// The most bytes of one message between processes.
    pub(crate) max_message: u64,
    /// The most open files of one instance.
    pub(crate) max_open_files: u32,
    /// The most open files of all instances together.
    pub(crate) max_open_files_in_all: u32,
    /// What guests find when they look around.
    pub(crate) environment: Arc<Environment>,
    /// Where guests' output goes.
    pub(crate) output: Output,
    /// Times the steps of a request, if on.
    pub(crate) steps: Steps,
    /// A request that takes longer is logged while it runs.
    pub(crate) slow: Option<Duration>,
    /// Where the cores of processes go that trap.
    pub(crate) core_dumps: Option<settings::CoreDumps>,
}

/// A compiled module of a known kind. No memory is reserved for it yet.
pub(crate) struct Compiled {
    module: Module,
    compilation: Compilation,
    kind: Kind,
}

/// Compiled code.
#[derive(Clone)]
pub(crate) enum Code {
    Component(Component),
    Core(wasmtime::Module),
}

impl Compiled {
    /// Finds out the kind of a module, and compiles it, or finds its code in the cache. `compiling`
    /// is called before a compilation.
    ///
    /// # Errors
    /// If this host can't run the module.
    pub(crate) fn read(
        module: Module,
        cache: Option<&Path>,
        compiling: impl FnOnce(),
    ) -> Result<Self, LoadError> {
        let compilation = engine::compile_only(&module, cache, compiling)?;
        Ok(Self {
            kind: compilation.kind,
            module,
            compilation,
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The first 12 hexadecimal digits of the SHA-256 of the module's file. Nothing for the
    /// built-in module.
    #[cfg(feature = "cluster")]
    pub(crate) fn digest(&self) -> &str {
        &self.compilation.digest
    }

    /// Reserves memory for the processes of a pool, whose calls count in `table`.
    ///
    /// # Errors
    /// If there is too little memory, or the module needs something that this host lacks.
    pub(crate) fn reserve_pooled(
        &self,
        settings: Settings,
        root_folder: RootFolder,
        table: &Table,
    ) -> Result<Prepared, LoadError> {
        let (code, common) = self.reserve(settings, root_folder, table)?;
        let prepared = match (self.kind, &code) {
            (Kind::Handler, Code::Component(component)) => {
                PreparedHandler::new(component, common).map(Prepared::Handler)
            }
            (kind, code) => PreparedForeign::new(kind, code, common).map(Prepared::Foreign),
        };
        prepared.map_err(|error| self.contract(error))
    }

    /// Reserves memory for the processes of a program, whose calls count in `table`.
    ///
    /// # Errors
    /// If there is too little memory, or the module needs something that this host lacks.
    pub(crate) fn reserve_program(
        &self,
        settings: Settings,
        root_folder: RootFolder,
        table: &Table,
    ) -> Result<PreparedProgram, LoadError> {
        let (code, common) = self.reserve(settings, root_folder, table)?;
        let prepared = code.component().and_then(program::prepare);
        match prepared {
            Ok(prepared) => Ok(PreparedProgram::new(prepared, common)),
            Err(error) => Err(self.contract(error)),
        }
    }

    fn reserve(
        &self,
        settings: Settings,
        root_folder: RootFolder,
        table: &Table,
    ) -> Result<(Code, Common), LoadError> {
        let host = |error: std::io::Error| LoadError::Host(error.into());
        if settings.output == Output::Inherit {
            inherit::start().map_err(host)?;
        }
        let core_dumps = settings.core_dumps.as_ref().map(|core_dumps| {
            CoreDumps::new(core_dumps).map_err(|error| LoadError::CoreDumps {
                path: core_dumps.folder.clone(),
                error,
            })
        });
        let core_dumps = core_dumps.transpose()?;
        let code = self.compilation.reserve(self.kind, &settings)?;
        let clock = Clock::start(code.engine().weak()).map_err(host)?;
        let common = Common {
            clock,
            name: self.module.name(),
            kind: self.kind,
            root_folder,
            settings,
            tally: Arc::clone(table.tally()),
            queues: table.queues(),
            open_files: AtomicU32::new(0),
            outgoing: Outgoing::default(),
            core_dumps,
        };
        Ok((code, common))
    }

    fn contract(&self, error: wasmtime::Error) -> LoadError {
        let module = self.module.clone();
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

impl Code {
    pub(super) fn engine(&self) -> &Engine {
        match self {
            Self::Component(component) => component.engine(),
            Self::Core(module) => module.engine(),
        }
    }

    fn component(&self) -> wasmtime::Result<&Component> {
        match self {
            Self::Component(component) => Ok(component),
            Self::Core(_) => Err(wasmtime::format_err!(
                "it is a core module, not a component"
            )),
        }
    }

    /// Memories and tables of one instance. A component that imports core modules can't tell. It
    /// can't be instantiated here either.
    fn resources_required(&self) -> Option<ResourcesRequired> {
        match self {
            Self::Component(component) => component.resources_required(),
            Self::Core(module) => Some(module.resources_required()),
        }
    }
}
