//! Modules that are pushed: one host after the other takes them, and a module that can't be used
//! stops at the first one.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::hosts::hosts;
use super::{Cluster, HASTY, Host};
use crate::support::server::{serve, try_serve};
use crate::support::steer::{ask, asking, told};
use crate::support::wat::{worker, worker_with};
use crate::support::{Folder, eventually};

const USED: &str = "a module was pushed, and is used";
const UNUSED: &str = "a module was pushed, and can't be used: the one before goes on serving";

/// The record of the pool of hosts that name none.
const RECORD: &str = "$KV.wph-default.module.main";

/// A cluster, and the files that are pushed to it.
struct Site {
    cluster: Cluster,
    folder: Folder,
}

impl Site {
    /// A cluster whose hosts start with a module that answers with 201.
    fn new(flags: &str) -> Self {
        let site = Self {
            cluster: Cluster::new(flags),
            folder: Folder::new(),
        };
        let (code, text) = site.push(&site.answering(201), "", &[]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("no host serves what is pushed"), "{text}");
        site
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, text).expect("a module");
        file
    }

    /// A module that answers everything with this status.
    fn answering(&self, status: u16) -> PathBuf {
        let text = worker(&format!(
            "(i32.store16 (i32.const 1024) (i32.const {status}))"
        ));
        self.file(&format!("{status}.wat"), &text)
    }

    /// A module whose processes can't be started.
    fn broken(&self) -> PathBuf {
        let text = worker_with("(func $fails unreachable) (start $fails)", "");
        self.file("broken.wat", &text)
    }

    fn arguments(&self, module: &Path, flags: &str) -> String {
        format!("push {} {} {flags}", module.display(), self.cluster.url())
    }

    /// Pushes a module while clients ask these hosts, and returns the exit code and the output.
    fn push(&self, module: &Path, flags: &str, asked: &[&Host]) -> (i32, String) {
        let arguments = self.arguments(module, flags);
        thread::scope(|scope| {
            let pushing = scope.spawn(|| ask(self.folder.path(), &arguments));
            while !asked.is_empty() && !pushing.is_finished() {
                for host in asked {
                    host.get("/");
                }
            }
            pushing.join().expect("the command runs")
        })
    }

    /// Begins to push a module.
    fn begin(&self, module: &Path, flags: &str) -> Pushing {
        let mut command = asking(self.folder.path(), &self.arguments(module, flags));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Pushing { child, lines }
    }

    /// A host that serves what is pushed.
    fn host(&self, flags: &str) -> Host {
        let flags = format!("--module cluster --workers 1 {flags}");
        Host::joined(serve(Folder::new(), &self.cluster.direct(&flags)))
    }
}

/// A push that runs.
struct Pushing {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Pushing {
    /// Waits until a host loads the module, and returns its number.
    fn wait_loads(&mut self) -> u64 {
        let mut lines = self.lines.by_ref().map(|line| line.expect("a line"));
        let line = lines.find(|line| line.ends_with(": loads it"));
        let line = line.expect("a host loads it");
        let number = line.split_whitespace().nth(1);
        let number = number.and_then(|number| number.trim_end_matches(':').parse().ok());
        number.unwrap_or_else(|| panic!("no number: {line}"))
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The digest that `push` has printed.
fn digest(text: &str) -> &str {
    let rest = text.split_once("stored ").map(|(_, rest)| rest);
    let digest = rest.and_then(|rest| rest.split_whitespace().next());
    digest.unwrap_or_else(|| panic!("no digest: {text}"))
}

fn wait_status(host: &Host, status: u16) {
    eventually("the host serves the module", || {
        (host.get("/").status == status).then_some(())
    });
}

#[test]
fn every_host_takes_it_one_after_the_other() {
    let site = Site::new("");
    let all = [(); 3].map(|()| site.host(""));
    let asked = all.each_ref();
    for host in asked {
        assert_eq!(host.get("/").status, 201);
        assert!(
            host.start_line.contains("module cluster:"),
            "{}",
            host.start_line
        );
    }
    for (status, flags) in [(202, ""), (203, "--at-once 3")] {
        let (code, text) = site.push(&site.answering(status), flags, &asked);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("done: 3 serve it"), "{text}");
        for host in asked {
            assert_eq!(host.get("/").status, status);
            assert!(text.contains(&format!("host {} (", host.number)), "{text}");
        }
        for entry in hosts(asked[0], &site.cluster) {
            assert_eq!(entry["module"], digest(&text), "{entry}");
        }
    }
    // Who comes later starts with it.
    let late = site.host("");
    assert_eq!(late.get("/").status, 203);
    // The same again changes nothing.
    let (code, text) = site.push(&site.answering(203), "", &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("done: 4 serve it"), "{text}");
    for host in asked {
        assert_eq!(host.entries(USED).len(), 2);
        assert!(
            host.entries("request")
                .iter()
                .all(|entry| entry["status"].as_u64() < Some(500))
        );
    }
}

#[test]
fn what_cant_be_started_stops_at_the_first_host() {
    let site = Site::new("");
    let all = [(); 3].map(|()| site.host(""));
    let (code, text) = site.push(&site.broken(), "--at-once 3", &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("stopped: host "), "{text}");
    assert!(text.contains("0 serve it"), "{text}");
    let tried: usize = all.iter().map(|host| host.entries(UNUSED).len()).sum();
    assert_eq!(tried, 1, "{text}");
    for host in &all {
        assert_eq!(host.get("/").status, 201);
    }
    assert_eq!(
        site.host("").get("/").status,
        201,
        "hosts start with the old one"
    );
    // The next one is tried again.
    let (code, text) = site.push(&site.answering(202), "", &all.each_ref());
    assert_eq!(code, 0, "{text}");
    assert_eq!(all[0].get("/").status, 202);
}

#[test]
fn what_does_nothing_but_fail_is_taken_back() {
    let site = Site::new("");
    let all = [(); 2].map(|()| site.host(""));
    let failing = site.file("failing.wat", &worker("unreachable"));
    let (code, text) = site.push(&failing, "", &all.each_ref());
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("nothing but fail"), "{text}");
    for host in &all {
        wait_status(host, 201);
    }
    let tried: usize = all.iter().map(|host| host.entries(UNUSED).len()).sum();
    assert_eq!(tried, 1, "{text}");
}

#[test]
fn hosts_go_on_without_whoever_has_pushed() {
    let site = Site::new("");
    let all = [(); 2].map(|()| site.host(""));
    let mut pushing = site.begin(&site.answering(202), "");
    pushing.wait_loads();
    drop(pushing);
    for host in &all {
        wait_status(host, 202);
    }
}

/// Without requests the first host waits for ten seconds before others follow. So it is in the
/// middle of it when it is killed.
#[test]
fn a_host_that_is_lost_frees_its_place() {
    let site = Site::new(HASTY);
    let mut all = [(); 3].map(|()| site.host(""));
    let mut pushing = site.begin(&site.answering(202), "");
    let first = pushing.wait_loads();
    let first = all.iter_mut().find(|host| host.number == first);
    let first = first.expect("one of them");
    let number = first.number;
    first.signal(rustix::process::Signal::KILL);
    first.wait_exit();
    for host in all.iter().filter(|host| host.number != number) {
        wait_status(host, 202);
    }
    let code = pushing.child.wait().expect("it ends").code();
    assert_eq!(code, Some(0));
}

#[test]
fn another_push_takes_its_place() {
    let site = Site::new("");
    let all = [(); 2].map(|()| site.host(""));
    let mut first = site.begin(&site.answering(202), "");
    first.wait_loads();
    let (code, text) = site.push(&site.answering(203), "", &all.each_ref());
    assert_eq!(code, 0, "{text}");
    assert_eq!(first.child.wait().expect("it ends").code(), Some(1));
    for host in &all {
        assert_eq!(host.get("/").status, 203);
    }
}

/// What stands in NATS is what anybody with rights may have written there.
#[test]
fn what_is_not_what_was_pushed_is_not_used() {
    let site = Site::new("");
    let host = site.host("");
    let nats = site.cluster.nats.client();
    nats.subscribe(RECORD);
    let (code, text) = site.push(&site.answering(202), "", &[&host]);
    assert_eq!(code, 0, "{text}");
    let records = nats.all();
    let record = records.last().expect("the record was written").text();
    let record: Value = serde_json::from_str(&record).expect("JSON");
    let good = &record["current"];
    let size = good["size"].as_u64().expect("a size");
    let other = "f".repeat(64);
    for (module, why) in [
        (
            json!({ "digest": other, "size": size, "object": good["object"] }),
            "another one",
        ),
        (
            json!({ "digest": other, "size": 1, "object": "nothing" }),
            "0 of 1 bytes",
        ),
    ] {
        let mut forged = record.clone();
        forged["next"] = json!({
            "module": module, "at_once": 1, "serving": [], "lost": [], "failed": null,
        });
        let tried = host.entries(UNUSED).len();
        nats.publish(RECORD, forged.to_string().as_bytes());
        let entries = host.wait_entries(UNUSED, tried + 1);
        let reason = entries[tried]["reason"].as_str().expect("a reason");
        assert!(reason.contains(why), "{reason}");
        assert_eq!(host.get("/").status, 202);
    }
    // Nor is a record that can't be one.
    let huge = "9".repeat(900 << 10).into_bytes();
    let mut absurd = record.clone();
    absurd["next"]["module"]["size"] = json!(u64::MAX);
    for garbage in [
        &b"garbage"[..],
        b"[1]",
        &huge,
        absurd.to_string().as_bytes(),
    ] {
        nats.publish(RECORD, garbage);
        nats.flush();
        let (code, text) = site.push(&site.answering(203), "", &[]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("the record of a roll-out"), "{text}");
        assert_eq!(host.get("/").status, 202);
    }
    // One that was deleted is as none.
    nats.publish(RECORD, b"");
    nats.flush();
    let (code, text) = site.push(&site.answering(203), "", &[&host]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(host.get("/").status, 203);
}

#[test]
fn what_runs_nowhere_is_not_even_stored() {
    let site = Site::new("");
    for (name, text) in [
        ("text", "no module"),
        ("empty", ""),
        ("core.wat", "(module)"),
    ] {
        let (code, text) = site.push(&site.file(name, text), "", &[]);
        assert_eq!(code, 1, "{name}: {text}");
        assert!(!text.contains("stored"), "{name}: {text}");
    }
}

#[test]
fn where_nothing_was_pushed_no_host_starts() {
    let cluster = Cluster::new("");
    let flags = format!("{} --module cluster --log-format text", cluster.url());
    let Err((status, text)) = try_serve(None, &flags) else {
        panic!("it started");
    };
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("wasm-pool-host push FILE"), "{text}");
}

/// What is loaded again is what was pushed, whatever else the configuration says.
#[test]
fn a_reload_keeps_what_was_pushed() {
    let site = Site::new("");
    let host = site.host("");
    let (code, text) = site.push(&site.answering(202), "", &[&host]);
    assert_eq!(code, 0, "{text}");
    told(&host, "reload main");
    assert_eq!(host.get("/").status, 202);
    told(&host, "reload");
    assert_eq!(host.get("/").status, 202);
}

#[test]
fn pools_have_modules_of_their_own() {
    let site = Site::new("");
    let (code, text) = site.push(&site.answering(204), "--pool api", &[]);
    assert_eq!(code, 0, "{text}");
    let folder = Folder::new();
    let config = folder.path().join("host.toml");
    let text = "[[pool]]\nname = \"main\"\nmodule = \"cluster\"\n\
                [[pool]]\nname = \"api\"\nmodule = \"cluster\"\nroutes = [\"/api/*\"]\n";
    fs::write(&config, text).expect("a configuration");
    let flags = format!("--config {} --workers 1", config.display());
    let host = Host::joined(serve(folder, &site.cluster.direct(&flags)));
    assert_eq!((host.get("/").status, host.get("/api/").status), (201, 204));
    let (code, text) = site.push(&site.answering(202), "", &[&host]);
    assert_eq!(code, 0, "{text}");
    assert_eq!((host.get("/").status, host.get("/api/").status), (202, 204));
}
