//! Checks a module without running it: its exports, its imports, and whether this host can run it.

use super::excerpt::{excerpt, printable};
use super::{Code, LoadError, contract, engine, foreign, handler, kind_of, program};
use crate::settings::Module;
use crate::kind::Kind;

/// The outcome of [`check`].
#[derive(Debug)]
pub struct Report {
    /// Names of the exports. Names here include the version, and show invisible characters escaped.
    pub exports: Vec<String>,
    /// The imports, and whether this host has them.
    pub imports: Vec<Import>,
    /// Why this host can't run the module, if so.
    pub obstacle: Option<String>,
}

/// One import.
#[derive(Debug)]
pub struct Import {
    /// The name of the import.
    pub name: String,
    /// Whether this host has an interface of this name. Its functions may still differ in type.
    pub provided: bool,
}

/// Compiles the module, and compares its imports and exports with the host's. `memory` is the
/// memory in bytes that a process may have.
///
/// # Errors
/// If the module can't be read or compiled.
pub fn check(module: &Module, memory: u64) -> Result<Report, LoadError> {
    let compilation = engine::compile_only(module, None, || ())?;
    let (code, found) = (&compilation.code, compilation.kind);
    let Code::Component(component) = code else {
        return Err(LoadError::Host(wasmtime::format_err!("a core module")));
    };
    let engine = component.engine();
    let kind = component.component_type();
    let exports = kind
        .exports(engine)
        .map(|(name, _)| printable(name))
        .collect();
    let imports = kind
        .imports(engine)
        .map(|(name, _)| Import {
            name: printable(name),
            provided: provided(name),
        })
        .collect();
    let prepared = kind_of(code, found).and_then(|kind| match kind {
        Kind::Handler => handler::prepare(component).map(drop),
        Kind::Program => program::prepare(component).map(drop),
        _ => foreign::prepare_only(kind, &code),
    });
    let obstacle = match prepared {
        Err(error) => Some(excerpt(&format!("{error:#}"))),
        Ok(()) => compilation.check_memory(memory)
            .err()
            .map(|error| error.to_string()),
    };
    Ok(Report {
        exports,
        imports,
        obstacle,
    })
}

/// Whether this host has the interface. WASI promises that 0.2 only grows, so any 0.2 interface is
/// in ours.
fn provided(import: &str) -> bool {
    const WASI: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];
    let wasi = |(name, version): (&str, &str)| {
        let package = name
            .strip_prefix("wasi:")
            .and_then(|name| name.split_once('/'));
        version.starts_with("0.2.") && package.is_some_and(|(package, _)| WASI.contains(&package))
    };
    let is_ours = contract::INTERFACES
        .map(contract::interface)
        .iter()
        .any(|ours| ours == import);
    is_ours || import.split_once('@').is_some_and(wasi)
}
