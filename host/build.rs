//! Builds the default worker from source, for the host to embed.

mod guest_build;

use std::path::PathBuf;

fn main() -> Result<(), String> {
    let host = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("not run by cargo")?);
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("not run by cargo")?);
    let workspace = host.parent().ok_or("the host is not in its workspace")?;
    for input in [
        "guest-worker",
        "wit",
        "host/guest_build.rs",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo:rerun-if-changed={}", workspace.join(input).display());
    }
    let guests = guest_build::build(workspace, &["guest-worker"])?;
    let worker = guests.join("guest_worker.wasm");
    std::fs::copy(&worker, out.join("worker.wasm"))
        .map_err(|error| format!("{}: {error}", worker.display()))?;
    Ok(())
}
