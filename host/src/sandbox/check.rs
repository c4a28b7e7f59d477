//! Checks a module without compiling it: its kind, its exports, its imports, and whether this host
//! can run it.

use wasmparser::Validator;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::excerpt::{excerpt, printable};
use super::inspect::{Inspected, inspect};
use super::provider::Provider;
use super::shape::check_shape;
use super::state::{HasState, State, linker};
use super::stub::stub;
use super::{LoadError, drafts, engine, foreign, program};
use crate::kind::Kind;
use crate::settings::Module;

/// The outcome of [`check`].
#[derive(Debug)]
pub struct Report {
    /// The kind, if the module is of one that this host runs.
    pub kind: Option<Kind>,
    /// Names of the exports. Names here include the version, and show invisible characters escaped.
    pub exports: Vec<String>,
    /// The imports, and who has them.
    pub imports: Vec<Import>,
    /// Why this host can't run the module, if so.
    pub obstacle: Option<String>,
}

/// One import.
#[derive(Debug)]
pub struct Import {
    /// The name of the import. Those of core modules have the form `module.name`.
    pub name: String,
    /// Who has something of this name. Its functions may still differ in type.
    pub provider: Provider,
}

/// Reads and validates the module, and compares its imports and exports with the host's. `memory`
/// is the memory in bytes that a process may have.
///
/// # Errors
/// If the module can't be read, or is invalid.
pub fn check(module: &Module, memory: u64) -> Result<Report, LoadError> {
    let invalid = |error: wasmtime::Error| LoadError::Compile {
        module: module.clone(),
        error,
    };
    let Some(binary) = engine::binary(module)? else {
        return built_in(memory);
    };
    let found = inspect(&binary).map_err(|error| invalid(error.into()))?;
    let obstacle = match &found.kind {
        Err(unfit) => Some(unfit.to_string()),
        Ok(kind) => {
            let types = Validator::new().validate_all(&binary);
            let types = types.map_err(|error| invalid(error.into()))?;
            if let Err(unfit) = check_shape(*kind, &types) {
                Some(unfit.to_string())
            } else if let Err(error) = link(*kind, &binary) {
                Some(excerpt(&format!("{error:#}")))
            } else {
                too_large(found.memory, memory)
            }
        }
    };
    Ok(report(found, obstacle))
}

fn built_in(memory: u64) -> Result<Report, LoadError> {
    let compilation = engine::compile_only(&Module::BuiltIn, None, || ())?;
    let too_large = compilation.check_memory(memory).err();
    let kind = compilation.kind;
    let component = compilation.code.component().map_err(LoadError::Host)?;
    let names = component.component_type();
    let engine = component.engine();
    let imports = names.imports(engine).map(|(name, _)| name);
    let found = Inspected {
        kind: Ok(kind),
        exports: names
            .exports(engine)
            .map(|(name, _)| printable(name))
            .collect(),
        imports: imports
            .map(|name| (printable(name), Provider::of(name, Some(kind))))
            .collect(),
        memory: 0,
    };
    Ok(report(found, too_large.map(|error| error.to_string())))
}

fn report(found: Inspected, obstacle: Option<String>) -> Report {
    let imports = found.imports.into_iter();
    Report {
        kind: found.kind.ok(),
        exports: found.exports,
        imports: imports
            .map(|(name, provider)| Import { name, provider })
            .collect(),
        obstacle,
    }
}

/// Compares the types of the imports with the host's.
fn link(kind: Kind, binary: &[u8]) -> wasmtime::Result<()> {
    let engine = Engine::new(&engine::config(kind))?;
    let stub = || Component::from_binary(&engine, &stub(binary)?);
    match kind {
        Kind::Handler => fits(linker::<State>(&engine)?, &stub()?),
        Kind::Program => fits(program::linker(&engine)?, &stub()?),
        Kind::Http02 | Kind::Http03 | Kind::Command02 | Kind::Command03 => {
            fits(foreign::linker(kind, &engine)?, &stub()?)
        }
        // The names of WASI 0.1 are functions, and no other version of them has other types.
        Kind::CommandCore => Ok(()),
    }
}

fn fits<T: HasState>(mut linker: Linker<T>, stub: &Component) -> wasmtime::Result<()> {
    drafts::add_to_linker(&mut linker, stub)?;
    linker.instantiate_pre(stub).map(drop)
}

fn too_large(needs: u64, memory: u64) -> Option<String> {
    let error = LoadError::TooLarge { needs, memory };
    (needs > memory).then(|| error.to_string())
}
