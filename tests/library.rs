//! The library's public interface, as an embedder uses it: settings, a host, listeners, single
//! requests.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wasm_pool_host::{
    Body, Exit, Headers, Host, HostSettings, Kind, Limits, Loaded, Module, Pool, PoolSettings,
    ProgramSettings, Request, Scheme, Setting, Settings, SettingsError, StartError, State,
    Unanswered, Workers,
};

use crate::support::guests::workspace;
use crate::support::server::PROGRAM;
use crate::support::{Client, Folder, eventually, guests, own_address};

/// The longest time that running requests get in these tests.
const GRACE: Duration = Duration::from_secs(10);

#[test]
fn a_host_serves_any_number_of_listeners_until_it_is_stopped() {
    let folder = Folder::new().file("index.html", "home");
    let runtime = runtime();
    let host = start(&runtime, settings(&folder, Module::BuiltIn));
    let served: Vec<_> = (0..2)
        .map(|_| {
            let listener = TcpListener::bind((own_address(), 0)).expect("a free port");
            let address = listener.local_addr().expect("its address");
            let host = host.clone();
            (
                address,
                runtime.spawn(async move { host.serve(listener).await }),
            )
        })
        .collect();
    for (address, _) in &served {
        let reply = Client::connect(*address).get("/");
        assert_eq!((reply.status, reply.text().as_str()), (200, "home"));
    }
    runtime.block_on(host.stop(GRACE));
    for (address, served) in served {
        let ended = runtime.block_on(served);
        assert!(ended.expect("no panic").is_ok());
        nobody_listens(address);
    }
}

#[test]
fn a_request_of_the_hosts_own_counts_nowhere() {
    let folder = Folder::new().file("index.html", "home");
    let runtime = runtime();
    let host = start(&runtime, settings(&folder, Module::BuiltIn));
    let pool = host.pools()[0].number;
    let status = runtime.block_on(host.ask(pool));
    assert_eq!(status.expect("an answer"), 200);
    assert_eq!(host.stats().answered, 0);
    assert_eq!(host.processes()[0].served, 0);
    let waits = host.pools().remove(0).counts.waits;
    assert_eq!(waits.counts.iter().sum::<u64>(), 0);
    let missing = runtime.block_on(host.ask(pool + 1));
    assert!(matches!(missing, Err(Unanswered::NoRoute)), "{missing:?}");
    runtime.block_on(host.stop(GRACE));
    let stopped = runtime.block_on(host.ask(pool));
    assert!(matches!(stopped, Err(Unanswered::Stopping)), "{stopped:?}");
}

#[test]
fn two_hosts_in_one_program_share_nothing() {
    let runtime = runtime();
    let hosts: Vec<_> = (0..2)
        .map(|number| {
            let folder = Folder::new().file("index.html", format!("host {number}"));
            let host = start(&runtime, settings(&folder, Module::BuiltIn));
            (folder, host)
        })
        .collect();
    for (number, (_, host)) in hosts.iter().enumerate() {
        let answer = runtime.block_on(host.handle(get("/")));
        assert_eq!(
            body(&runtime, answer.expect("an answer").body),
            format!("host {number}")
        );
    }
    runtime.block_on(hosts[0].1.stop(GRACE));
    let refused = runtime.block_on(hosts[0].1.handle(get("/")));
    assert!(matches!(refused, Err(Unanswered::Stopping)), "{refused:?}");
    let answer = runtime.block_on(hosts[1].1.handle(get("/")));
    assert_eq!(answer.expect("an answer").status, 200);
}

#[test]
fn requests_need_no_listener() {
    let folder = Folder::new()
        .file("index.html", "home")
        .file("large", vec![b'x'; 300_000]);
    let runtime = runtime();
    let host = start(&runtime, settings(&folder, Module::BuiltIn));
    for (path, status, length) in [("/", 200, 4), ("/large", 200, 300_000), ("/none", 404, 0)] {
        let answer = runtime.block_on(host.handle(get(path))).expect("an answer");
        assert_eq!(answer.status, status, "{path}");
        let bytes = runtime
            .block_on(answer.body.collect(1 << 20))
            .expect("its body");
        assert!(
            length == 0 || bytes.len() == length,
            "{path}: {}",
            bytes.len()
        );
    }
    assert_eq!(host.stats().answered, 3);
}

#[test]
fn a_host_of_several_pools_asks_the_one_that_has_the_route() {
    let runtime = runtime();
    let folder = Folder::new().file("index.html", "home");
    let hello = Module::File(guests::path("hello"));
    let pools = [
        ("site", "/*", Module::BuiltIn),
        ("hello", "/hello/*", hello),
    ];
    let pools = pools.map(|(name, route, module)| Pool {
        name: name.to_owned(),
        routes: vec![route.parse().expect("a route")],
        strips_prefix: true,
        loaded: runtime
            .block_on(Loaded::new(settings(&folder, module)))
            .expect("it loads"),
    });
    let host = Host::of(HostSettings::default(), pools.into());
    let host = runtime.block_on(host).expect("it starts");
    for (path, text) in [("/", "home"), ("/hello/x", "hello, you asked for /x\n")] {
        let response = runtime.block_on(host.handle(get(path))).expect("an answer");
        assert_eq!(body(&runtime, response.body), text);
    }
    let names: Vec<_> = host.pools().into_iter().map(|pool| pool.name).collect();
    assert_eq!(names, ["site", "hello"]);
    let pools: Vec<_> = host
        .processes()
        .iter()
        .map(|process| process.pool)
        .collect();
    assert_eq!(pools, [0, 1]);
}

#[test]
fn processes_are_listed_and_killed() {
    let folder = Folder::new();
    let runtime = runtime();
    let module = Module::File(guests::path("misbehave"));
    let host = start(&runtime, settings(&folder, module));
    assert_eq!(host.pools()[0].kind, Kind::Handler);
    let idle = host.processes();
    assert_eq!(idle.len(), 1);
    assert_eq!(
        (idle[0].state, idle[0].served, idle[0].request),
        (State::Idle, 0, None)
    );
    assert!(idle[0].memory > 0);

    // Killing an idle process ends it at once, and another takes its place.
    assert!(host.kill(idle[0].pid));
    let next = eventually("another is there", || host.processes().pop());
    assert_ne!(next.pid, idle[0].pid);

    // Killing a running process makes its request fail, and no other.
    let spinning = host.clone();
    let request = runtime.spawn(async move { spinning.handle(get("/spin")).await });
    let busy = eventually("it is at work", || {
        let mut processes = host.processes().into_iter();
        processes.find(|process| process.request.is_some() && !process.cpu.is_zero())
    });
    assert_eq!(busy.request.map(|(id, _)| id), Some(7));
    assert!(host.kill(busy.pid));
    let failed = runtime.block_on(request).expect("no panic");
    assert!(
        matches!(failed, Err(Unanswered::Ended(Exit::Killed))),
        "{failed:?}"
    );
    let killed = host
        .stats()
        .ended
        .into_iter()
        .find(|(exit, _)| *exit == Exit::Killed);
    assert_eq!(killed, Some((Exit::Killed, 2)));
    assert!(!host.kill(busy.pid), "nobody has its pid any more");
}

#[test]
fn processes_of_a_program_are_listed_with_their_parents_and_killed() {
    let folder = Folder::new();
    let runtime = runtime();
    let module = Module::File(guests::path("prefork"));
    let host = start(&runtime, program_settings(&folder, module));
    assert_eq!(host.pools()[0].kind, Kind::Program);
    let child = eventually("the root has children", || {
        let mut processes = host.processes().into_iter();
        processes.find(|process| process.parent.is_some() && process.state == State::Waiting)
    });
    assert_eq!((child.kind, child.messages), (Kind::Program, Some(0)));
    assert!(host.kill(child.pid));
    eventually("it has ended", || {
        let gone = host
            .processes()
            .iter()
            .all(|process| process.pid != child.pid);
        gone.then_some(())
    });
    let answer = runtime.block_on(host.handle(get("/")));
    assert!(answer.is_ok(), "the others answer: {answer:?}");
}

#[test]
fn settings_are_checked_and_errors_name_them() {
    let folder = Folder::new().file("garbage", "this is no wasm");
    let ours = || settings(&folder, Module::BuiltIn);
    let error = |settings: Settings| {
        let started = runtime().block_on(Host::start(settings));
        started.expect_err("an error")
    };
    let garbage = Module::File(folder.root().join("garbage"));
    let unread = error(settings(&folder, garbage));
    assert!(matches!(unread, StartError::Load(_)), "{unread}");
    assert!(unread.to_string().contains("garbage"), "{unread}");
    let root = folder.root().join("missing");
    let unopened = error(Settings { root, ..ours() });
    assert!(matches!(unopened, StartError::Root { .. }), "{unopened}");
    assert!(unopened.to_string().contains("missing"), "{unopened}");

    let unheeded = error(Settings {
        program: ProgramSettings {
            names: Some(3),
            ..ProgramSettings::default()
        },
        ..ours()
    });
    let StartError::Settings(SettingsError::OtherKind { setting, kind }) = unheeded else {
        panic!("{unheeded}");
    };
    assert_eq!((setting, kind), (Setting::Names, Kind::Handler));
    let limits = Limits {
        memory: 1,
        ..Limits::default()
    };
    let small = error(Settings { limits, ..ours() });
    assert!(
        !small.to_string().contains("--"),
        "the library knows no flags: {small}"
    );
}

#[test]
fn the_example_serves_until_it_is_interrupted() {
    // Builds the whole workspace, like the suite does. A single package has its crates with other
    // features, and would compile them again.
    let build = ["build", "--quiet", "--workspace", "--example", "embed"];
    let built = Command::new(env!("CARGO"))
        .args(build)
        .current_dir(workspace())
        .status();
    assert!(built.expect("cargo runs").success());
    let folder = Folder::new().file("index.html", "home");
    let program = Path::new(PROGRAM).with_file_name("examples").join("embed");
    let mut child = Command::new(program)
        .arg(folder.root())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut line = |begin: &str| {
        let found = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.starts_with(begin));
        found.unwrap_or_else(|| panic!("a line that begins with {begin:?}"))
    };
    line("process 1 is idle");
    let address = line("serving http://");
    let address = address
        .trim_start_matches("serving http://")
        .parse::<std::net::SocketAddr>();
    let mut client = Client::connect(address.expect("an address"));
    assert_eq!(client.get("/").text(), "home");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs, and takes a signal");
    line("1 requests were answered");
    assert!(child.wait().expect("a child's status").success());
}

fn start(runtime: &tokio::runtime::Runtime, settings: Settings) -> Host {
    runtime.block_on(Host::start(settings)).expect("it starts")
}

fn get(path: &str) -> Request {
    Request {
        id: 7,
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: None,
        headers: Headers::default(),
        body: Body::empty(),
        client: "embedder".into(),
        server: "127.0.0.1:80".into(),
        scheme: Scheme::Http,
    }
}

fn body(runtime: &tokio::runtime::Runtime, body: Body) -> String {
    let bytes = runtime.block_on(body.collect(1 << 20)).expect("its body");
    String::from_utf8(bytes.into()).expect("text")
}

/// Waits, since the port isn't free at once: a child that another test is just starting has a copy
/// of every socket until its start is complete.
fn nobody_listens(address: SocketAddr) {
    eventually("nobody listens any more", || {
        Client::try_connect(address).is_err().then_some(())
    });
}

/// Small limits: a test needs no more.
fn settings(folder: &Folder, module: Module) -> Settings {
    Settings {
        root: folder.root(),
        module,
        pool: PoolSettings {
            workers: Some(Workers { min: 1, max: 2 }),
            ..PoolSettings::default()
        },
        ..Settings::default()
    }
}

fn program_settings(folder: &Folder, module: Module) -> Settings {
    Settings {
        pool: PoolSettings::default(),
        program: ProgramSettings {
            processes: Some(64),
            ..ProgramSettings::default()
        },
        ..settings(folder, module)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.expect("a runtime")
}
