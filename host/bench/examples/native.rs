//! The native server that `compare` measures the host beside: `native ROOT ADDRESS`, or `native
//! --constant ADDRESS`.

fn main() -> anyhow::Result<()> {
    wasm_pool_bench::native::run(std::env::args_os().skip(1).collect())
}
