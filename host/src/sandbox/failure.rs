//! Why a guest can't be run, and why one that ran does so no longer, in words that need no wasmtime.

use std::path::PathBuf;

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::excerpt::excerpt;
use super::{Module, backtrace};
use crate::text;

/// Why an instance ended before it answered. It is never called again.
#[derive(Debug)]
pub enum Failure {
    /// It trapped: `unreachable`, a panic, an abort, an access out of bounds. With its backtrace.
    Trap(String),
    /// It called `exit` with this code.
    Exit(i32),
    /// It used up its stack. With its backtrace.
    Stack(String),
    /// It was refused more memory and did not survive that. With its backtrace.
    Memory(String),
    /// It had not answered when its time was up.
    Deadline,
    /// What it answered is not of the contract's form, or too large.
    Response(String),
}

/// A failure, and what the instance said about it.
#[derive(Debug)]
pub struct Crash {
    /// Why it ended.
    pub failure: Failure,
    /// The last lines that it printed to standard error, for the request that it served.
    pub output: Option<String>,
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

impl Failure {
    /// One word, for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Exit(_) => "exit",
            Self::Stack(_) => "stack",
            Self::Memory(_) => "memory",
            Self::Deadline => "deadline",
            Self::Response(_) => "response",
        }
    }

    /// What the log has of what is known beyond the name: a backtrace, an exit code. A guest chooses the names in
    /// a backtrace and in a response that is not HTTP.
    #[must_use]
    pub fn logged(&self) -> String {
        const LOGGED_BYTES: usize = 4 << 10;
        match self {
            Self::Trap(text) | Self::Stack(text) | Self::Memory(text) | Self::Response(text) => {
                text::cut_escaped(text, LOGGED_BYTES).to_owned()
            }
            Self::Exit(code) => format!("exit code {code}"),
            Self::Deadline => "it had not answered by its deadline".to_owned(),
        }
    }

    /// The same for a process that has not begun to run: what is not its own doing is that there was no
    /// memory for it.
    pub(super) fn at_start(self) -> Self {
        match self {
            Self::Response(text) => Self::Memory(text),
            Self::Trap(_) | Self::Exit(_) | Self::Stack(_) | Self::Memory(_) | Self::Deadline => {
                self
            }
        }
    }

    /// Reads wasmtime's error. `starved`: the instance was refused memory while it ran.
    pub(super) fn from_error(error: &wasmtime::Error, starved: bool) -> Self {
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return Self::Exit(*code);
        }
        let text = describe(error);
        match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) => Self::Stack(text),
            // A guest whose allocator is refused aborts, and an abort is a trap.
            Some(_) if starved => Self::Memory(text),
            Some(_) => Self::Trap(text),
            None if starved => Self::Memory(text),
            // An error without wasm frames comes from reading what `handle` returned.
            None if error.downcast_ref::<WasmBacktrace>().is_none() => Self::Response(text),
            None => Self::Trap(text),
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
                "module {module}: not a worker that this host can run: {}; \
                 `wasm-pool-host check` says what it needs",
                excerpt(&format!("{error:#}"))
            ),
            Self::TooLarge { needs, memory } => write!(
                f,
                "--memory: a process may have {memory} bytes, and the module starts with {needs}: allow it more"
            ),
            Self::Mappings {
                instances,
                memories,
                most,
            } => write!(
                f,
                "{instances} processes with {memories} memories each need more memory mappings than the system allows, \
                 which has room for {most}: allow fewer (--workers, or --max-processes for a program), or raise the \
                 limit (sysctl vm.max_map_count)"
            ),
            Self::Reserve { instances, error } => write!(
                f,
                "can't reserve memory for {instances} processes: {error:#}; allow fewer (--workers, or --max-processes \
                 for a program), or less --memory for each"
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
