//! The library for writing guests: the contract's types, its stubs, [`handler!`] and [`program!`].
//!
//! A worker is one function from [`Request`] to [`Response`]:
//!
//! ```
//! use wasm_pool_guest::{Request, Response, handler};
//!
//! handler!(hello);
//!
//! fn hello(request: Request) -> Response {
//!     Response::text(200, format!("hello, {}\n", request.client))
//! }
//! ```
//!
//! It is tested like any function, with `cargo test` on the machine that builds it. Only calls of
//! the host, such as opening a file, need the host:
//!
//! ```
//! use wasm_pool_guest::{Request, Response};
//!
//! fn hello(request: Request) -> Response {
//!     let name = request.decoded_parameter("name");
//!     Response::text(200, format!("hello, {}\n", name.as_deref().unwrap_or("you")))
//! }
//!
//! let response = hello(Request::new("GET", "/?name=J%C3%B6rg"));
//! assert_eq!(response.status, 200);
//! assert_eq!(response.body.bytes(), Some("hello, Jörg\n".as_bytes()));
//! ```
//!
//! A program is one function that is the whole life of a process, with [`mailbox`] for
//! messages, [`process`] for starting processes and [`cluster`] for those of other hosts. [`talk`]
//! makes the usual patterns short. Workers and programs alike have [`queue`] for jobs that outlive
//! their host.
//!
//! ```
//! use wasm_pool_guest::mailbox::{self, Incoming};
//! use wasm_pool_guest::talk::{self, Answer};
//! use wasm_pool_guest::{Response, program};
//!
//! program!(run);
//!
//! fn run() {
//!     talk::serve(|message| match message.content {
//!         Incoming::Request(asked) => {
//!             let text = format!("process {} says hello\n", mailbox::self_());
//!             Some(Answer::response(asked.client, Response::text(200, text)))
//!         }
//!         Incoming::Data(_) | Incoming::Call(_) | Incoming::Down(_) => None,
//!     })
//! }
//! ```
//!
//! Everything that `wit/` says holds here; the stubs below are generated from it.
//!
//! | feature | brings |
//! |---|---|
//! | `json` | [`Request::json`] and [`Response::json_of`]: bodies that are values, by `serde` |
//! | `postcard` | [`typed`]: messages that are values, by `serde` |
//! | `std` | `std::io::Read` for [`files::File`], `std::io::Error` from [`files::ErrorCode`] |
//!
//! None is on by default: a worker pays for what it uses.

#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod arena;
mod http;
#[cfg(feature = "std")]
mod io;
#[cfg(feature = "json")]
mod json;
mod read;
pub mod talk;
#[cfg(feature = "postcard")]
pub mod typed;

#[doc(hidden)]
pub use arena::Arena;
pub use read::{read, read_at_most};

// `memcmp` and its like are the C library's. With `std` it is linked anyway.
#[cfg(target_family = "wasm")]
#[link(name = "c")]
unsafe extern "C" {}

/// The client stubs, generated from `wit/` by `wit-bindgen`.
// The WIT's comments document it, and nobody wrote it.
#[allow(missing_docs, clippy::too_many_arguments)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "handler",
        pub_export_macro: true,
        export_macro_name: "export_handler",
        default_bindings_module: "wasm_pool_guest::bindings",
        runtime_path: "wasm_pool_guest::wit_bindgen_rt",
    });
}

/// The stubs of the world `program`. The interfaces that both worlds have are generated once.
#[allow(missing_docs)] // see above
pub mod program_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "program",
        pub_export_macro: true,
        export_macro_name: "export_program",
        default_bindings_module: "wasm_pool_guest::program_bindings",
        runtime_path: "wasm_pool_guest::wit_bindgen_rt",
        with: {
            "wasm-pool:worker/files@0.4.0": crate::bindings::wasm_pool::worker::files,
            "wasm-pool:worker/http@0.4.0": crate::bindings::wasm_pool::worker::http,
            "wasm-pool:worker/queue@0.4.0": crate::bindings::wasm_pool::worker::queue,
        },
    });
}

#[doc(hidden)]
pub use wit_bindgen::rt as wit_bindgen_rt;

pub use bindings::wasm_pool::worker::files;
pub use bindings::wasm_pool::worker::http::{Body, FileSlice, Header, Request, Response, Scheme};
pub use bindings::wasm_pool::worker::queue;
pub use program_bindings::wasm_pool::worker::{cluster, mailbox, process};

extern crate self as wasm_pool_guest;

/// Makes a function `fn(Request) -> Response` this component's `handle`.
#[macro_export]
macro_rules! handler {
    ($handle:path) => {
        const _: () = {
            struct Handler;

            impl $crate::bindings::Guest for Handler {
                fn handle(request: $crate::Request) -> $crate::Response {
                    $handle(request)
                }
            }

    $crate::bindings::export_handler!(Handler with_types_in $crate::bindings);
        };
    };
}

/// Makes a function `fn()` the whole life of each process of this component: its `run`.
///
/// ```
/// use wasm_pool_guest::mailbox::{self, Incoming, Outgoing};
/// use wasm_pool_guest::talk::{self, Answer};
/// use wasm_pool_guest::{Response, process, program};
///
/// program!(run);
///
/// fn run() {
///     if process::parent().is_none() {
///         listener()
///     } else {
///         worker()
///     }
/// }
///
/// /// Sends each request to the next of three workers.
/// fn listener() {
///     let workers: Vec<_> = (0..3).filter_map(|_| process::spawn(&[]).ok()).collect();
///     for worker in workers.iter().cycle() {
///         if let Incoming::Request(asked) = mailbox::receive().content {
///             let _full = mailbox::send(*worker, Outgoing::Request(asked));
///         }
///     }
/// }
///
/// /// Answers straight to the client.
/// fn worker() {
///     talk::serve(|message| match message.content {
///         Incoming::Request(asked) => {
///             let text = format!("process {} says hello\n", mailbox::self_());
///             Some(Answer::response(asked.client, Response::text(200, text)))
///         }
///         Incoming::Data(_) | Incoming::Call(_) | Incoming::Down(_) => None,
///     })
/// }
/// ```
#[macro_export]
macro_rules! program {
    ($run:path) => {
        const _: () = {
            struct Program;

            impl $crate::program_bindings::Guest for Program {
                fn run() {
                    $run()
                }
            }

    $crate::program_bindings::export_program!(Program with_types_in $crate::program_bindings);
        };
    };
}

/// Makes this component do without `std`: it imports nothing that it doesn't call, so that it is
/// smaller and starts faster. For a crate that is `#![no_std]` where it is built for wasm, and that
/// keeps nothing from one request to the next: its memory is an *arena*, which is free again once
/// the last piece of it is.
///
/// A panic prints no message, because `std` is missing. It traps, and the host's log has the
/// backtrace.
#[macro_export]
macro_rules! freestanding {
    () => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            #[global_allocator]
            static ARENA: $crate::Arena = $crate::Arena::new();

            #[panic_handler]
            fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
                core::arch::wasm32::unreachable()
            }

            /// The canonical ABI's `realloc`, which the host calls for memory to copy into.
            // SAFETY: no other function has this name: it is `std` that brings it otherwise.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn cabi_realloc(
                piece: *mut u8,
                size: usize,
                align: usize,
                new_size: usize,
            ) -> *mut u8 {
                // SAFETY: the arguments are the host's, which keeps to the canonical ABI.
                unsafe { ARENA.cabi_realloc(piece, size, align, new_size) }
            }
        };
    };
}

/// The contract's word for it, and its code.
impl core::fmt::Display for mailbox::Exit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Code(code) => write!(f, "code {code}"),
            Self::Trap => f.write_str("trap"),
            Self::Killed => f.write_str("killed"),
            Self::Memory => f.write_str("memory"),
            Self::Deadline => f.write_str("deadline"),
            Self::HostLost => f.write_str("host-lost"),
        }
    }
}
