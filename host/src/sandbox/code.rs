//! What shapes compiled code. The build script includes this file: it compiles the built-in worker,
//! and that code must fit the engines that run it.

use wasmtime::{Config, WasmBacktraceDetails};

/// The same for every engine here, so that one's code runs in another.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // A backtrace names functions. A guest's debug information would add lines, and is never
        // read: its reader recurses as deep as the guest nests it, and a guest could end the host
        // by that.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}
