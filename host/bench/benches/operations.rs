//! What single operations cost, without HTTP: a call, a call that reads a file, a process's whole
//! life.
//!
//! ```text
//! cargo bench --bench operations
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use wasm_pool_bench::handler::Bench;
use wasm_pool_guest_build::{build, workspace};
use wasm_pool_host::{Mode, Module};

criterion_group! {
    name = operations;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = requests
}
criterion_main!(operations);

/// Requests, each to a process that lives, and each to one that is created for it.
fn requests(criterion: &mut Criterion) {
    for (name, module, mode) in [
        ("call (examples/hello)", Module::File(hello()), Mode::Pool),
        ("call, read a file of 1 KiB", Module::BuiltIn, Mode::Pool),
        (
            "create a process, read a file of 1 KiB, end it",
            Module::BuiltIn,
            Mode::PerRequest,
        ),
    ] {
        let bench = Bench::new(module, mode);
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                bench.run(async {
                    let begin = Instant::now();
                    for _ in 0..times {
                        bench.ask().await;
                    }
                    begin.elapsed()
                })
            });
        });
    }
}

fn hello() -> PathBuf {
    let guests = build(workspace(), &["hello"]);
    guests.expect("the guest builds").join("hello.wasm")
}
