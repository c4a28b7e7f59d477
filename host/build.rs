//! Builds the default worker from source and compiles it, for the host to embed: a host that serves
//! files starts in a fraction of the time that compiling takes.

#[path = "src/sandbox/code.rs"]
mod code;

use std::path::{Path, PathBuf};

use wasm_pool_guest_build::build;
use wasmtime::Engine;

fn main() -> Result<(), String> {
    let host = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("not run by cargo")?);
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("not run by cargo")?);
    let target = std::env::var("TARGET").map_err(|error| error.to_string())?;
    let workspace = host.parent().ok_or("the host is not in its workspace")?;
    for input in [
        "guest-worker",
        "wit",
        "host/guest-build",
        "host/src/sandbox/code.rs",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo:rerun-if-changed={}", workspace.join(input).display());
    }
    let worker = build(workspace, &["guest-worker"])?.join("guest_worker.wasm");
    let code =
        compile(&worker, &target).map_err(|error| format!("{}: {error:?}", worker.display()))?;
    let compiled = out.join("worker.cwasm");
    std::fs::write(&compiled, code).map_err(|error| format!("{}: {error}", compiled.display()))
}

/// For any machine of this kind, not only the one that builds: naming the target keeps to what all
/// have.
fn compile(worker: &Path, target: &str) -> wasmtime::Result<Vec<u8>> {
    let mut config = code::config();
    config.target(target)?; // the compiler here knows the kind of machine that it runs on, and no other
    Engine::new(&config)?.precompile_component(&std::fs::read(worker)?)
}
