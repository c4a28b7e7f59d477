//! A module is *unfit* if this host can't run it, by its names. Each reason is one sentence: what
//! was found, what is missing, and what to do.

use std::fmt;

use super::contract;
use super::excerpt::name as shown;
use crate::kind::Kind;

/// The most exports that a sentence lists.
const LISTED: usize = 3;

/// Why this host can't run a module. Names are the module's own: showing the sentence escapes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The module exports `handle` and `run`.
    TwoKinds,
    /// The module imports another version of this host's contract.
    Contract {
        /// The import.
        import: String,
    },
    /// A handler imports what only programs have.
    ForPrograms {
        /// The import.
        import: String,
    },
    /// A module that does not export WASI 0.3 imports it.
    Wasi03 {
        /// The import.
        import: String,
    },
    /// The export that makes a module one of this kind has another type.
    Signature(Kind),
    /// The module was built for a draft of WASI.
    Draft {
        /// The import or export.
        name: String,
    },
    /// The module was built for a platform that has interfaces of its own.
    Platform {
        /// The import or export.
        name: String,
        /// The platform.
        platform: &'static str,
    },
    /// The module passes requests on to another handler.
    Middleware {
        /// The import.
        import: String,
    },
    /// The core module was built for a host that is not WASI's.
    Foreign {
        /// The import.
        import: String,
        /// What this import is typical of, and what to do.
        host: ForeignHost,
    },
    /// The module needs a proposal for WebAssembly that this host lacks.
    Proposal(Proposal),
    /// The module is the core of a component.
    Unwrapped,
    /// The core module is a reactor.
    Reactor,
    /// The core module exports no memory, so that nothing can be passed to it.
    NoMemory,
    /// The module exports nothing that this host calls.
    NoExport {
        /// The exports.
        exports: Vec<String>,
        /// Whether it is a component.
        is_component: bool,
    },
    /// The module imports what this host does not have.
    Missing {
        /// The import.
        import: String,
        /// Whether it is a component.
        is_component: bool,
    },
}

/// Hosts of core modules other than WASI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignHost {
    /// Emscripten's JavaScript, or a function that was not linked.
    Emscripten,
    /// AssemblyScript's JavaScript.
    AssemblyScript,
    /// Go's JavaScript.
    Go,
    /// wasm-bindgen's JavaScript.
    WasmBindgen,
    /// The npm package of Ruby.
    Ruby,
    /// Wasmer's WASIX.
    Wasix,
}

/// Proposals for WebAssembly that some compilers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// Exceptions, also used by `setjmp`.
    Exceptions,
    /// Garbage-collected types.
    Gc,
    /// Threads, and memory that they share.
    Threads,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoKinds => f.write_str(
                "it exports both `handle` and `run`: it must be either a handler or a program, so \
                 drop one of them",
            ),
            Self::Contract { import } => write!(
                f,
                "it imports `{}`, and this host has {}: build it anew with this version's \
                 wasm-pool-guest",
                shown(import),
                contract::version()
            ),
            Self::ForPrograms { import } => write!(
                f,
                "it imports `{}`, which only programs have: export `{}` (the world `{}` in \
                 wit/worker.wit), or drop the import",
                shown(import),
                contract::signature("run"),
                contract::interface("program"),
            ),
            Self::Wasi03 { import } => write!(
                f,
                "it imports `{}`, which only modules that export WASI 0.3 have: export \
                 `wasi:http/handler@0.3` or `wasi:cli/run@0.3`, or build it for WASI 0.2",
                shown(import)
            ),
            Self::Signature(kind) => write!(
                f,
                "its export `{}` has another type than `{}`: change it to this one",
                kind.export(),
                match kind {
                    Kind::CommandCore => "_start: func()",
                    Kind::Handler
                    | Kind::Program
                    | Kind::Http02
                    | Kind::Http03
                    | Kind::Command02
                    | Kind::Command03 => contract::signature(kind.export()),
                }
            ),
            Self::Draft { name } => write!(
                f,
                "it was built for a draft of WASI (`{}`), and this host has the releases 0.2 and \
                 0.3: rebuild it with tools for one of these",
                shown(name)
            ),
            Self::Platform { name, platform } => write!(
                f,
                "it needs `{}`, which only {platform} has: run it there, or build it without",
                shown(name)
            ),
            Self::Middleware { import } => write!(
                f,
                "it is a middleware: it imports `{}`, to pass requests on to another component, and \
                 here is none, so compose the two first (`wac plug`)",
                shown(import)
            ),
            Self::Foreign { import, host } => {
                write!(f, "it imports `{}`, {}", shown(import), host.remedy())
            }
            Self::Proposal(proposal) => f.write_str(proposal.remedy()),
            Self::Unwrapped => f.write_str(
                "it is the core module of a component, not yet wrapped: build it for \
                 wasm32-wasip2, or wrap it with `wasm-tools component new`",
            ),
            Self::Reactor => f.write_str(
                "it is a reactor: it exports `_initialize` and no `_start`, so nothing says what to \
                 call; build it as a command (with a `main`, without -mexec-model=reactor), or as \
                 a component",
            ),
            Self::NoMemory => f.write_str(
                "it is a core module that imports WASI 0.1 and exports no `memory`, so WASI has \
                 nowhere to read and write: export its memory",
            ),
            Self::NoExport {
                exports,
                is_component,
            } => no_export(f, exports, *is_component),
            Self::Missing {
                import,
                is_component: true,
            } => write!(
                f,
                "it imports `{}`, which this host does not have: build it without, or compose it \
                 with a component that has it (`wac plug`)",
                shown(import)
            ),
            Self::Missing {
                import,
                is_component: false,
            } => write!(
                f,
                "it imports `{}`, which this host does not have: a core module gets WASI 0.1 and \
                 nothing else, so build it for wasm32-wasip1, or as a component",
                shown(import)
            ),
        }
    }
}

/// What is exported, and what is wanted.
fn no_export(f: &mut fmt::Formatter<'_>, exports: &[String], is_component: bool) -> fmt::Result {
    let format = if is_component {
        "component"
    } else {
        "core module"
    };
    match exports.len() {
        0 => write!(f, "it is a {format} that exports nothing")?,
        count => {
            write!(f, "it is a {format} that exports ")?;
            let listed = exports.iter().take(LISTED);
            let listed: Vec<_> = listed.map(|name| format!("`{}`", shown(name))).collect();
            f.write_str(&listed.join(", "))?;
            if count > LISTED {
                write!(f, " and {} more", count - LISTED)?;
            }
            f.write_str(", and nothing that this host calls")?;
        }
    }
    let remedy = if is_component {
        "export"
    } else {
        "export `_start` (give it a `main`, for wasm32-wasip1), or build a component that exports"
    };
    write!(
        f,
        ": {remedy} `{}` (the world `{}` in wit/worker.wit), `{}` (`{}`), `wasi:http/handler@0.3`, \
         `wasi:http/incoming-handler@0.2` or `wasi:cli/run`",
        contract::signature("handle"),
        contract::interface("handler"),
        contract::signature("run"),
        contract::interface("program"),
    )
}

impl ForeignHost {
    fn remedy(self) -> &'static str {
        match self {
            Self::Emscripten => {
                "which only the JavaScript of Emscripten has, or a function that was never linked: \
                 build it for WASI (wasm32-wasip1, with wasi-sdk or `zig cc`)"
            }
            Self::AssemblyScript => {
                "which only AssemblyScript's JavaScript has: build it with \
                 @assemblyscript/wasi-shim"
            }
            Self::Go => "which only Go's JavaScript has: build it with GOOS=wasip1",
            Self::WasmBindgen => {
                "which only wasm-bindgen's JavaScript has: build it for wasm32-wasip2, without \
                 wasm-bindgen"
            }
            Self::Ruby => {
                "which only the JavaScript of Ruby's npm package has: take the WASI build of \
                 ruby.wasm"
            }
            Self::Wasix => {
                "which is WASIX and only Wasmer has: build it for WASI (wasm32-wasip1 or \
                 wasm32-wasip2)"
            }
        }
    }
}

impl Proposal {
    fn remedy(self) -> &'static str {
        match self {
            Self::Exceptions => {
                "it has WebAssembly exceptions, which this host does not run: build it without \
                 C++ exceptions and `setjmp` (-fno-exceptions), or lowered to plain WebAssembly"
            }
            Self::Gc => {
                "it has garbage-collected types, which this host does not run: build it by a \
                 compiler that brings its own memory management"
            }
            Self::Threads => {
                "it was built for threads that share memory, which this host does not have: build \
                 it without threads (wasm32-wasip1 or wasm32-wasip2, without -pthread)"
            }
        }
    }
}
