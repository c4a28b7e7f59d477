//! What single operations cost, without HTTP: a process's start and end, a call, a call that reads a file.
//!
//! ```text
//! cargo bench --bench operations
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use wasm_pool_bench::handler::Bench;
use wasm_pool_guest_build::{build, workspace};
use wasm_pool_host::process::Exit;
use wasm_pool_host::sandbox::Module;

criterion_group! {
    name = operations;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = processes, calls
}
criterion_main!(operations);

/// A process's life, short and shorter.
fn processes(criterion: &mut Criterion) {
    let bench = Bench::new(Module::BuiltIn);
    criterion.bench_function("start a process, end it", |bencher| {
        bencher.iter_custom(|times| {
            bench.run(async {
                let begin = Instant::now();
                for _ in 0..times {
                    bench.start().await.end(Exit::Served);
                }
                begin.elapsed()
            })
        });
    });
    criterion.bench_function("start a process, read a file of 1 KiB, end it", |bencher| {
        bencher.iter_custom(|times| {
            bench.run(async {
                let begin = Instant::now();
                for _ in 0..times {
                    let mut process = bench.start().await;
                    bench.call(&mut process).await;
                    process.end(Exit::Served);
                }
                begin.elapsed()
            })
        });
    });
}

/// A request to a process that lives.
fn calls(criterion: &mut Criterion) {
    let hello = Module::File(hello());
    for (name, module) in [
        ("call (examples/hello)", hello),
        (
            "call, open, stat, read, close a file of 1 KiB",
            Module::BuiltIn,
        ),
    ] {
        let bench = Bench::new(module);
        let mut process = bench.run(bench.start());
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                bench.run(async {
                    let begin = Instant::now();
                    for _ in 0..times {
                        bench.call(&mut process).await;
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
