//! Who answers: the own pool as long as it can, and then another host, in the same way.

use serde_json::Value;

use super::{Cluster, Host, answerer, wait_answered_by, wait_running};
use crate::support::server::SHORT_QUEUE;
use crate::support::table::{FLAGS, SPIN_FLAGS, behaves, spins};
use crate::support::{eventually, steer};

#[test]
fn hosts_say_where_they_are() {
    let cluster = Cluster::new("");
    let front = cluster.front("--name entrance");
    let worker = cluster.worker("misbehave", "--workers 1");
    let both = cluster.both("misbehave", "--workers 1");
    for (host, role) in [(&front, "front"), (&worker, "worker"), (&both, "both")] {
        let end = format!(" · cluster default, host {} ({role})", host.number);
        let line = host.start_line.trim_end();
        assert!(line.ends_with(&end), "{line}");
        let joined = &host.wait_entries("joined the cluster", 1)[0];
        assert_eq!(joined["cluster"], "default", "{joined}");
        assert_eq!(joined["host"], host.number, "{joined}");
        assert_eq!(joined["role"], role, "{joined}");
    }
    let line = &worker.start_line;
    assert!(
        line.starts_with("wasm-pool-host: worker · module "),
        "{line}"
    );
    assert!(front.number < worker.number && worker.number < both.number);
    let name = |entry: &Value| entry["name"] == "entrance";
    both.wait_entry("host is there", name);
}

#[test]
fn the_own_pool_comes_first() {
    let cluster = Cluster::new("");
    let first = cluster.both("misbehave", "--workers 1");
    let second = cluster.both("misbehave", "--workers 1");
    first.wait_there(&[&second]);
    second.wait_there(&[&first]);
    for host in [&first, &second] {
        let mut client = host.client();
        for _ in 0..50 {
            assert_eq!(answerer(&client.get("/ok")), host.number);
        }
    }
}

#[test]
fn another_host_answers_when_the_own_pool_is_full() {
    let cluster = Cluster::new("");
    let first = cluster.both("misbehave", "--workers 1");
    let second = cluster.both("misbehave", "--workers 1");
    first.wait_there(&[&second]);
    let busy = first.send("/slow?ms=20000");
    steer::wait_running(&first, 1);
    for method in ["GET", "POST"] {
        let reply = first.request(method, "/ok", &[], b"");
        assert_eq!(answerer(&reply), second.number);
        assert_eq!(reply.text(), "ok\n");
    }
    let answered = first.wait_entries("request", 2);
    for entry in answered {
        assert_eq!(entry["host"], second.number, "{entry}");
        assert_eq!(entry["status"], 200, "{entry}");
    }
    // There, the own pool still comes first.
    assert_eq!(answerer(&second.get("/ok")), second.number);
    busy.reset();
    first.wait_entries("process ended", 1);
    wait_answered_by(&first, &[&first]);
}

#[test]
fn a_line_forms_when_all_are_full() {
    let cluster = Cluster::new(SHORT_QUEUE);
    let first = cluster.both("misbehave", "--workers 1");
    let second = cluster.both("misbehave", "--workers 1");
    first.wait_there(&[&second]);
    let mut busy = [first.send("/slow?ms=3000"), second.send("/slow?ms=3000")];
    wait_running(&[&first, &second], 2);
    let refused = eventually("the line is full or too long", || {
        let reply = first.get("/ok");
        (reply.status == 503).then_some(reply)
    });
    assert!(refused.field("retry-after").is_some(), "{refused:?}");
    for client in &mut busy {
        assert_eq!(client.reply("GET").expect("a reply").status, 200);
    }
    assert_eq!(first.wait_served("/ok").text(), "ok\n");
}

#[test]
fn a_front_has_nobody_of_its_own() {
    let cluster = Cluster::new("");
    let front = cluster.front("--queue-timeout 200ms");
    let reply = front.get("/ok");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.field("retry-after").is_some(), "{reply:?}");
    let workers = [(); 2].map(|()| cluster.worker("misbehave", "--workers 2"));
    let [first, second] = &workers;
    front.wait_there(&[first, second]);
    wait_answered_by(&front, &[first, second]);
    let reply = front.request("POST", "/echo", &[("x-a", "b")], b"body");
    let echo = reply.text();
    assert!(echo.starts_with("POST /echo\n"), "{echo}");
    assert!(
        echo.contains("x-a: b\n") && echo.ends_with("\n\nbody"),
        "{echo}"
    );
    assert_eq!(front.get("/none").status, 404);
}

#[test]
fn a_request_waits_for_the_first_worker() {
    let cluster = Cluster::new("");
    let front = cluster.front("--queue-timeout 100s --admin 0");
    let in_line = || front.metric("cluster_line");
    assert_eq!(in_line(), 0.0);
    let mut waiting = front.send("/ok");
    eventually("it is in line", || (in_line() == 1.0).then_some(()));
    let worker = cluster.worker("misbehave", "--workers 1");
    let reply = waiting.reply("GET").expect("a reply");
    assert_eq!(answerer(&reply), worker.number);
    assert_eq!(in_line(), 0.0);
}

#[test]
fn what_goes_wrong_elsewhere_goes_wrong_here() {
    let cluster = Cluster::new("--request-timeout 3s");
    let front = cluster.front("");
    let workers = [(); 2].map(|()| cluster.worker("misbehave", "--workers 2"));
    front.wait_there(&workers.each_ref());
    for (target, status, exit) in [
        ("/trap", 502, "trap"),
        ("/exit?code=3", 502, "code"),
        ("/oom", 502, "memory"),
        ("/bad-response?kind=status", 502, "response"),
        ("/spin", 504, "deadline"),
        ("/slow?ms=50000", 504, "deadline"),
    ] {
        let ended = || -> usize {
            let of = |host: &Host| host.entries("process ended").len();
            workers.iter().map(of).sum()
        };
        let before = ended();
        let reply = front.get(target);
        assert_eq!(reply.status, status, "{target}: {reply:?}");
        let request = front.wait_request(reply.request_id());
        assert_eq!(request["exit"], exit, "{request}");
        assert_eq!(front.get("/ok").status, 200, "after {target}");
        // The process ends before its request is answered, or just behind it.
        eventually("a process has ended", || (ended() > before).then_some(()));
        assert_eq!(ended(), before + 1, "{target} was not repeated elsewhere");
    }
}

/// A worker of every kind behaves through a front as it does alone.
#[test]
fn every_kind_of_module() {
    for name in ["ours", "http02", "http03", "commander"] {
        let cluster = Cluster::new("");
        // A front has no processes, so it takes only what is about requests.
        let front = cluster.front("--max-body 16MiB");
        let worker = cluster.worker(name, FLAGS);
        front.wait_there(&[&worker]);
        behaves(&front, "/table", 502);
    }
}

#[test]
fn every_kind_of_module_has_deadlines() {
    for name in ["ours", "http02", "http03", "commander"] {
        let cluster = Cluster::new("");
        let front = cluster.front("--request-timeout 500ms");
        let worker = cluster.worker(name, SPIN_FLAGS);
        front.wait_there(&[&worker]);
        spins(&front, "/table");
    }
}
