//! Why a guest can't be run, and why one that ran does so no longer, in words that need no
//! wasmtime.

use std::path::PathBuf;

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::backtrace;
use super::excerpt::excerpt;
use crate::exit::{self, Crash, Exit};
use crate::settings::Module;
use crate::text;

/// Why an instance failed: a crash, before the instance was asked for its last words.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) exit: Exit,
    reason: String,
}

/// Why a module can't be served.
#[derive(Debug)]
pub enum LoadError {
    /// Its file can't be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        error: std::io::Error,
    },
    /// Its path leads to something that can't be read like a file, and may have no end.
    NotAFile {
        /// Where it was looked for.
        path: PathBuf,
        /// What is there.
        kind: &'static str,
    },
    /// Its file is larger than any module may be.
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest that is read.
        most: u64,
    },
    /// Its file is of another kind.
    NotWasm {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        looks: &'static str,
    },
    /// It is a core module, as built for `wasm32-wasip1` or `wasm32-unknown-unknown`.
    CoreModule {
        /// The file.
        path: PathBuf,
    },
    /// It does not compile.
    Compile {
        /// Which module.
        module: Module,
        /// What the compiler said.
        error: wasmtime::Error,
    },
    /// It needs an import that this host does not have, or has no export that this host can call.
    Contract {
        /// Which module.
        module: Module,
        /// What the linker said.
        error: wasmtime::Error,
    },
    /// It starts with more memory than a process may have.
    TooLarge {
        /// What its largest memory starts with, in bytes.
        needs: u64,
        /// What a process may have, in bytes.
        memory: u64,
    },
    /// The system has too few memory mappings for so many instances.
    Mappings {
        /// How many were wanted.
        instances: u32,
        /// How many memories each of them has.
        memories: u32,
        /// How many the system has room for.
        most: u64,
    },
    /// The memory for so many instances can't be reserved.
    Reserve {
        /// How many were wanted.
        instances: u32,
        /// What the allocator said.
        error: wasmtime::Error,
    },
    /// The host's own side of the contract is broken.
    Host(wasmtime::Error),
}

impl Cause {
    /// The log has the beginning of `reason`: a guest chooses the names in a backtrace and in a
    /// response that is not HTTP.
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

    /// Reads wasmtime's error. `starved`: the instance was refused memory while it ran.
    pub(super) fn of(error: &wasmtime::Error, starved: bool) -> Self {
        if let Some(I32Exit(code)) = error.downcast_ref() {
            let exit = Exit::Code(code.cast_unsigned());
            return Self::new(exit, &format!("exit code {code}"));
        }
        let exit = match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => Exit::Stack,
            // A guest whose allocator is refused aborts, and an abort is a trap.
            Some(_) | None if starved => Exit::Memory,
            Some(_) => Exit::Trap,
            // An error without wasm frames comes from reading what the guest returned.
            None if error.downcast_ref::<WasmBacktrace>().is_none() => Exit::Response,
            None => Exit::Trap,
        };
        Self::new(exit, &describe(error))
    }

    /// The same for a process that has not begun to run: the one thing that is not its own doing is
    /// that there was no memory for it.
    pub(super) fn at_start(self) -> Self {
        if self.exit == Exit::Response {
            let exit = Exit::Memory;
            return Self { exit, ..self };
        }
        self
    }

    /// The crash, with the last lines that the instance printed.
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
            Self::CoreModule { path } => write!(
                f,
                "module {}: this is a core module, not a component; build it for wasm32-wasip2, or wrap it \
                 with `wasm-tools component new`",
                path.display()
            ),
            Self::Compile { module, error } => {
                let error = excerpt(&format!("{error:#}"));
                write!(f, "module {module}: not a component: {error}")
            }
            Self::Contract { module, error } => write!(
                f,
                "module {module}: not a worker that this host can run: {}",
                excerpt(&format!("{error:#}"))
            ),
            Self::TooLarge { needs, memory } => write!(
                f,
                "a process may have {memory} bytes, and the module starts with {needs}: allow it more"
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

/// The cause and the wasm frames, innermost first, in one line.
fn describe(error: &wasmtime::Error) -> String {
    /// What names and values that a guest chose may add to a cause.
    const CAUSE_BYTES: usize = 1 << 10;
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return text::formatted(CAUSE_BYTES, format_args!("{error:#}"));
    };
    let cause = text::formatted(CAUSE_BYTES, format_args!("{}", error.root_cause()));
    let frames = backtrace.frames().iter();
    let frames = backtrace::line(frames.map(|frame| (frame.func_name(), frame.func_index())));
    format!("{cause}; backtrace: {frames}")
}
