//! The server stubs, generated from `wit/` by wasmtime's `bindgen!`. Arguments are borrowed on their way
//! in, so that a request is copied once: from its message into the process's memory.

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
