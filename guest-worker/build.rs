//! Sets the size of the worker's stack in its linear memory. When a process ends, the host looks
//! through the memory for pages that were touched, so that needless memory costs time. A request
//! takes some kilobytes of stack.

const STACK_BYTES: usize = 128 << 10;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo:rustc-link-arg-cdylib=-zstack-size={STACK_BYTES}");
    }
}
