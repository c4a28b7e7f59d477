//! The command `hosts`: who is there, for people and for programs. It joins nothing itself.

use serde_json::Value;

use super::{Cluster, Host};
use crate::support::eventually;
use crate::support::steer::ask;

/// What the command says about the cluster that this flag reaches.
fn listed(host: &Host, cluster: &Cluster, flags: &str) -> String {
    let (code, text) = ask(
        host.folder.path(),
        &format!("hosts {} {flags}", cluster.url()),
    );
    assert_eq!(code, 0, "{text}");
    text
}

/// The hosts as the command tells programs.
pub(super) fn hosts(host: &Host, cluster: &Cluster) -> Vec<Value> {
    let text = listed(host, cluster, "--json");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn everybody_is_listed() {
    let cluster = Cluster::new("");
    let front = cluster.front("--name entrance");
    let worker = cluster.worker("misbehave", "--workers 3 --name engine");
    let both = cluster.both("hello", "--workers 2 --name house");
    let all = [
        (&front, "entrance", "front", 0),
        (&worker, "engine", "worker", 3),
        (&both, "house", "both", 2),
    ];
    let list = hosts(&front, &cluster);
    assert_eq!(list.len(), all.len(), "{list:#?}");
    for (entry, (host, name, role, seats)) in list.iter().zip(all) {
        assert_eq!(entry["number"], host.number, "{entry}");
        assert_eq!(entry["name"], name, "{entry}");
        assert_eq!(entry["role"], role, "{entry}");
        assert_eq!(entry["seats"], seats, "{entry}");
        assert_eq!(entry["version"], env!("CARGO_PKG_VERSION"), "{entry}");
        assert_eq!(
            (&entry["running"], &entry["waiting"]),
            (&0.into(), &0.into())
        );
    }
    let modules: Vec<_> = list.iter().map(|entry| entry["module"].as_str()).collect();
    assert_ne!(modules[1], modules[2], "different modules");
    assert!(
        modules[1].is_some_and(|digest| digest.len() == 12),
        "{modules:?}"
    );

    let text = listed(&front, &cluster, "");
    for (host, name, role, _) in all {
        let line = text.lines().find(|line| line.contains(name));
        let line = line.unwrap_or_else(|| panic!("{name} in\n{text}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words.contains(&role), "{line}");
        assert!(words.contains(&&*host.number.to_string()), "{line}");
    }
    let numbers = all.map(|(host, ..)| host.number);
    for entry in front.entries("host is there") {
        let is_known = numbers.iter().any(|number| entry["host"] == *number);
        assert!(is_known, "asking is no joining: {entry}");
    }
}

#[test]
fn hosts_that_are_gone_are_not_listed() {
    let cluster = Cluster::new("");
    let front = cluster.front("");
    let mut worker = cluster.worker("misbehave", "--workers 1");
    front.wait_there(&[&worker]);
    assert_eq!(hosts(&front, &cluster).len(), 2);
    worker.signal(rustix::process::Signal::TERM);
    assert_eq!(worker.wait_exit().code(), Some(0));
    front.wait_told("host has left", &worker);
    let list = hosts(&front, &cluster);
    assert_eq!(list.len(), 1, "{list:#?}");
    assert_eq!(list[0]["number"], front.number);
}

#[test]
fn running_requests_are_counted() {
    let cluster = Cluster::new("");
    let front = cluster.front("");
    let worker = cluster.worker("misbehave", "--workers 4");
    front.wait_there(&[&worker]);
    let _running = [(); 3].map(|()| front.send("/slow?ms=100000"));
    eventually("three requests run", || {
        let list = hosts(&front, &cluster);
        (list[1]["running"] == 3).then_some(())
    });
}

#[test]
fn clusters_dont_hear_each_other() {
    let cluster = Cluster::new("");
    let front = cluster.front("--cluster one --queue-timeout 200ms");
    let stranger = cluster.worker("misbehave", "--workers 1 --cluster two");
    let text = listed(&front, &cluster, "--cluster one --json");
    let list: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list.len(), 1, "{text}");
    assert!(stranger.start_line.contains(" · cluster two, host "));
    assert_eq!(front.get("/ok").status, 503);
    assert!(front.entries("host is there").is_empty());
    assert_eq!(hosts(&front, &cluster), Vec::<Value>::new(), "in `default`");
}
