//! Finds out whether a module's names *fit* this host, and so its kind. Where they don't, the most
//! telling name decides what is said.

use super::contract;
use super::inspect::{Export, Import, Names};
use super::interface::{Interface, Release};
use super::provider::Provider;
use super::unfit::{ForeignHost, Proposal, Unfit};
use crate::kind::Kind;

/// Namespaces of platforms. Some come in the imports of core modules, with the interface's name.
const PLATFORMS: [(&str, &str); 5] = [
    ("fermyon", "Spin"),
    ("spin", "Spin"),
    ("wasmcloud", "wasmCloud"),
    ("extism", "Extism"),
    ("fastly", "Fastly Compute"),
];

/// Packages of WASI that had drafts before this host's releases.
const RELEASED: [&str; 7] = [
    "cli",
    "clocks",
    "filesystem",
    "http",
    "io",
    "random",
    "sockets",
];

/// The kind of a module with these names.
pub(super) fn fit(names: &Names<'_>) -> Result<Kind, Unfit> {
    if let Some(proposal) = names.proposal {
        return Err(Unfit::Proposal(proposal));
    }
    let kind = match names.is_component {
        true => component(names)?,
        false => core(names)?,
    };
    let missing = names
        .imports
        .iter()
        .find(|import| import.provider(Some(kind)) == Provider::Nobody);
    match missing {
        None => Ok(kind),
        Some(import) => Err(missing_from(import)),
    }
}

fn component(names: &Names<'_>) -> Result<Kind, Unfit> {
    let all = names.imports.iter().map(|import| import.name);
    let all = all.chain(names.exports.iter().map(|export| export.name));
    if let Some(unfit) = all.filter_map(platform).next() {
        return Err(unfit);
    }
    if let Some(import) = names
        .imports
        .iter()
        .find(|import| contract::is_other(import.name))
    {
        let import = import.full_name();
        return Err(Unfit::Contract { import });
    }
    if let Some(import) = names.imports.iter().find(|import| is_handler(import.name)) {
        let import = import.full_name();
        return Err(Unfit::Middleware { import });
    }
    let exports = |kind| names.exports.iter().any(|export| makes(export, kind));
    if exports(Kind::Handler) && exports(Kind::Program) {
        return Err(Unfit::TwoKinds);
    }
    let found = Kind::OF_COMPONENTS.into_iter().find(|kind| exports(*kind));
    if let Some(kind) = found {
        return Ok(kind);
    }
    if let Some(draft) = names.exports.iter().find(|export| is_draft(export.name)) {
        let name = draft.name.to_owned();
        return Err(Unfit::Draft { name });
    }
    Err(no_export(names))
}

/// Whether this export makes a component one of this kind.
fn makes(export: &Export<'_>, kind: Kind) -> bool {
    let is_wasi = |package, name, release| {
        let interface = Interface::parse(export.name);
        export.is_instance
            && interface
                .is_some_and(|found| found.is_wasi(package, name) && found.release() == release)
    };
    match kind {
        Kind::Handler | Kind::Program => export.is_function && export.name == kind.export(),
        Kind::Http02 => is_wasi("http", "incoming-handler", Release::Wasi02),
        Kind::Http03 => is_wasi("http", "handler", Release::Wasi03),
        Kind::Command02 => is_wasi("cli", "run", Release::Wasi02),
        Kind::Command03 => is_wasi("cli", "run", Release::Wasi03),
        Kind::CommandCore => false,
    }
}

fn core(names: &Names<'_>) -> Result<Kind, Unfit> {
    if let Some(unfit) = names.imports.iter().filter_map(foreign).next() {
        return Err(unfit);
    }
    let exports = |name| names.exports.iter().find(|export| export.name == name);
    let is_interface = |import: &Import<'_>| import.module.is_some_and(|m| m.contains(':'));
    if names.is_unwrapped || names.imports.iter().any(is_interface) {
        return Err(Unfit::Unwrapped);
    }
    if exports("_start").is_some_and(|export| export.is_function) {
        let imports_wasi = names
            .imports
            .iter()
            .any(|import| import.provider(None) == Provider::Wasi01);
        return match imports_wasi && exports("memory").is_none() {
            true => Err(Unfit::NoMemory),
            false => Ok(Kind::CommandCore),
        };
    }
    match exports("_initialize") {
        Some(_) => Err(Unfit::Reactor),
        None => Err(no_export(names)),
    }
}

/// What is said of a core module with this import, if it tells of another host.
fn foreign(import: &Import<'_>) -> Option<Unfit> {
    let module = import.module.unwrap_or_default();
    if let Some(unfit) = platform(module) {
        return Some(unfit);
    }
    let host = match (module, import.name) {
        ("wasi", "thread-spawn") => return Some(Unfit::Proposal(Proposal::Threads)),
        ("env", "abort" | "seed") => ForeignHost::AssemblyScript,
        ("env" | "a", _) => ForeignHost::Emscripten,
        ("go" | "gojs", _) => ForeignHost::Go,
        ("rb-js-abi-host", _) => ForeignHost::Ruby,
        ("wbg", _) => ForeignHost::WasmBindgen,
        _ if module.starts_with("__wbindgen") || module.ends_with("_bg.js") => {
            ForeignHost::WasmBindgen
        }
        _ if module.starts_with("wasix") => ForeignHost::Wasix,
        _ => return None,
    };
    let import = import.full_name();
    Some(Unfit::Foreign { import, host })
}

/// What is said of a module that imports or exports this name, if the name is a platform's.
fn platform(name: &str) -> Option<Unfit> {
    // Core modules for Fastly import `fastly_http_req` and others.
    let is_of = |namespace: &str| {
        let rest = name.strip_prefix(namespace);
        rest.is_some_and(|rest| rest.starts_with([':', '_']))
    };
    let (_, platform) = PLATFORMS.iter().find(|(namespace, _)| is_of(namespace))?;
    let name = name.to_owned();
    Some(Unfit::Platform { name, platform })
}

fn is_handler(import: &str) -> bool {
    Interface::parse(import).is_some_and(|interface| {
        interface.is_wasi("http", "handler") || interface.is_wasi("http", "incoming-handler")
    })
}

/// Whether this is an interface of a draft that has been released since.
fn is_draft(name: &str) -> bool {
    Interface::parse(name).is_some_and(|interface| {
        interface.namespace == "wasi"
            && RELEASED.contains(&interface.package)
            && interface.release() == Release::Draft
    })
}

fn no_export(names: &Names<'_>) -> Unfit {
    let exports = names.exports.iter();
    Unfit::NoExport {
        exports: exports.map(|export| export.name.to_owned()).collect(),
        is_component: names.is_component,
    }
}

/// What is said of an import that nobody has.
fn missing_from(import: &Import<'_>) -> Unfit {
    let is_component = import.module.is_none();
    let name = import.full_name();
    if is_component && contract::find(import.name).is_some() {
        Unfit::ForPrograms { import: name }
    } else if is_component && Provider::of(import.name, None) != Provider::Nobody {
        Unfit::Wasi03 { import: name }
    } else if is_component && is_draft(import.name) {
        Unfit::Draft { name }
    } else {
        let import = name;
        Unfit::Missing {
            import,
            is_component,
        }
    }
}
