//! The server stubs, generated from `wit/` by wasmtime's `bindgen!`, one module per world.

#[expect(unreachable_pub)] // `bindgen!` re-exports its types publicly
pub mod http;

/// The world `handler`, with the requests and responses of [`http`], which explains why. Its
/// `queue` is linked by `sandbox/queue.rs` instead.
pub(super) mod handler {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "handler",
        imports: {
            // Opening and reading may wait for the disk. Then only the process waits, and not its
            // thread.
            "wasm-pool:worker/files.[method]file.stat": trappable,
            "wasm-pool:worker/files.[drop]file": trappable,
            default: async | trappable,
        },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "wasm-pool:worker/files.file": crate::files::OpenFile,
            "wasm-pool:worker/http": super::http,
        },
    });
}

/// The world `program`. Its `mailbox` is linked by `sandbox/mailbox.rs` instead, which explains
/// why, and its `cluster` by `sandbox/cluster.rs`.
pub(super) mod program {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "program",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "wasm-pool:worker/files": super::handler::wasm_pool::worker::files,
            "wasm-pool:worker/queue": super::handler::wasm_pool::worker::queue,
        },
    });
}
