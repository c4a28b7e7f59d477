//! The server stubs, generated from `wit/` by wasmtime's `bindgen!`, one module per world.

/// The world `handler`. Arguments are borrowed on their way in, so that a request is copied once: from its
/// message into the process's memory.
pub(super) mod handler {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "handler",
        imports: {
            // Opening and reading may have to wait for the disk; the process waits then, its thread does not.
            "wasm-pool:worker/files.[method]file.stat": trappable,
            "wasm-pool:worker/files.[drop]file": trappable,
            default: async | trappable,
        },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "wasm-pool:worker/files.file": crate::files::OpenFile,
        },
    });
}

/// The world `program`. Messages are owned: they leave one process for another.
pub(super) mod program {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "program",
        imports: {
            // Those that may have to wait: the process does then, its thread does not.
            "wasm-pool:worker/mailbox.send-wait": async | trappable,
            "wasm-pool:worker/mailbox.receive": async | trappable,
            "wasm-pool:worker/mailbox.receive-from": async | trappable,
            "wasm-pool:worker/mailbox.receive-reply": async | trappable,
            "wasm-pool:worker/mailbox.receive-timeout": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "wasm-pool:worker/files": super::handler::wasm_pool::worker::files,
        },
    });
}
