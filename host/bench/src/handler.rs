//! A module by itself, without HTTP and without a pool: its processes are started, called and ended on one
//! thread, as a request meets them. No operation waits for another thread.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use wasm_pool_host::files::Root;
use wasm_pool_host::message::{Body, FileSlice, Headers, Request};
use wasm_pool_host::pid::Pids;
use wasm_pool_host::process::Process;
use wasm_pool_host::sandbox::{Handlers, Module, Output, Sandbox, Settings};
use wasm_pool_host::steps::Steps;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

const FILE_BYTES: usize = 1024;

/// A module, the folder it serves, and a request for the file in there.
#[derive(Debug)]
pub struct Bench {
    runtime: Runtime,
    handlers: Handlers,
    pids: Pids,
    request: Request,
    _root: tempfile::TempDir,
}

impl Bench {
    /// # Panics
    /// Where the module can't be loaded.
    #[must_use]
    pub fn new(module: Module) -> Self {
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

    /// Runs work on this thread.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Starts a process.
    ///
    /// # Panics
    /// Where it does not start.
    pub async fn start(&self) -> Process {
        Process::start(&self.handlers, &self.pids, PATIENCE)
            .await
            .expect("it starts")
    }

    /// Has a process answer the request.
    ///
    /// # Panics
    /// Where it does not answer as it should.
    pub async fn call(&self, process: &mut Process) {
        let response = process
            .handle(&self.request, Instant::now() + PATIENCE)
            .await;
        let response = response.expect("it answers");
        assert_eq!(response.status, 200);
        let length = match response.body {
            Body::Bytes(bytes) => bytes.len(),
            Body::File(FileSlice { file, offset, .. }) => {
                let bytes = file.read_at(offset, FILE_BYTES).await;
                bytes.expect("it can be read").len()
            }
        };
        assert!(length > 0);
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
