//! Why a module can't be run, and why an instance failed, in terms that need no wasmtime.

use std::path::PathBuf;

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::backtrace;
use super::excerpt::excerpt;
use super::unfit::Unfit;
use crate::exit::{self, Crash, Exit};
use crate::settings::Module;
use crate::text;

/// Why an instance failed: a [`Crash`] without the last lines of output.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) exit: Exit,
    reason: String,
}

/// A guest has said that it can't answer a request, with this error code.
#[derive(Debug)]
pub(super) struct NotAnswered(pub(super) String);

impl std::fmt::Display for NotAnswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it answered with the error {}", text::quoted(&self.0))
    }
}

impl std::error::Error for NotAnswered {}

/// Why a module can't be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The module's file can't be read.
    Read {
        /// The path.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The path leads to something other than a regular file, which may have no end.
    NotAFile {
        /// The path.
        path: PathBuf,
        /// The kind of thing at this path.
        kind: &'static str,
    },
    /// The module's file is too large.
    FileTooLarge {
        /// The path.
        path: PathBuf,
        /// The size of the file.
        bytes: u64,
        /// The largest allowed size.
        most: u64,
    },
    /// The module's file is not WebAssembly.
    NotWasm {
        /// The path.
        path: PathBuf,
        /// The kind of file that it looks like.
        looks: &'static str,
    },
    /// This host can't run modules like this one.
    Unfit {
        /// The module.
        module: Module,
        /// The reason, by the module's names.
        why: Unfit,
    },
    /// The module is invalid.
    Compile {
        /// The module.
        module: Module,
        /// The compiler's error.
        error: wasmtime::Error,
    },
    /// The module needs an import that this host lacks, or lacks an export that this host calls.
    Contract {
        /// The module.
        module: Module,
        /// The linker's error.
        error: wasmtime::Error,
    },
    /// The folder for core dumps can't be used.
    CoreDumps {
        /// The path.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The module starts with more memory than a process may have.
    TooLarge {
        /// The initial size of all its memories and tables, in bytes.
        needs: u64,
        /// The memory that a process may have, in bytes.
        memory: u64,
    },
    /// The system has too few memory mappings for the instances.
    Mappings {
        /// The wanted number of instances.
        instances: u32,
        /// The memories of each instance.
        memories: u32,
        /// The most instances that the system has mappings for.
        most: u64,
    },
    /// The memory for the instances can't be reserved.
    Reserve {
        /// The wanted number of instances.
        instances: u32,
        /// The allocator's error.
        error: wasmtime::Error,
    },
    /// wasmtime or the host's side of the contract can't be set up.
    Host(wasmtime::Error),
}

impl Cause {
    /// Keeps the beginning of `reason` for the log. A guest chooses the names in a backtrace, and
    /// parts of a response that is not HTTP.
    pub(super) fn new(exit: Exit, reason: &str) -> Self {
        const LOGGED_BYTES: usize = 4 << 10;
        let reason = text::cut_escaped(reason, LOGGED_BYTES).to_owned();
        Self { exit, reason }
    }

    pub(super) fn deadline() -> Self {
        Self::new(Exit::Deadline, exit::LATE)
    }

    pub(super) fn response(reason: &str) -> Self {
        Self::new(Exit::Response, reason)
    }

    /// The cause behind wasmtime's error. `refused_memory` says whether the instance was refused
    /// memory while it ran.
    pub(super) fn of(error: &wasmtime::Error, refused_memory: bool) -> Self {
        if let Some(I32Exit(code)) = error.downcast_ref() {
            let exit = Exit::Code(code.cast_unsigned());
            return Self::new(exit, &format!("exit code {code}"));
        }
        let exit = match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => Exit::Stack,
            // A guest whose allocation is refused usually aborts, and an abort is a trap.
            Some(_) | None if refused_memory => Exit::Memory,
            Some(_) => Exit::Trap,
            // An error without wasm frames comes from reading the guest's result.
            None if error.downcast_ref::<WasmBacktrace>().is_none() => Exit::Response,
            None => Exit::Trap,
        };
        Self::new(exit, &describe(error))
    }

    /// The same cause for a process that has not begun to run. An [`Exit::Response`] then means
    /// that there was no memory to start the process.
    pub(super) fn at_start(self) -> Self {
        if self.exit == Exit::Response {
            let exit = Exit::Memory;
            return Self { exit, ..self };
        }
        self
    }

    /// The crash: this cause, with the last lines that the instance printed.
    pub(super) fn with_output(self, output: Option<String>) -> Crash {
        let Self { exit, reason } = self;
        Crash {
            exit,
            reason,
            output,
        }
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read { path, error } => write!(f, "module {}: {error}", path.display()),
            Self::NotAFile { path, kind } => write!(
                f,
                "module {}: this is {kind}, not a regular file",
                path.display()
            ),
            Self::FileTooLarge { path, bytes, most } => write!(
                f,
                "module {}: the file has {bytes} bytes, and a module may have {most} at most",
                path.display()
            ),
            Self::NotWasm { path, looks } => write!(
                f,
                "module {}: this is not WebAssembly: it looks like {looks}",
                path.display()
            ),
            Self::Unfit { module, why } => {
                write!(f, "module {module} does not run here: {why}")
            }
            Self::Compile { module, error } => {
                let error = excerpt(&format!("{error:#}"));
                write!(f, "module {module}: this is not valid WebAssembly: {error}")
            }
            Self::Contract { module, error } => write!(
                f,
                "module {module}: not a worker that this host can run: {}",
                excerpt(&format!("{error:#}"))
            ),
            Self::CoreDumps { path, error } => write!(
                f,
                "the folder for core dumps, {}, can't be used: {error}",
                path.display()
            ),
            Self::TooLarge { needs, memory } => write!(
                f,
                "a process may have {memory} bytes, and starts with {needs}: allow it that many or more"
            ),
            Self::Mappings {
                instances,
                memories,
                most,
            } => write!(
                f,
                "{instances} processes with {memories} memories each need more memory mappings than the system allows, \
                 which has room for {most}"
            ),
            Self::Reserve { instances, error } => write!(
                f,
                "can't reserve memory for {instances} processes: {error:#}"
            ),
            Self::Host(error) => write!(f, "can't set up wasmtime: {error:#}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// The cause and the wasm frames in one line, innermost frame first.
fn describe(error: &wasmtime::Error) -> String {
    /// The most bytes of a cause, which may quote names and values that a guest chose.
    const CAUSE_BYTES: usize = 1 << 10;
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return text::formatted(CAUSE_BYTES, format_args!("{error:#}"));
    };
    let cause = text::formatted(CAUSE_BYTES, format_args!("{}", error.root_cause()));
    let frames = backtrace.frames().iter();
    let frames = backtrace::line(frames.map(|frame| (frame.func_name(), frame.func_index())));
    format!("{cause}; backtrace: {frames}")
}
