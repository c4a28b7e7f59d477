//! What it costs to talk; see [`wasm_pool_bench::messages`].

fn main() -> anyhow::Result<()> {
    wasm_pool_bench::messages::main(env!("CARGO_BIN_EXE_wasm-pool-host").as_ref())
}
