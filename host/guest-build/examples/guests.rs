//! Builds guests of this repository, named by package: `cargo run --example guests -- hello`.

use wasm_pool_guest_build::{build, workspace};

fn main() -> Result<(), String> {
    let packages: Vec<String> = std::env::args().skip(1).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let folder = build(workspace(), &packages)?;
    let folder = folder.strip_prefix(workspace()).unwrap_or(&folder);
    for package in packages {
        let module = folder
            .join(package.replace('-', "_"))
            .with_extension("wasm");
        println!("{}", module.display());
    }
    Ok(())
}
