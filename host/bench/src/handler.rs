//! A host without HTTP, on one thread. It measures the cost of a request from the moment when the
//! request is a message. No operation waits for another thread.

use tokio::runtime::Runtime;
use wasm_pool_host::{
    Body, Headers, Host, Mode, Module, PoolSettings, Request, Scheme, Settings, Workers,
};

const FILE_BYTES: usize = 1024;

/// A host with at most one process, the folder that it serves, and a request for the file in the
/// folder.
#[derive(Debug)]
pub struct Bench {
    runtime: Runtime,
    host: Host,
    _root: tempfile::TempDir,
}

impl Bench {
    /// With [`Mode::PerRequest`], the host creates a process for each request and ends it
    /// afterwards.
    ///
    /// # Panics
    /// If the module can't be started.
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

    /// Sends the request to a process, and waits for the response.
    ///
    /// # Panics
    /// If the response is wrong.
    pub async fn ask(&self) {
        let response = self.host.handle(request()).await.expect("it answers");
        assert_eq!(response.status, 200);
        let body = response.body.collect(FILE_BYTES as u64).await;
        assert!(!body.expect("a body").is_empty());
    }
}

/// The request, as a simple client sends it.
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
        server: "127.0.0.1:8080".into(),
        scheme: Scheme::Http,
    }
}
