//! The name and version of the *contract*, as in `wit/`. A module that was built for another
//! version is refused before it is linked: the linker's error would only speak of differing types.

use wasmtime::component::Component;
use wasmtime::{Result, format_err};

use super::excerpt::excerpt;

/// The file of `wit/` that names the package.
const WIT: &str = include_str!("../../../wit/worker.wit");

/// The interfaces of the contract.
pub(super) const INTERFACES: [&str; 4] = ["files", "http", "mailbox", "process"];

/// The full name of one of [`INTERFACES`], such as `wasm-pool:worker/files@0.2.0`.
pub(super) fn interface(name: &str) -> String {
    let (package, version) = package();
    format!("{package}/{name}@{version}")
}

/// Refuses a module that imports another version of the contract.
///
/// # Errors
/// A sentence with the import, the version of this host, and the remedy.
pub(super) fn check_version(component: &Component) -> Result<()> {
    let (package, version) = package();
    let kind = component.component_type();
    let mut imports = kind.imports(component.engine());
    let stranger = imports.find(|(name, _)| {
        let interface = name.strip_prefix(package);
        let interface = interface.and_then(|rest| rest.strip_prefix('/'));
        interface.is_some_and(|interface| interface.rsplit('@').next() != Some(version))
    });
    match stranger {
        None => Ok(()),
        Some((import, _)) => Err(format_err!(
            "it imports `{}`, and this host has {version}: build it anew with this version's wasm-pool-guest",
            excerpt(import)
        )),
    }
}

/// The name and the version of the package, such as `wasm-pool:worker` and `0.2.0`.
fn package() -> (&'static str, &'static str) {
    let mut lines = WIT.lines();
    let package = lines.find_map(|line| line.strip_prefix("package ")?.strip_suffix(';'));
    package
        .and_then(|package| package.split_once('@'))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_named_in_the_contract() {
        let (package, version) = package();
        assert_eq!(package, "wasm-pool:worker");
        assert_eq!(version.split('.').count(), 3, "{version}");
    }
}
