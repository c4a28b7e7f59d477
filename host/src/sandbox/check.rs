//! Looks at a module without running it: what it exports, what it imports, whether it would run
//! here.

use super::excerpt::{excerpt, printable};
use super::{LoadError, contract, engine, handler, kind_of, program};
use crate::settings::Module;
use crate::table::Kind;

/// What [`check`] found.
#[derive(Debug)]
pub struct Report {
    /// Names of what the module exports. Names here are as the module has them, version included;
    /// letters that can't be seen are spelled out.
    pub exports: Vec<String>,
    /// Names of what it imports, and whether this host has them.
    pub imports: Vec<Import>,
    /// Why it would not run here, if so.
    pub obstacle: Option<String>,
}

/// One import.
#[derive(Debug)]
pub struct Import {
    /// Its name.
    pub name: String,
    /// Whether this host has an interface of that name. Its functions may still not fit.
    pub provided: bool,
}

/// Compiles the module and compares it with what this host offers and calls, where a process may
/// have `memory` bytes.
///
/// # Errors
/// Where it can't be read or compiled: there is nothing to report on then.
pub fn check(module: &Module, memory: u64) -> Result<Report, LoadError> {
    let component = engine::compile_only(module)?;
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
    let prepared = kind_of(&component).and_then(|kind| match kind {
        Kind::Handler => handler::prepare(&component).map(drop),
        Kind::Program => program::prepare(&component).map(drop),
    });
    let obstacle = match prepared {
        Err(error) => Some(excerpt(&format!("{error:#}"))),
        Ok(()) => engine::fits(&component, memory)
            .err()
            .map(|error| error.to_string()),
    };
    Ok(Report {
        exports,
        imports,
        obstacle,
    })
}

/// WASI promises that 0.2 only grows, so a module of any 0.2 finds its interfaces in ours.
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
