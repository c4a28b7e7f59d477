//! The program beside its peers; see [`wasm_pool_bench::compare`].

fn main() -> anyhow::Result<()> {
    wasm_pool_bench::compare::main(env!("CARGO_BIN_EXE_wasm-pool-host").as_ref())
}
