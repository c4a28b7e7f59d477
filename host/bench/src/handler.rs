//! A host without HTTP, on one thread: what a request costs from the moment it is a message. No
//! operation waits for another thread.

use tokio::runtime::Runtime;
use wasm_pool_host::{Body, Headers, Host, Mode, Module, PoolSettings, Request, Settings, Workers};

const FILE_BYTES: usize = 1024;

/// A host with one process at a time, the folder it serves, and a request for the file in there.
#[derive(Debug)]
pub struct Bench {
    runtime: Runtime,
    host: Host,
    _root: tempfile::TempDir,
}

impl Bench {
    /// With [`Mode::PerRequest`] each request has a process created for it, and ended behind it.
    ///
    /// # Panics
    /// Where the module can't be started.
    #[must_use]
    pub fn new(module: Module, mode: Mode) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(root.path().join("file"), [b'x'; FILE_BYTES]).expect("a file");
        let settings = Settings {
            root: root.path().to_owned(),
            module,
            pool: PoolSettings {
                mode: Some(mode),
                workers: Some(Workers { min: 0, max: 1 }),
                ..PoolSettings::default()
            },
            ..Settings::default()
        };
        let host = runtime.block_on(Host::start(settings));
        Self {
            host: host.expect("the module starts"),
            runtime,
            _root: root,
        }
    }

    /// Runs work on this thread.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Has a process answer the request.
    ///
    /// # Panics
    /// Where it does not answer as it should.
    pub async fn ask(&self) {
        let response = self.host.handle(request()).await.expect("it answers");
        assert_eq!(response.status, 200);
        let body = response.body.collect(FILE_BYTES as u64).await;
        assert!(!body.expect("a body").is_empty());
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
        body: Body::empty(),
        client: "127.0.0.1:49152".into(),
    }
}
