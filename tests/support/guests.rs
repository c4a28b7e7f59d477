//! The example guests, and those of the tests, as components, built once for all tests.

use std::path::PathBuf;
use std::sync::OnceLock;

use wasm_pool_guest_build::build;
pub(crate) use wasm_pool_guest_build::workspace;

/// The examples, and those beside this file.
const GUESTS: &[&str] = &[
    "hello",
    "api",
    "counter",
    "misbehave",
    "pingpong",
    "prefork",
    "ring",
    "supervisor",
    "actor",
    "mirror",
];

/// The component of one.
pub(crate) fn path(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let build = || build(workspace(), GUESTS);
    FOLDER
        .get_or_init(|| build().expect("the guests build"))
        .join(format!("{name}.wasm"))
}
