//! Builds guests from source: the default worker for the library's build script, the examples for
//! tests and benches. The compiler is rustup's if rustup has the wasm target. Otherwise it is
//! Debian's, which comes with the source of the standard library and builds it too.

use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "guest";

/// The root folder of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This package is in `host/guest-build`.
    package.ancestors().nth(2).unwrap_or(package)
}

/// Builds these packages of a workspace as components. Returns the folder with the components, each
/// named `NAME.wasm`.
///
/// All guests share one target folder. They can't use the workspace's, since cargo locks it while
/// it runs a build script.
///
/// # Errors
/// If no compiler for wasm is installed, or a package doesn't compile.
pub fn build(workspace: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let target_dir = workspace.join("target/guests");
    let mut cargo = compiler()?;
    cargo.current_dir(workspace).args([
        "build",
        "--quiet",
        "--target",
        TARGET,
        "--profile",
        PROFILE,
    ]);
    cargo.arg("--target-dir").arg(&target_dir);
    for package in packages {
        cargo.args(["--package", package]);
    }
    let output = cargo
        .output()
        .map_err(|error| format!("can't run cargo for the guests: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "building {packages:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(target_dir.join(TARGET).join(PROFILE))
}

/// A cargo that can build for the target. Its environment lacks the variables that the calling
/// cargo has set for its own build.
fn compiler() -> Result<Command, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = PathBuf::from(line(Command::new(rustc).args(["--print", "sysroot"]))?);
    let mut cargo = if sysroot
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib")
        .is_dir()
    {
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    } else {
        debian(&sysroot)?
    };
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let inherited = [
            "CARGO_FEATURE_",
            "CARGO_CFG_",
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_PROFILE_",
        ];
        let single = [
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
        ];
        if inherited.iter().any(|prefix| name.starts_with(prefix)) || single.contains(&&*name) {
            cargo.env_remove(&*name);
        }
    }
    Ok(cargo)
}

/// Debian's `rustc-web` and `cargo-web` with `rust-web-src` and `wasi-libc`. The linker is that of
/// rustup's toolchain, or that of Debian and cargo.
fn debian(sysroot: &Path) -> Result<Command, String> {
    let missing = || "no wasm32-wasip2 target is installed: run `make setup`".to_owned();
    let (Ok(rustc), Ok(cargo)) = (
        packaged("rustc-web", "/bin/rustc"),
        packaged("cargo-web", "/bin/cargo"),
    ) else {
        return Err(missing());
    };
    let libc = packaged("wasi-libc", "/libc.a").map_err(|_| missing())?;
    let libc = libc.parent().ok_or_else(missing)?;
    let host = line(Command::new(&rustc).args(["--print", "host-tuple"]))?;
    let linkers = sysroot.join("lib/rustlib").join(host).join("bin");
    let paths = [linkers.clone(), linkers.join("gcc-ld")];
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(paths.into_iter().chain(std::env::split_paths(&inherited)))
        .map_err(|error| error.to_string())?;
    let mut command = Command::new(cargo);
    command
        .env("PATH", path)
        .env("RUSTC", rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_WASIP2_LINKER", "wasm-component-ld")
        .env(
            "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS",
            format!("-C link-self-contained=no -L native={}", libc.display()),
        )
        // Two compilers can't use each other's artefacts, so this compiler builds `std` as well.
        .args(["-Z", "build-std=std,panic_abort"]);
    Ok(command)
}

/// The file of an installed Debian package whose path has this ending.
fn packaged(package: &str, ending: &str) -> Result<PathBuf, String> {
    let output = Command::new("dpkg")
        .args(["-L", package])
        .output()
        .map_err(|error| error.to_string())?;
    let files = String::from_utf8_lossy(&output.stdout);
    files
        .lines()
        .find(|file| file.ends_with(ending))
        .map(PathBuf::from)
        .ok_or_else(|| format!("{package} is not installed"))
}

fn line(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("can't run {command:?}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
