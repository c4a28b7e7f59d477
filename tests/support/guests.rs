//! The components of the examples and of the tests' own guests. They are built once for all tests.

use std::path::PathBuf;
use std::sync::OnceLock;

use wasm_pool_guest_build::build;
pub(crate) use wasm_pool_guest_build::workspace;

/// The examples, and the guests in this folder.
const GUESTS: &[&str] = &[
    "hello",
    "api",
    "counter",
    "jobs-accept",
    "jobs-work",
    "markdown",
    "misbehave",
    "pingpong",
    "prefork",
    "ring",
    "singleton",
    "supervisor",
    "wasi-http-p2",
    "wasi-http-p3",
    "actor",
    "commander",
    "commander03",
    "http02",
    "http03",
    "mirror",
    "ours",
    "surroundings",
];

/// The component of one guest.
pub(crate) fn path(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let build = || build(workspace(), GUESTS);
    FOLDER
        .get_or_init(|| build().expect("the guests build"))
        .join(format!("{name}.wasm"))
}
