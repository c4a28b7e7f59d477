//! The settings that shape compiled code. The build script includes this file too, so that the
//! built-in worker's code matches the engines that run it.

use wasmtime::{Config, WasmBacktraceDetails};

/// One configuration for all engines, so that code from one runs in another.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // A backtrace names functions only. The guest's debug information could add line numbers,
        // and is never read. Its reader recurses as deep as the guest nests it, so a guest could
        // end the host.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}
