//! What single operations cost, without HTTP: a process's start and end, a call, a call that reads a file.
//!
//! ```text
//! cargo bench --bench operations
//! ```
//!
//! All on one thread, as a request meets them: no operation waits for another thread.

#[allow(dead_code)] // the build script uses the rest of it
#[path = "../guest_build.rs"]
mod guest_build;

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use wasm_pool_host::files::Root;
use wasm_pool_host::message::{Body, Headers, Request};
use wasm_pool_host::pid::Pids;
use wasm_pool_host::process::{Exit, Process};
use wasm_pool_host::sandbox::{Handlers, Module, Output, Sandbox, Settings};
use wasm_pool_host::steps::Steps;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

const FILE_BYTES: usize = 1024;

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

/// A module, the folder it serves, and a request for the file in there.
struct Bench {
    runtime: Runtime,
    handlers: Handlers,
    pids: Pids,
    request: Request,
    _root: tempfile::TempDir,
}

impl Bench {
    fn new(module: Module) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(root.path().join("file"), [b'x'; FILE_BYTES]).expect("a file");
        let settings = Settings {
            module,
            handlers: 1,
            processes: 0,
            memory: 64 << 20,
            max_response: 64 << 20,
            max_body: 1 << 20,
            max_message: 1 << 20,
            max_open_files: 64,
            max_open_files_in_all: 64,
            output: Output::Log,
            steps: Steps::default(),
        };
        let folder = Root::open(root.path()).expect("the folder opens");
        let sandbox = Sandbox::load(settings, folder).expect("the module loads");
        let Sandbox::Handlers(handlers) = sandbox else {
            panic!("the module is a program");
        };
        Self {
            runtime: runtime.expect("a runtime"),
            handlers,
            pids: Pids::new(),
            request: request(),
            _root: root,
        }
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    async fn start(&self) -> Process {
        Process::start(&self.handlers, &self.pids, PATIENCE)
            .await
            .expect("it starts")
    }

    async fn call(&self, process: &mut Process) {
        let response = process
            .handle(&self.request, Instant::now() + PATIENCE)
            .await;
        let response = response.expect("it answers");
        assert_eq!(response.status, 200);
        assert!(matches!(response.body, Body::Bytes(bytes) if !bytes.is_empty()));
    }
}

/// As a simple client sends it.
fn request() -> Request {
    let mut headers = Headers::with_capacity(1);
    headers.push("host", b"127.0.0.1:8080");
    Request {
        id: 1,
        method: "GET".into(),
        path: "/file".into(),
        query: None,
        headers,
        body: Vec::new(),
        client: "127.0.0.1:49152".into(),
    }
}

fn hello() -> std::path::PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let guests = guest_build::build(workspace.expect("the workspace"), &["hello"]);
    guests.expect("the guest builds").join("hello.wasm")
}
