//! Clients that leave, and clients that send nothing more: no process elsewhere waits for them.

use super::{Cluster, wait_running};
use crate::support::{Folder, eventually};

#[test]
fn a_client_that_leaves_ends_its_process_elsewhere() {
    for target in ["/slow?ms=500000", "/spin"] {
        let cluster = Cluster::new("--request-timeout 600s");
        let front = cluster.front("");
        let worker = cluster.worker("misbehave", "--workers 1");
        front.wait_there(&[&worker]);
        let before = front.get("/ok").pid();
        let client = front.send(target);
        wait_running(&[&worker], 1);
        client.reset();
        assert_eq!(worker.wait_end(before)["exit"], "client-left", "{target}");
        let after = front.wait_served("/ok").pid();
        assert_ne!(before, after, "{target}");
        let request = front.wait_entry("request", |entry| {
            target.starts_with(entry["path"].as_str().unwrap_or("-"))
        });
        assert_eq!(request["exit"], "client-left", "{request}");
    }
}

/// A client that leaves in the middle of a file takes nobody's place.
#[test]
fn clients_that_leave_in_the_middle_of_a_file() {
    const FILES: usize = 20;
    let cluster = Cluster::new("");
    let front = cluster.front("");
    let folder = Folder::new()
        .file("small", "small")
        .sparse("big", 256 << 20);
    let worker = cluster.worker_over(folder, "--workers 2");
    front.wait_there(&[&worker]);
    for _ in 0..FILES {
        let mut client = front.send("/big");
        assert_eq!(client.head().expect("a head").status, 200);
        client.reset();
        assert_eq!(front.wait_served("/small").text(), "small");
    }
    eventually("no file is open for them", || {
        (worker.open_files("big") <= 1).then_some(())
    });
    assert_eq!(worker.entries("process ended").len(), 0);
}
