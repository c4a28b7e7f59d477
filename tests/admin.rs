//! The admin address: what a machine that watches is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::server::{Server, command, component, configured, guest, outcome};
use crate::support::wat::{slow, worker};
use crate::support::{Client, Folder, Reply, eventually, guests};

const ANSWERS: &str = "the admin address answers";

/// The admin address of a server that was started with `--admin 0`.
pub(crate) fn admin(server: &Server) -> SocketAddr {
    let said = server.wait_entries(ANSWERS, 1);
    let address = said[0]["address"].as_str().expect("an address");
    address.parse().expect("an address")
}

pub(crate) fn get(server: &Server, target: &str) -> Reply {
    Client::connect(admin(server)).get(target)
}

/// The samples of OpenMetrics' text, each with its labels as they stand there. Fails if the text
/// has another form (OpenMetrics 1.0, section "Text Format").
pub(crate) fn samples(text: &str) -> BTreeMap<String, f64> {
    let body = text
        .strip_suffix("# EOF\n")
        .expect("the last line is # EOF");
    let mut types = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let words: Vec<&str> = rest.splitn(3, ' ').collect();
            let [what, name, value] = words[..] else {
                panic!("not a line of metadata: {line}");
            };
            match what {
                "TYPE" => assert!(
                    types.insert(name, value).is_none(),
                    "declared twice: {name}"
                ),
                "HELP" | "UNIT" => {}
                _ => panic!("not a line of metadata: {line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().expect("a name");
        let declared = |suffix: &str| {
            let family = name.strip_suffix(suffix)?;
            types.get(family).copied()
        };
        let fits = match name.rsplit('_').next() {
            Some("total") => declared("_total") == Some("counter"),
            Some("info") => declared("_info") == Some("info"),
            Some(part @ ("bucket" | "sum" | "count")) => {
                declared(&format!("_{part}")) == Some("histogram")
            }
            _ => types.get(name) == Some(&"gauge"),
        };
        assert!(fits, "no such family: {line}");
        let value = value
            .parse()
            .unwrap_or_else(|_| panic!("not a number: {line}"));
        assert!(
            samples.insert(series.to_owned(), value).is_none(),
            "twice: {series}"
        );
    }
    samples
}

#[test]
fn metrics_count_what_happens() {
    let config = format!(
        "[[pool]]\nname = \"bad\"\nroutes = [\"/bad/*\"]\nstrip-prefix = true\nmodule = {:?}\nworkers = 1\n\
         [[pool]]\nname = \"good\"\nroutes = [\"/good/*\"]\nmodule = {:?}\nworkers = 2\n",
        guests::path("misbehave"),
        guests::path("hello")
    );
    let server = configured(&config, Folder::new(), "--admin 0");
    for (target, status) in [
        ("/good/a", 200),
        ("/good/b", 200),
        ("/bad/ok", 200),
        ("/bad/trap", 502),
        ("/none", 404),
    ] {
        assert_eq!(server.get(target).status, status, "{target}");
    }
    let reply = get(&server, "/metrics");
    let kind = reply.field("content-type").expect("a content type");
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    let counted = samples(&reply.text());
    for (series, value) in [
        ("requests_total{pool=\"good\",class=\"2xx\"}", 2.0),
        ("requests_total{pool=\"bad\",class=\"2xx\"}", 1.0),
        ("requests_total{pool=\"bad\",class=\"5xx\"}", 1.0),
        ("requests_total{pool=\"\",class=\"4xx\"}", 1.0),
        ("request_seconds_count{pool=\"good\"}", 2.0),
        ("request_seconds_bucket{le=\"+Inf\",pool=\"good\"}", 2.0),
        ("queue_seconds_count{pool=\"bad\"}", 2.0),
        ("exits_total{pool=\"bad\",reason=\"trap\"}", 1.0),
        ("exits_total{pool=\"good\",reason=\"trap\"}", 0.0),
        ("processes{pool=\"good\",state=\"idle\"}", 2.0),
        ("line{pool=\"good\"}", 0.0),
        ("up{pool=\"good\"}", 1.0),
        ("restarts_total{pool=\"bad\"}", 1.0),
        ("restarts_total{pool=\"good\"}", 0.0),
        ("calls_total{pool=\"good\",interface=\"files\"}", 0.0),
        ("generation{pool=\"bad\"}", 1.0),
    ] {
        let series = format!("wasm_pool_host_{series}");
        assert_eq!(
            counted.get(&series),
            Some(&value),
            "{series} in\n{}",
            reply.text()
        );
    }
    let started = counted["wasm_pool_host_start_seconds_count{pool=\"bad\"}"];
    assert!(started >= 1.0, "{started}");
    // No client makes the metrics grow.
    for path in 0..20 {
        assert_eq!(server.get(&format!("/good/{path}")).status, 200);
        assert_eq!(server.get(&format!("/{path}")).status, 404);
    }
    assert_eq!(
        samples(&get(&server, "/metrics").text()).len(),
        counted.len()
    );
}

#[test]
fn a_host_says_whether_it_is_ready() {
    let mut server = guest("misbehave", "--admin 0 --workers 1 --grace 100s");
    let health = get(&server, "/healthz");
    assert_eq!((health.status, &*health.text()), (200, "ok\n"));
    assert_eq!(get(&server, "/readyz").text(), "ready\n");
    let status: Value = serde_json::from_str(&get(&server, "/status.json").text()).expect("JSON");
    assert_eq!(status["pools"][0]["name"], "main");
    assert_eq!(get(&server, "/other").status, 404);
    let mut client = Client::connect(admin(&server));
    assert_eq!(client.request("POST", "/healthz", &[], b"x").status, 405);
    let spinning = server.send("/spin");
    eventually("a request runs", || {
        let status: Value = serde_json::from_str(&get(&server, "/status.json").text()).ok()?;
        (status["pools"][0]["idle"] == 0).then_some(())
    });
    server.signal(Signal::TERM);
    eventually("the host stops", || {
        let reply = get(&server, "/readyz");
        (reply.status == 503 && reply.text() == "stopping\n").then_some(())
    });
    assert_eq!(get(&server, "/healthz").status, 200);
    spinning.reset();
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn a_host_whose_processes_crash_is_ready() {
    let server = component(
        &worker("(unreachable)"),
        Folder::new(),
        "--admin 0 --workers 1",
    );
    assert_eq!(get(&server, "/readyz").status, 200);
    assert_eq!(server.get("/").status, 502);
    // A crash is no reason not to be ready.
    assert_eq!(get(&server, "/readyz").status, 200);
}

#[test]
fn a_host_that_starts_is_not_ready() {
    let folder = Folder::new();
    let module = folder.path().join("slow.wat");
    std::fs::write(&module, slow()).expect("a component's text");
    let mut command = command(Some(&module), &folder.root(), "--admin 0 --no-cache");
    let mut child = command.spawn().expect("the program runs");
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let mut lines = lines.map_while(Result::ok);
    let address = lines.find_map(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        (line["message"] == ANSWERS).then(|| line["address"].as_str().map(str::to_owned))?
    });
    let address: SocketAddr = address.expect("an address").parse().expect("an address");
    for (target, status) in [("/healthz", 200), ("/readyz", 503), ("/metrics", 503)] {
        assert_eq!(
            Client::connect(address).get(target).status,
            status,
            "{target}"
        );
    }
    child.kill().expect("our own");
    child.wait().expect("our own");
}

#[test]
fn a_page_from_elsewhere_can_t_read_what_is_here() {
    let server = guest("hello", "--admin 0");
    let port = admin(&server).port();
    for (host, status) in [
        ("localhost", 200),
        (&format!("LOCALHOST:{port}"), 200),
        (&format!("127.0.0.1:{port}"), 200),
        (&format!("[::1]:{port}"), 200),
        ("::1", 200),
        ("evil.example", 421),
        (&format!("evil.example:{port}"), 421),
        ("127.0.0.1.evil.example", 421),
    ] {
        let mut client = Client::connect(admin(&server));
        let head = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n");
        client.send(head.as_bytes()).expect("it is sent");
        assert_eq!(
            client.reply("GET").expect("a reply").status,
            status,
            "{host}"
        );
    }
}

#[test]
fn others_reach_the_admin_address_only_if_they_may() {
    let folder = Folder::new();
    let mut command = command(None, &folder.root(), "--admin 0.0.0.0:0");
    let (code, text) = outcome(&mut command);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("give --admin-allow-remote if they may"),
        "{text}"
    );
    let server = guest("hello", "--admin 0.0.0.0:0 --admin-allow-remote");
    let port = admin(&server).port();
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(Client::connect(here).get("/healthz").status, 200);
}
