//! The *engine* compiles a module and holds the memory of its instances. The numbers here size this
//! memory. They follow from the pool's size, so that the engine can't run out before the pool does.

use std::path::Path;

use wasmtime::component::Component;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, ResourcesRequired,
};

use super::limits::TABLE_ELEMENT_BYTES;
use super::mappings::most_instances;
use super::inspect::inspect;
use super::{Code, LoadError, Settings, code, names, source};
use crate::kind::Kind;
use crate::settings::Module;

/// The stack of wasm frames. Other process pools on Linux give each thread as much; no guest should
/// need more.
const STACK_BYTES: usize = 512 << 10;

/// A fiber has as much again, for the host's own frames while it serves a guest's call.
const FIBER_BYTES: usize = 2 * STACK_BYTES;

/// Memory that a slot keeps mapped after its instance ends, so that the next instance has no page
/// faults there. Measured: the default worker touches less than this in each.
const KEEP_MEMORY_BYTES: usize = 256 << 10;
const KEEP_TABLE_BYTES: usize = 64 << 10;
const KEEP_STACK_BYTES: usize = 64 << 10;

/// Unused slots that stay mapped. The memory of other slots goes back to the system when their
/// instance ends. Few, so that successive instances reuse memory that is still in the core's cache.
const WARM_SLOTS: u32 = 8;

/// Elements in one table, mostly function pointers. Rust guests use some hundreds, interpreters
/// some ten thousand.
const TABLE_ELEMENTS: u64 = 20_000;

/// The host's bookkeeping for one component and for one core instance. It grows with the number of
/// imports and exports. The memory is virtual until it is used.
const INSTANCE_BYTES: usize = 1 << 20;

/// Stacks of one instance that has tasks: a task that blocks in the middle of a call keeps one.
const TASK_STACKS: u32 = 4;

const WASM_PAGE_BYTES: u64 = 64 << 10;

/// The built-in worker, compiled by the build script from `guest-worker/`.
const BUILT_IN_WORKER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/worker.cwasm"));

/// Compiles the module, before an engine with memory exists. Only the compiled component tells how
/// many memories and tables an instance has.
pub(super) fn compile_only(module: &Module) -> Result<(Code, Kind), LoadError> {
    let failed = |error| LoadError::Compile {
        module: module.clone(),
        error,
    };
    match module {
        Module::BuiltIn => {
            let compiler = Engine::new(&config(Kind::Handler)).map_err(LoadError::Host)?;
            // SAFETY: `deserialize` trusts its bytes to come from `precompile_component` of this
            // version of wasmtime. The build script made them with it, Cargo uses one version for
            // both, and the engine compares the versions.
            let component = unsafe { Component::deserialize(&compiler, BUILT_IN_WORKER) };
            let component = component.map_err(failed)?;
            Ok((Code::Component(component), Kind::Handler))
        }
        Module::File(path) => {
            let binary = binary(path, &source::read(path)?).map_err(failed)?;
            let kind = inspect(&binary);
            let compiler = Engine::new(&config(kind)).map_err(LoadError::Host)?;
            let code = compile(&compiler, kind, &binary).map_err(failed)?;
            Ok((code, kind))
        }
    }
}

fn compile(compiler: &Engine, kind: Kind, binary: &[u8]) -> wasmtime::Result<Code> {
    if kind == Kind::CommandCore {
        return wasmtime::Module::from_binary(compiler, binary).map(Code::Core);
    }
    Component::from_binary(compiler, binary).map(Code::Component)
}

/// The same code in an engine with room for its instances.
pub(super) fn reserve(
    compiled: &Code,
    kind: Kind,
    settings: &Settings,
) -> Result<Code, LoadError> {
    let instances = settings.instances;
    let reserve = |error| LoadError::Reserve { instances, error };

    check_memory(compiled, settings.memory)?;
    let memories = compiled
        .resources_required()
        .map_or(1, |needs| needs.num_memories);
    let most = most_instances(memories);
    if u64::from(instances) > most {
        return Err(LoadError::Mappings {
            instances,
            memories,
            most,
        });
    }

    let mut pooled = config(kind);
    let strategy = pool(kind, settings, compiled.resources_required());
    pooled.allocation_strategy(strategy);
    let engine = Engine::new(&pooled).map_err(reserve)?;

    // SAFETY: `deserialize` trusts its bytes to come from `serialize` of this version of wasmtime.
    // The line above each makes them, and nothing else has touched them.
    match compiled {
        Code::Component(component) => {
            let bytes = component.serialize().map_err(LoadError::Host)?;
            let component = unsafe { Component::deserialize(&engine, &bytes) };
            component.map(Code::Component).map_err(reserve)
        }
        Code::Core(module) => {
            let bytes = module.serialize().map_err(LoadError::Host)?;
            let module = unsafe { wasmtime::Module::deserialize(&engine, &bytes) };
            module.map(Code::Core).map_err(reserve)
        }
    }
}

/// Checks that the module can start with this much memory.
pub(super) fn check_memory(code: &Code, memory: u64) -> Result<(), LoadError> {
    let pages = code
        .resources_required()
        .and_then(|needs| needs.max_initial_memory_size);
    let needs = pages.unwrap_or(0).saturating_mul(WASM_PAGE_BYTES);
    if needs > memory {
        return Err(LoadError::TooLarge { needs, memory });
    }
    Ok(())
}

/// The module as a binary. Text is translated.
fn binary(path: &Path, module: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let binary = wat::Parser::new().parse_bytes(Some(path), module);
    let mut binary = binary?.into_owned();
    names::drop_long_names(&mut binary);
    Ok(binary)
}

/// The configuration of engines that compile and of engines that run.
pub(super) fn config(kind: Kind) -> Config {
    let mut config = code::config();
    config
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(FIBER_BYTES)
        .concurrency_support(is_concurrent(kind));
    config
}

/// Whether modules of this kind have tasks. For the others, support of tasks would make each call
/// cost twice as much.
fn is_concurrent(kind: Kind) -> bool {
    match kind {
        Kind::Http03 | Kind::Command03 => true,
        Kind::Handler
        | Kind::Program
        | Kind::Http02
        | Kind::Command02
        | Kind::CommandCore => false,
    }
}

fn pool(
    kind: Kind,
    settings: &Settings,
    needs: Option<ResourcesRequired>,
) -> InstanceAllocationStrategy {
    let instances = settings.instances;
    // A component that imports core modules can't tell. It can't be instantiated here either.
    let (memories, tables, table_elements) = needs.map_or((1, 1, 0), |needs| {
        (
            needs.num_memories,
            needs.num_tables,
            needs.max_initial_table_size.unwrap_or(0),
        )
    });
    // Tables count as memory, so there is no need to reserve a table larger than the memory limit.
    let most_elements = settings.memory / TABLE_ELEMENT_BYTES as u64;
    let table_elements = table_elements.max(TABLE_ELEMENTS).min(most_elements);
    let table_elements = usize::try_from(table_elements).unwrap_or(usize::MAX);
    let memory = settings.memory.next_multiple_of(WASM_PAGE_BYTES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(u32::MAX)
        .total_memories(instances.saturating_mul(memories))
        .total_tables(instances.saturating_mul(tables))
        .total_stacks(instances.saturating_mul(if is_concurrent(kind) { TASK_STACKS } else { 1 }))
        .max_memories_per_component(memories)
        .max_tables_per_component(tables)
        .max_memories_per_module(memories)
        .max_tables_per_module(tables)
        .max_memory_size(usize::try_from(memory).unwrap_or(usize::MAX))
        .table_elements(table_elements)
        .max_component_instance_size(INSTANCE_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .linear_memory_keep_resident(KEEP_MEMORY_BYTES)
        .table_keep_resident(KEEP_TABLE_BYTES)
        .async_stack_keep_resident(KEEP_STACK_BYTES)
        .max_unused_warm_slots(WARM_SLOTS)
        // Since Linux 6.7 the kernel reports the touched pages of an instance, so that only those
        // are reset.
        .pagemap_scan(Enabled::Auto);
    pool.into()
}
