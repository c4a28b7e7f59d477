//! Builds guests of this repository, by package name: `cargo run --example guests -- hello`. It takes the
//! compiler that this machine has for wasm, as the build script does for the default worker.

#[path = "../guest_build.rs"]
mod guest_build;

use std::path::Path;

fn main() -> Result<(), String> {
    let packages: Vec<String> = std::env::args().skip(1).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = host.parent().ok_or("the host is not in its workspace")?;
    let folder = guest_build::build(workspace, &packages)?;
    let folder = folder.strip_prefix(workspace).unwrap_or(&folder);
    for package in packages {
        println!(
            "{}",
            folder
                .join(package.replace('-', "_"))
                .with_extension("wasm")
                .display()
        );
    }
    Ok(())
}
