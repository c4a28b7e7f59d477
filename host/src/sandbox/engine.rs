//! The *engine* compiles a module and holds the memory of its instances. The numbers here size this
//! memory. They follow from the pool's size, so that the engine can't run out before the pool does.

use std::path::Path;

use bytes::Bytes;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, ResourcesRequired,
};

use super::cache::{self, Format, Image};
use super::inspect::inspect;
use super::limits::TABLE_ELEMENT_BYTES;
use super::mappings::most_instances;
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

/// A module that one engine has loaded, for another engine to run.
pub(super) struct Compilation {
    pub(super) code: Code,
    pub(super) kind: Kind,
    /// The same code, in the form that engines load.
    image: Image,
    /// Bytes of memories and tables that a process starts with.
    first_memory: u64,
    /// The first digits of the digest of the module's file.
    #[cfg(feature = "cluster")]
    pub(super) digest: String,
}

/// Finds out the kind of the module, and compiles it, before an engine with memory exists. Only the
/// compiled code tells how many memories and tables an instance has. `cache` is the folder of the
/// compile cache, and `compiling` is called before a compilation: not if the code is built in or in
/// the cache.
pub(super) fn compile_only(
    module: &Module,
    cache: Option<&Path>,
    compiling: impl FnOnce(),
) -> Result<Compilation, LoadError> {
    let failed = |error| LoadError::Compile {
        module: module.clone(),
        error,
    };
    let Some(binary) = binary(module)? else {
        let kind = Kind::Handler;
        let compiler = Engine::new(&config(kind)).map_err(LoadError::Host)?;
        let image = Image::built_in(BUILT_IN_WORKER);
        let component = image.component(&compiler).map_err(failed)?;
        let pages = component
            .resources_required()
            .and_then(|needs| needs.max_initial_memory_size);
        return Ok(Compilation {
            code: Code::Component(component),
            kind,
            image,
            first_memory: pages.unwrap_or(0).saturating_mul(WASM_PAGE_BYTES),
            #[cfg(feature = "cluster")]
            digest: String::new(),
        });
    };
    let found = inspect(&binary).map_err(|error| failed(error.into()))?;
    let kind = found.kind.map_err(|why| LoadError::Unfit {
        module: module.clone(),
        why,
    })?;
    let compiler = Engine::new(&config(kind)).map_err(LoadError::Host)?;
    let format = match kind {
        Kind::CommandCore => Format::Core,
        Kind::Handler
        | Kind::Program
        | Kind::Http02
        | Kind::Http03
        | Kind::Command02
        | Kind::Command03 => Format::Component,
    };
    let load = |image: &Image| image.code(&compiler, format);
    // Once, for the cache and for the cluster.
    let digest = cache::digest(&binary);
    let named = (&*binary, &digest);
    let loaded = cache::load_or_compile(cache, &compiler, named, format, compiling, load);
    let (code, image) = loaded.map_err(failed)?;
    Ok(Compilation {
        code,
        kind,
        image,
        first_memory: found.memory,
        // What was pushed is known by the digest of all of it.
        #[cfg(feature = "cluster")]
        digest: cache::shown(&match module {
            Module::Bytes(module) if module.bytes != binary => cache::digest(&module.bytes),
            Module::Bytes(_) | Module::BuiltIn | Module::File(_) => digest,
        }),
    })
}

impl Compilation {
    /// The same code in an engine with room for its instances.
    pub(super) fn reserve(&self, kind: Kind, settings: &Settings) -> Result<Code, LoadError> {
        let instances = settings.instances;
        let reserve = |error| LoadError::Reserve { instances, error };

        self.check_memory(settings.memory)?;
        let needs = self.code.resources_required();
        let memories = needs.as_ref().map_or(1, |needs| needs.num_memories);
        let most = most_instances(memories);
        if u64::from(instances) > most {
            return Err(LoadError::Mappings {
                instances,
                memories,
                most,
            });
        }

        let mut pooled = config(kind);
        pooled.allocation_strategy(pool(kind, settings, needs));
        pooled.coredump_on_trap(settings.core_dumps.is_some());
        let engine = Engine::new(&pooled).map_err(reserve)?;
        let format = match self.code {
            Code::Component(_) => Format::Component,
            Code::Core(_) => Format::Core,
        };
        self.image.code(&engine, format).map_err(reserve)
    }

    /// Checks that the module can start with this much memory.
    pub(super) fn check_memory(&self, memory: u64) -> Result<(), LoadError> {
        let needs = self.first_memory;
        if needs > memory {
            return Err(LoadError::TooLarge { needs, memory });
        }
        Ok(())
    }
}

impl Image {
    fn code(&self, engine: &Engine, format: Format) -> wasmtime::Result<Code> {
        match format {
            Format::Component => self.component(engine).map(Code::Component),
            Format::Core => self.module(engine).map(Code::Core),
        }
    }
}

/// The module as a binary. Text is translated. `None` for the one that is built in.
pub(super) fn binary(module: &Module) -> Result<Option<Vec<u8>>, LoadError> {
    let (path, bytes) = match module {
        Module::BuiltIn => return Ok(None),
        Module::File(path) => (&**path, Bytes::from(source::read(path)?)),
        Module::Bytes(module) => (Path::new(&module.name), source::judged(module)?),
    };
    let binary = wat::Parser::new().parse_bytes(Some(path), &bytes);
    let binary = binary.map_err(|error| LoadError::Compile {
        module: module.clone(),
        error: error.into(),
    });
    let mut binary = binary?.into_owned();
    names::drop_long_names(&mut binary);
    Ok(Some(binary))
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
pub(super) fn is_concurrent(kind: Kind) -> bool {
    match kind {
        Kind::Http03 | Kind::Command03 => true,
        Kind::Handler | Kind::Program | Kind::Http02 | Kind::Command02 | Kind::CommandCore => false,
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
