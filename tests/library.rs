//! The library's one door, as an embedder uses it: a listener, settings, and a future that says when to
//! stop.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::sync::oneshot;
use wasm_pool_host::{Settings, http, mailbox, pool, sandbox, serve, steps, table};

use crate::support::{Client, Folder, eventually, guests, own_address};

#[test]
fn serve_answers_until_it_is_stopped() {
    let folder = Folder::new().file("index.html", "home");
    let listener = TcpListener::bind((own_address(), 0)).expect("a free port");
    let address = listener.local_addr().expect("its address");
    let (stop, stopped) = oneshot::channel::<()>();
    let settings = settings(&folder, sandbox::Module::BuiltIn);
    let served = runtime().spawn_serve(listener, settings, stopped);

    let mut client = Client::connect(address);
    let reply = client.get("/");
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, b"home".as_slice())
    );

    stop.send(()).expect("the server waits for it");
    assert!(served.join().expect("the server's thread").is_ok());
    nobody_listens(address);
}

#[test]
fn two_hosts_in_one_program_share_nothing() {
    let hosts: Vec<_> = (0..2)
        .map(|number| {
            let folder = Folder::new().file("index.html", format!("host {number}"));
            let listener = TcpListener::bind((own_address(), 0)).expect("a free port");
            let address = listener.local_addr().expect("its address");
            let (stop, stopped) = oneshot::channel::<()>();
            let served = runtime().spawn_serve(
                listener,
                settings(&folder, sandbox::Module::BuiltIn),
                stopped,
            );
            (folder, address, stop, served)
        })
        .collect();
    for (number, (_, address, _, _)) in hosts.iter().enumerate() {
        assert_eq!(
            Client::connect(*address).get("/").text(),
            format!("host {number}")
        );
    }
    for (_, address, stop, served) in hosts {
        stop.send(()).expect("the server waits for it");
        assert!(served.join().expect("the server's thread").is_ok());
        nobody_listens(address);
    }
}

#[test]
fn what_cannot_be_served_is_an_error() {
    let folder = Folder::new().file("garbage", "this is no wasm");
    let error = |settings: Settings| {
        let listener = TcpListener::bind((own_address(), 0)).expect("a free port");
        let (_stop, stopped) = oneshot::channel::<()>();
        let served = runtime().spawn_serve(listener, settings, stopped);
        format!(
            "{:#}",
            served
                .join()
                .expect("the server's thread")
                .expect_err("an error")
        )
    };
    let garbage = sandbox::Module::File(folder.root().join("garbage"));
    assert!(error(settings(&folder, garbage)).contains("garbage"));
    let mut no_root = settings(&folder, sandbox::Module::File(guests::path("hello")));
    no_root.root = folder.root().join("missing");
    assert!(error(no_root).contains("missing"));
}

/// Not at once: a child that another test is just starting has a copy of every socket, until it has started.
fn nobody_listens(address: SocketAddr) {
    eventually("nobody listens any more", || {
        Client::try_connect(address).is_err().then_some(())
    });
}

/// Small numbers: a test needs no more.
fn settings(folder: &Folder, module: sandbox::Module) -> Settings {
    Settings {
        root: folder.root(),
        sandbox: sandbox::Settings {
            module,
            handlers: 2 + pool::OVERLAP,
            processes: 8,
            memory: 64 << 20,
            max_response: 1 << 20,
            max_body: 1 << 20,
            max_message: 1 << 10,
            max_open_files: 8,
            max_open_files_in_all: 80,
            output: sandbox::Output::Log,
            steps: steps::Steps::default(),
        },
        pool: pool::Settings {
            reuse: pool::Reuse::ManyRequests,
            min: 1,
            max: 2,
            max_requests: None,
            memory: 64 << 20,
            idle_timeout: Duration::from_secs(10),
            queue: 8,
            queue_timeout: Duration::from_secs(5),
        },
        processes: table::Settings {
            processes: 8,
            children: 8,
            names: 8,
            mailbox: mailbox::Settings {
                messages: 8,
                bytes: 2 << 20,
            },
        },
        http: http::Settings {
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            max_body: 1 << 20,
            max_connections: 16,
            expose_pid: false,
        },
        grace: Duration::from_secs(10),
    }
}

struct Runtime(tokio::runtime::Runtime);

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Runtime(
        builder
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime"),
    )
}

impl Runtime {
    /// Serves on a thread of its own.
    fn spawn_serve(
        self,
        listener: TcpListener,
        settings: Settings,
        stopped: oneshot::Receiver<()>,
    ) -> std::thread::JoinHandle<anyhow::Result<()>> {
        std::thread::spawn(move || {
            // Whoever drops the sender wants it to stop, too.
            self.0
                .block_on(serve(listener, settings, async { drop(stopped.await) }))
        })
    }
}
