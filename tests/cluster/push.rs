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
use crate::support::nats::Nats;
use crate::support::nats::client::{Frame, NatsClient};
use crate::support::server::{serve, try_serve};
use crate::support::steer::{ask, asking, told};
use crate::support::wat::{worker, worker_with};
use crate::support::{Folder, eventually};

const USED: &str = "a module was pushed, and is used";
const UNUSED: &str = "a module was pushed, and can't be used: the one before goes on serving";

/// The record of the pool of hosts that name none.
const RECORD: &str = "$KV.wph-default.module.main";

/// The question for this record.
const READ: &str = "$JS.API.DIRECT.GET.KV_wph-default.$KV.wph-default.module.main";

/// A cluster, and the files that are pushed to it.
struct Site {
    cluster: Cluster,
    folder: Folder,
}

impl Site {
    /// A cluster whose hosts start with a module that answers with 201.
    fn new(flags: &str) -> Self {
        Self::of(Cluster::new(flags))
    }

    /// The same on a server with further lines of a configuration.
    fn on(config: &str) -> Self {
        Self::of(Cluster {
            nats: Nats::with(config),
            flags: String::new(),
        })
    }

    fn of(cluster: Cluster) -> Self {
        let site = Self {
            cluster,
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

    /// Asks until the push ends. Returns its exit code, and what it has said since.
    fn wait_end(&mut self, ask: impl Fn()) -> (i32, String) {
        let status = eventually("the push ends", || {
            ask();
            self.child.try_wait().expect("a child's status")
        });
        let lines = self.lines.by_ref().map(|line| line.expect("a line") + "\n");
        (status.code().unwrap_or(-1), lines.collect())
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

/// The last record that this client has heard of.
fn last_record(nats: &NatsClient) -> Value {
    let records = nats.all();
    let record = records.last().expect("the record was written").text();
    serde_json::from_str(&record).expect("JSON")
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
            assert_eq!(entry["follows"]["main"], digest(&text), "{entry}");
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

/// Nobody is left who could say what the module has done there.
#[test]
fn a_push_that_loses_all_hosts_has_failed() {
    let site = Site::new("");
    let nats = site.cluster.nats.client();
    nats.subscribe(RECORD);
    let mut host = site.host("");
    let before = last_record(&nats);
    let mut pushing = site.begin(&site.answering(202), "");
    assert_eq!(pushing.wait_loads(), host.number);
    host.signal(rustix::process::Signal::KILL);
    host.wait_exit();
    let (code, text) = pushing.wait_end(|| {});
    assert_eq!(code, 1, "{text}");
    let gone = format!("host {} (", host.number);
    let gone = text.lines().find(|line| line.starts_with(&gone));
    assert!(
        gone.is_some_and(|line| line.contains("follows no more")),
        "{text}"
    );
    assert_eq!(last_record(&nats)["current"], before["current"]);
}

/// What does nothing but fail must not get to other hosts because the first one was stopped.
#[test]
fn a_trial_that_a_stop_cuts_short_proves_nothing() {
    let site = Site::new("");
    let [one, two] = [(); 2].map(|()| site.host(""));
    let failing = site.file("failing.wat", &worker("unreachable"));
    let mut pushing = site.begin(&failing, "");
    let (mut first, second) = match pushing.wait_loads() == one.number {
        true => (one, two),
        false => (two, one),
    };
    wait_status(&first, 502);
    first.signal(rustix::process::Signal::TERM);
    first.wait_exit();
    let (code, text) = pushing.wait_end(|| drop(second.get("/")));
    assert_eq!(code, 1, "{text}");
    wait_status(&second, 201);
    assert_eq!(site.host("").get("/").status, 201);
}

/// The pool of such a host waits for the next push.
#[test]
fn a_trial_that_a_drain_cuts_short_proves_nothing() {
    let site = Site::new("");
    let nats = site.cluster.nats.client();
    nats.subscribe(RECORD);
    let host = site.host("");
    let before = last_record(&nats);
    let failing = site.file("failing.wat", &worker("unreachable"));
    let mut pushing = site.begin(&failing, "");
    assert_eq!(pushing.wait_loads(), host.number);
    wait_status(&host, 502);
    told(&host, "drain main");
    let (code, text) = pushing.wait_end(|| {});
    assert_eq!(code, 1, "{text}");
    assert_eq!(last_record(&nats)["current"], before["current"]);
    let (code, text) = site.push(&site.answering(202), "", &[&host]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("done: 1 serve it"), "{text}");
    assert_eq!(host.get("/").status, 202);
}

/// The module fails for requests with a body, and the second host gets no others.
#[test]
fn a_host_behind_the_first_may_fail_too() {
    let site = Site::new("");
    let [one, two] = [(); 2].map(|()| site.host(""));
    let choosy = "(if (local.get $body-length) (then unreachable))
        (i32.store16 (i32.const 1024) (i32.const 202))";
    let choosy = site.file("choosy.wat", &worker(choosy));
    let mut pushing = site.begin(&choosy, "");
    let (first, second) = match pushing.wait_loads() == one.number {
        true => (&one, &two),
        false => (&two, &one),
    };
    wait_status(first, 202);
    let (code, text) = pushing.wait_end(|| drop(second.request("POST", "/", &[], b"body")));
    assert_eq!(code, 1, "{text}");
    assert!(!text.contains("done"), "{text}");
    assert_eq!(first.get("/").status, 202);
    wait_status(second, 201);
}

/// A server with a copy may answer with the record before, as this one does once after each write.
#[test]
fn a_copy_that_is_behind_is_no_other_push() {
    const COPY: &str = "copy";
    let nats = Nats::with(&format!("mappings = {{ \"{READ}\": \"{COPY}\" }}"));
    let (copy, store) = (nats.client(), nats.client());
    copy.subscribe(COPY);
    thread::spawn(move || {
        let mut before: Option<Frame> = None;
        while let Some(asked) = copy.wait() {
            let last = format!("{{\"last_by_subj\":\"{RECORD}\"}}");
            let found = store.request("$JS.API.DIRECT.GET.KV_wph-default", last.as_bytes());
            let (Some(now), Some(whom)) = (found, asked.reply) else {
                continue;
            };
            let before = before.replace(now.clone());
            let Frame { head, payload, .. } = before.unwrap_or(now);
            copy.send(&Frame {
                subject: whom,
                reply: None,
                head,
                payload,
            });
        }
    });
    let site = Site::of(Cluster {
        nats,
        flags: String::new(),
    });
    for status in [202, 203] {
        let (code, text) = site.push(&site.answering(status), "", &[]);
        assert_eq!(code, 0, "{text}");
    }
    assert_eq!(site.host("").get("/").status, 203);
}

#[test]
fn what_cant_be_removed_a_later_push_removes() {
    let site = Site::new("");
    let nats = site.cluster.nats.client();
    nats.subscribe(RECORD);
    let (code, text) = site.push(&site.answering(202), "", &[]);
    assert_eq!(code, 0, "{text}");
    let mut record = last_record(&nats);
    // It is of long ago, and there is no bucket from which it could be removed.
    record["left"] = json!([{ "object": "main-old", "since": 0 }]);
    nats.publish(RECORD, record.to_string().as_bytes());
    nats.flush();
    let other = site.cluster.nats.client();
    let gone = other.request("$JS.API.STREAM.DELETE.OBJ_wph-default", b"");
    let gone = gone.expect("an answer").text();
    assert!(gone.contains("\"success\":true"), "{gone}");
    for (status, is_left) in [(203, true), (204, false)] {
        let (code, text) = site.push(&site.answering(status), "", &[]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(text.contains("could not be removed"), is_left, "{text}");
        let left = last_record(&nats)["left"].to_string();
        assert_eq!(left.contains("main-old"), is_left, "{left}");
    }
}

/// A host notices at its start that it could not follow, and not when something is pushed.
#[test]
fn rights_to_follow_that_are_missing() {
    for denied in [RECORD, READ] {
        let site = Site::on(&format!(
            "authorization {{ users: [ {{ user: \"all\", password: \"secret\" }}, {{ user: \"host\",
               password: \"secret\", permissions: {{ publish: {{ deny: [\"{denied}\"] }} }} }} ] }}
             no_auth_user: \"all\""
        ));
        let address = site.cluster.nats.address();
        let flags = "--module cluster --log-format text";
        let flags = format!("{flags} --nats nats://host:secret@{address}");
        let Err((status, text)) = try_serve(None, &flags) else {
            panic!("it started without {denied}");
        };
        assert_eq!(status.code(), Some(1), "{text}");
        assert!(text.contains("module.main"), "{text}");
        assert!(text.contains("lacks a right"), "{text}");
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
    let record = last_record(&nats);
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
