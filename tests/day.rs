//! A day in the life of a host, from its start to its end, as an operator has it: each step is seen
//! in the log, in the metrics, in the status, and by clients.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::admin::{get, samples};
use crate::support::server::module;
use crate::support::steer::{ask, json, told};
use crate::support::wat::worker;
use crate::support::{Folder, Server, eventually, guests, meanwhile};

const CLIENTS: usize = 8;

/// A value of the metrics.
fn metric(server: &Server, series: &str) -> f64 {
    let samples = samples(&get(server, "/metrics").text());
    let value = samples.get(&format!("wasm_pool_host_{series}"));
    *value.unwrap_or_else(|| panic!("there is no {series}"))
}

fn pool(server: &Server) -> Value {
    json(server, "status --json")["pools"][0].clone()
}

#[test]
fn a_day_in_the_life() {
    let folder = Folder::new();
    let path = folder.path().join("worker.wasm");
    let install = |name: &str| fs::copy(guests::path(name), &path).expect("our own");
    install("misbehave");
    let flags = "--workers 2..16 --admin 0 --slow 50ms --probe /ok --request-timeout 1000s";
    let mut server = module(&path, folder, flags);

    // It is ready.
    assert_eq!(get(&server, "/readyz").text(), "ready\n");
    assert_eq!(
        metric(&server, "processes{pool=\"main\",state=\"idle\"}"),
        2.0
    );

    let answered = AtomicUsize::new(0);
    let client = |goes_on: &dyn Fn() -> bool| {
        let mut client = server.client();
        while goes_on() {
            let reply = client.get("/ok");
            assert_eq!((reply.status, &*reply.text()), (200, "ok\n"));
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    meanwhile(CLIENTS, client, || operate(&server, &answered, &install));
    let seen = answered.load(Ordering::Relaxed) as f64;
    assert!(metric(&server, "requests_total{pool=\"main\",class=\"2xx\"}") >= seen);

    // It is drained.
    assert_eq!(
        told(&server, "drain main"),
        "pool main takes no requests, and has none left\n"
    );
    assert_eq!(server.get("/ok").status, 503);
    assert_eq!(get(&server, "/readyz").text(), "draining main\n");
    assert_eq!(
        (&pool(&server)["is_draining"], &pool(&server)["alive"]),
        (&true.into(), &0.into())
    );
    server.wait_entries("drained: no request is left", 1);

    // It stops.
    assert_eq!(told(&server, "stop"), "the host is stopping\n");
    assert_eq!(server.wait_exit().code(), Some(0));
    server.wait_entries("stopping", 1);
}

/// What the operator does while clients are served.
fn operate(server: &Server, answered: &AtomicUsize, install: &dyn Fn(&str) -> u64) {
    let go_on = || {
        let before = answered.load(Ordering::Relaxed);
        eventually("clients are served", || {
            (answered.load(Ordering::Relaxed) > before + 10 * CLIENTS).then_some(())
        });
    };
    let write = |text: &str| {
        fs::write(server.folder.path().join("worker.wasm"), text).expect("our own");
    };
    go_on();

    // A request that never ends is seen, logged with its backtrace, and killed.
    let mut spinning = server.send("/spin");
    let slow = server.wait_entries("slow request", 1);
    assert_eq!(slow[0]["asked"], "GET /spin");
    assert!(
        slow[0]["backtrace"].to_string().contains("misbehave::"),
        "{slow:?}"
    );
    let pid = slow[0]["pid"].as_u64().expect("a pid");
    let list = json(server, "ps --json");
    let seen = list
        .as_array()
        .expect("a list")
        .iter()
        .find(|process| process["pid"] == pid);
    assert_eq!(
        seen.map(|process| process["request"].clone()),
        Some(slow[0]["id"].clone())
    );
    told(server, &format!("kill {pid} --trap"));
    assert_eq!(spinning.reply("GET").expect("a reply").status, 502);
    assert_eq!(server.wait_end(pid)["exit"], "trap");
    assert_eq!(
        metric(server, "exits_total{pool=\"main\",reason=\"trap\"}"),
        1.0
    );
    assert_eq!(pool(server)["restarts"], 1);
    go_on();

    // A good module takes its place, and a bad one does not.
    install("misbehave");
    assert_eq!(told(server, "reload"), "loaded again: main\n");
    let said = server.wait_entries("steered over the control socket", 2);
    assert_eq!(said[1]["asked"], "POST /reload");
    assert_eq!(pool(server)["generation"], 2);
    assert_eq!(metric(server, "generation{pool=\"main\"}"), 2.0);
    go_on();
    write("no module");
    let (code, said) = ask(server.folder.path(), "reload");
    assert!(
        code == 1 && said.contains("this is not WebAssembly"),
        "{said}"
    );
    write(&worker("(i32.store16 (i32.const 1024) (i32.const 404))"));
    let (code, said) = ask(server.folder.path(), "reload");
    assert!(
        code == 1 && said.contains("the probe /ok was answered with 404"),
        "{said}"
    );
    assert_eq!(pool(server)["generation"], 2);
    go_on();

    // More processes, for the module that serves and not for the one in the file.
    told(server, "scale main 6..16");
    eventually("there are six", || {
        (pool(server)["alive"].as_u64() >= Some(6)).then_some(())
    });
    assert_eq!(pool(server)["max"], 16);
    go_on();
}
