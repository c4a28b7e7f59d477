//! The *shape* of an export: whether it is a function, of how many parameters and results. More is
//! only known to the compiler.

use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::{EntityType, Types};

use super::unfit::Unfit;
use crate::kind::Kind;

/// Checks the export that the host calls in a module of this kind.
pub(super) fn check_shape(kind: Kind, types: &Types) -> Result<(), Unfit> {
    let fits = match kind {
        Kind::Handler => has_function(types, kind.export(), 1, 1),
        Kind::Program => has_function(types, kind.export(), 0, 0),
        Kind::CommandCore => has_start(types),
        // Their types are WASI's. Nobody writes them by hand.
        Kind::Http02 | Kind::Http03 | Kind::Command02 | Kind::Command03 => true,
    };
    match fits {
        true => Ok(()),
        false => Err(Unfit::Signature(kind)),
    }
}

/// Whether a component exports a function with so many parameters and results.
fn has_function(types: &Types, export: &str, parameters: usize, results: usize) -> bool {
    let Some(export) = types.component_item_for_export(export) else {
        return false;
    };
    let ComponentEntityType::Func(function) = export.ty else {
        return false;
    };
    let function = &types[function];
    function.params.len() == parameters && usize::from(function.result.is_some()) == results
}

/// Whether a core module exports a `_start` that takes and returns nothing.
fn has_start(types: &Types) -> bool {
    let mut exports = types.as_ref().core_exports().into_iter().flatten();
    exports.any(|(name, export)| match export {
        EntityType::Func(function) | EntityType::FuncExact(function) => {
            let function = types[function].unwrap_func();
            name == Kind::CommandCore.export()
                && function.params().is_empty()
                && function.results().is_empty()
        }
        EntityType::Table(_)
        | EntityType::Memory(_)
        | EntityType::Global(_)
        | EntityType::Tag(_) => false,
    })
}
