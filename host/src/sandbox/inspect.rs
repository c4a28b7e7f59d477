//! To *inspect* a module is to read its names before anything is compiled: what it exports, what it
//! imports, and so its kind, or why this host can't run it.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ComponentType,
    ComponentTypeRef, CompositeInnerType, Encoding, ExternalKind, InstanceTypeDeclaration, Parser,
    Payload, Result, TypeBounds, TypeRef,
};

use super::excerpt::printable;
use super::first_memory;
use super::fit::fit;
use super::provider::Provider;
use super::unfit::{Proposal, Unfit};
use crate::kind::Kind;

/// The custom sections of a core module that is meant to be wrapped as a component begin so.
const COMPONENT_TYPE: &str = "component-type";

/// What the names of a module say.
#[derive(Debug)]
pub(super) struct Inspected {
    /// The kind of the module, or why this host can't run it.
    pub(super) kind: std::result::Result<Kind, Unfit>,
    /// The exports. Names here show invisible characters escaped.
    pub(super) exports: Vec<String>,
    /// The imports, and who has each. The name of a core module's has the form `module.name`.
    pub(super) imports: Vec<(String, Provider)>,
    /// The bytes that a process has before any code runs.
    pub(super) memory: u64,
}

/// The top-level names of a module.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    pub(super) is_component: bool,
    pub(super) exports: Vec<Export<'a>>,
    pub(super) imports: Vec<Import<'a>>,
    /// A proposal for WebAssembly that some part of the module needs, and this host lacks.
    pub(super) proposal: Option<Proposal>,
    /// Whether this core module is meant to be wrapped as a component.
    pub(super) is_unwrapped: bool,
    /// For each type of the component: whether it is of an instance that has types only.
    types: Vec<bool>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Export<'a> {
    pub(super) name: &'a str,
    pub(super) is_function: bool,
    pub(super) is_instance: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Import<'a> {
    /// The first half of a core module's import.
    pub(super) module: Option<&'a str>,
    pub(super) name: &'a str,
    /// Whether it has types only.
    is_types: bool,
}

/// Reads the names of a binary.
///
/// # Errors
/// If the binary is malformed. Code is not looked at: only the compiler finds what is wrong there.
pub(super) fn inspect(binary: &[u8]) -> Result<Inspected> {
    let names = Names::read(binary)?;
    let kind = fit(&names);
    let provider = |import: &Import<'_>| import.provider(kind.as_ref().ok().copied());
    Ok(Inspected {
        exports: names
            .exports
            .iter()
            .map(|export| printable(export.name))
            .collect(),
        imports: names
            .imports
            .iter()
            .map(|import| (printable(&import.full_name()), provider(import)))
            .collect(),
        memory: first_memory::of(binary),
        kind,
    })
}

impl Import<'_> {
    pub(super) fn provider(&self, kind: Option<Kind>) -> Provider {
        match self.module {
            Some(module) => Provider::of_core(module, self.name),
            None => {
                let provider = Provider::of(self.name, kind);
                let is_types = self.is_types && provider == Provider::Nobody;
                if is_types { Provider::Types } else { provider }
            }
        }
    }

    pub(super) fn full_name(&self) -> String {
        match self.module {
            Some(module) => format!("{module}.{}", self.name),
            None => self.name.to_owned(),
        }
    }
}

impl<'a> Names<'a> {
    fn read(binary: &'a [u8]) -> Result<Self> {
        let mut names = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(binary) {
            let payload = payload?;
            names.read_needs(&payload)?;
            if depth == 0 {
                names.read_core(&payload)?;
                names.read_component(&payload)?;
            }
            if let Payload::ModuleSection { .. } | Payload::ComponentSection { .. } = payload {
                depth += 1;
            }
            if let Payload::End(_) = payload {
                depth = depth.saturating_sub(1);
            }
        }
        Ok(names)
    }

    /// What a core module needs, be it the module itself or a part of a component.
    fn read_needs(&mut self, payload: &Payload<'a>) -> Result<()> {
        if let Payload::TypeSection(types) = payload {
            for group in types.clone() {
                let has_gc = group?.types().any(|kind| match kind.composite_type.inner {
                    CompositeInnerType::Array(_) | CompositeInnerType::Struct(_) => true,
                    CompositeInnerType::Func(_) | CompositeInnerType::Cont(_) => false,
                });
                self.needs(has_gc, Proposal::Gc);
            }
        }
        if let Payload::ImportSection(imports) = payload {
            for import in imports.clone().into_imports() {
                match import?.ty {
                    TypeRef::Memory(memory) => self.needs(memory.shared, Proposal::Threads),
                    TypeRef::Tag(_) => self.needs(true, Proposal::Exceptions),
                    TypeRef::Func(_)
                    | TypeRef::FuncExact(_)
                    | TypeRef::Table(_)
                    | TypeRef::Global(_) => {}
                }
            }
        }
        if let Payload::MemorySection(memories) = payload {
            for memory in memories.clone() {
                let memory = memory?;
                self.needs(memory.shared, Proposal::Threads);
            }
        }
        if let Payload::TagSection(tags) = payload {
            self.needs(tags.count() > 0, Proposal::Exceptions);
        }
        Ok(())
    }

    fn needs(&mut self, yes: bool, proposal: Proposal) {
        if yes {
            self.proposal.get_or_insert(proposal);
        }
    }

    /// A section of a core module.
    fn read_core(&mut self, payload: &Payload<'a>) -> Result<()> {
        if let Payload::ImportSection(imports) = payload {
            for import in imports.clone().into_imports() {
                let import = import?;
                self.imports.push(Import {
                    module: Some(import.module),
                    name: import.name,
                    is_types: false,
                });
            }
        }
        if let Payload::ExportSection(exports) = payload {
            for export in exports.clone() {
                let export = export?;
                self.exports.push(Export {
                    name: export.name,
                    is_function: export.kind == ExternalKind::Func,
                    is_instance: false,
                });
            }
        }
        if let Payload::CustomSection(section) = payload {
            self.is_unwrapped |= section.name().starts_with(COMPONENT_TYPE);
        }
        Ok(())
    }

    /// A section of a component.
    fn read_component(&mut self, payload: &Payload<'a>) -> Result<()> {
        if let Payload::Version { encoding, .. } = payload {
            self.is_component = *encoding == Encoding::Component;
        }
        if let Payload::ComponentTypeSection(types) = payload {
            for kind in types.clone() {
                self.types.push(has_types_only(&kind?));
            }
        }
        if let Payload::ComponentAliasSection(aliases) = payload {
            for alias in aliases.clone() {
                if is_type(&alias?) {
                    self.types.push(false);
                }
            }
        }
        if let Payload::ComponentImportSection(imports) = payload {
            for import in imports.clone() {
                let import = import?;
                self.imports.push(Import {
                    module: None,
                    name: import.name.name,
                    is_types: self.is_types(import.ty),
                });
                if import.ty.kind() == ComponentExternalKind::Type {
                    self.types.push(false);
                }
            }
        }
        if let Payload::ComponentExportSection(exports) = payload {
            for export in exports.clone() {
                let export = export?;
                self.exports.push(Export {
                    name: export.name.name,
                    is_function: export.kind == ComponentExternalKind::Func,
                    is_instance: export.kind == ComponentExternalKind::Instance,
                });
                if export.kind == ComponentExternalKind::Type {
                    self.types.push(false);
                }
            }
        }
        Ok(())
    }

    /// Whether an import of this type asks nobody for anything.
    fn is_types(&self, import: ComponentTypeRef) -> bool {
        match import {
            ComponentTypeRef::Instance(index) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                self.types.get(index).copied().unwrap_or(false)
            }
            ComponentTypeRef::Type(bounds) => matches!(bounds, TypeBounds::Eq(_)),
            ComponentTypeRef::Module(_)
            | ComponentTypeRef::Func(_)
            | ComponentTypeRef::Value(_)
            | ComponentTypeRef::Component(_) => false,
        }
    }
}

/// Whether this is the type of an instance without functions and resources.
fn has_types_only(kind: &ComponentType<'_>) -> bool {
    let ComponentType::Instance(declarations) = kind else {
        return false;
    };
    declarations.iter().all(|declaration| match declaration {
        InstanceTypeDeclaration::Export { ty, .. } => {
            matches!(ty, ComponentTypeRef::Type(TypeBounds::Eq(_)))
        }
        InstanceTypeDeclaration::CoreType(_)
        | InstanceTypeDeclaration::Type(_)
        | InstanceTypeDeclaration::Alias(_) => true,
    })
}

fn is_type(alias: &ComponentAlias<'_>) -> bool {
    match alias {
        ComponentAlias::InstanceExport { kind, .. } => *kind == ComponentExternalKind::Type,
        ComponentAlias::Outer { kind, .. } => *kind == ComponentOuterAliasKind::Type,
        ComponentAlias::CoreInstanceExport { .. } => false,
    }
}
