//! The *first memory* of a module is what one process has before any of its code runs: the initial
//! sizes of all memories and tables. It is read from the binary, so that a limit that is too low is
//! reported with the value that would do, and before anything is compiled.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Instance, Parser, Payload,
};

use super::limits::TABLE_ELEMENT_BYTES;

/// The logarithm of a page's size, unless the memory says otherwise.
const PAGE_LOG2: u32 = 16;

/// A module or component that is being read, and the bytes that one instance of it has.
#[derive(Default)]
struct Level {
    is_component: bool,
    /// The bytes of each core module and of each component in it, in the order of their numbers.
    modules: Vec<u64>,
    components: Vec<u64>,
    bytes: u64,
}

/// The first memory of one process in bytes. What is imported counts as nothing. Of a malformed
/// module, counts what stands before the flaw: the compiler reports it.
pub(super) fn of(binary: &[u8]) -> u64 {
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::default();
    for payload in Parser::new(0).parse_all(binary) {
        let Ok(payload) = payload else {
            break;
        };
        #[allow(clippy::wildcard_enum_match_arm)] // of a foreign type with dozens of sections
        match payload {
            Payload::ModuleSection { .. } => outer.push(std::mem::take(&mut level)),
            Payload::ComponentSection { .. } => {
                outer.push(std::mem::take(&mut level));
                level.is_component = true;
            }
            Payload::End(_) => match outer.pop() {
                Some(parent) => {
                    let inner = std::mem::replace(&mut level, parent);
                    level.contains(&inner);
                }
                None => break,
            },
            payload => {
                let _flaw = level.read(payload, &outer);
            }
        }
    }
    // The outermost, or what was read of it.
    outer.into_iter().next().unwrap_or(level).bytes
}

impl Level {
    fn contains(&mut self, inner: &Self) {
        match inner.is_component {
            true => self.components.push(inner.bytes),
            false => self.modules.push(inner.bytes),
        }
    }

    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Reads a section. Only sections that define memories, tables or instances, or that number
    /// modules and components, matter here.
    fn read(&mut self, payload: Payload<'_>, outer: &[Self]) -> wasmparser::Result<()> {
        #[allow(clippy::wildcard_enum_match_arm)] // of a foreign type with dozens of sections
        match payload {
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory?;
                    let page = memory.page_size_log2.unwrap_or(PAGE_LOG2);
                    let page = 1_u64.checked_shl(page).unwrap_or(u64::MAX);
                    self.add(memory.initial.saturating_mul(page));
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let elements = table?.ty.initial;
                    self.add(elements.saturating_mul(TABLE_ELEMENT_BYTES as u64));
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.add(numbered(&self.modules, module_index));
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    if let ComponentInstance::Instantiate {
                        component_index, ..
                    } = instance?
                    {
                        self.add(numbered(&self.components, component_index));
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => self.modules.push(0),
                        ComponentTypeRef::Component(_) => self.components.push(0),
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    self.number_again(export.kind, export.index);
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    self.alias(&alias?, outer);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives an exported module or component its second number.
    fn number_again(&mut self, kind: ComponentExternalKind, index: u32) {
        match kind {
            ComponentExternalKind::Module => self.modules.push(numbered(&self.modules, index)),
            ComponentExternalKind::Component => {
                self.components.push(numbered(&self.components, index));
            }
            ComponentExternalKind::Func
            | ComponentExternalKind::Value
            | ComponentExternalKind::Type
            | ComponentExternalKind::Instance => {}
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>, outer: &[Self]) {
        match *alias {
            ComponentAlias::InstanceExport { kind, .. } => match kind {
                ComponentExternalKind::Module => self.modules.push(0),
                ComponentExternalKind::Component => self.components.push(0),
                ComponentExternalKind::Func
                | ComponentExternalKind::Value
                | ComponentExternalKind::Type
                | ComponentExternalKind::Instance => {}
            },
            ComponentAlias::Outer { kind, count, index } => {
                let level = (count as usize)
                    .checked_sub(1)
                    .and_then(|above| outer.iter().rev().nth(above))
                    .unwrap_or(&*self);
                match kind {
                    ComponentOuterAliasKind::CoreModule => {
                        let bytes = numbered(&level.modules, index);
                        self.modules.push(bytes);
                    }
                    ComponentOuterAliasKind::Component => {
                        let bytes = numbered(&level.components, index);
                        self.components.push(bytes);
                    }
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
                }
            }
            ComponentAlias::CoreInstanceExport { .. } => {}
        }
    }
}

fn numbered(bytes: &[u64], index: u32) -> u64 {
    bytes.get(index as usize).copied().unwrap_or_default()
}
