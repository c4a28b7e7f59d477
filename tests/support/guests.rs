//! The example guests, and those of the tests, as components, built once for all tests.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

#[allow(dead_code)] // the build script uses the rest of it
#[path = "../../host/guest_build.rs"]
mod guest_build;

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
    let build = || guest_build::build(workspace(), GUESTS);
    FOLDER
        .get_or_init(|| build().expect("the guests build"))
        .join(format!("{name}.wasm"))
}

/// The folder above all packages.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the program's package is in `host/program` of the workspace")
}
