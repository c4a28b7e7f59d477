//! The name and version of the *contract*, as in `wit/`. A module that was built for another
//! version is refused by its name: the linker's error would only speak of differing types.

/// The file of `wit/` that names the package.
const WIT: &str = include_str!("../../../wit/worker.wit");

/// The interfaces of the contract.
pub(super) const INTERFACES: [&str; 6] =
    ["cluster", "files", "http", "mailbox", "process", "queue"];

/// The full name of one of [`INTERFACES`], such as `wasm-pool:worker/files@0.4.0`.
pub(super) fn interface(name: &str) -> String {
    let (package, version) = package();
    format!("{package}/{name}@{version}")
}

/// The interface of the contract with this full name.
pub(super) fn find(full_name: &str) -> Option<&'static str> {
    let mut ours = INTERFACES.into_iter();
    ours.find(|name| interface(name) == full_name)
}

/// Whether only programs have this one of [`INTERFACES`].
pub(super) fn is_for_programs(interface: &str) -> bool {
    ["cluster", "mailbox", "process"].contains(&interface)
}

/// Whether this is the name of an interface in another version of the contract.
pub(super) fn is_other(import: &str) -> bool {
    let (package, version) = package();
    let interface = import.strip_prefix(package);
    let interface = interface.and_then(|rest| rest.strip_prefix('/'));
    interface.is_some_and(|interface| interface.rsplit('@').next() != Some(version))
}

/// The version of the contract.
pub(super) fn version() -> &'static str {
    let (_, version) = package();
    version
}

/// The declaration of an export of the contract, such as `run: func()`.
pub(super) fn signature(export: &str) -> &'static str {
    let mut declarations = WIT.lines().filter_map(|line| {
        let declaration = line.trim_start().strip_prefix("export ")?;
        declaration.strip_suffix(';')
    });
    let found = declarations.find(|declaration| {
        let rest = declaration.strip_prefix(export);
        rest.is_some_and(|rest| rest.starts_with(':'))
    });
    found.unwrap_or_default()
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

    #[test]
    fn the_exports_are_declared_in_the_contract() {
        assert_eq!(
            signature("handle"),
            "handle: func(request: request) -> response"
        );
        assert_eq!(signature("run"), "run: func()");
    }
}
