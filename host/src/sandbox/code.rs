//! What shapes compiled code. The build script includes this file: it compiles the built-in worker, and that
//! code must fit the engines that run it.

use wasmtime::{Config, WasmBacktraceDetails};

/// The same for every engine here, so that one's code runs in another.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // A backtrace names functions; the guest's debug information, if any, adds lines.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}
