//! Queues: what was put is done at least once, whatever ends meanwhile, and nothing is held up by
//! who has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Cluster, HASTY, Host, MARGIN};
use crate::support::nats::Nats;
use crate::support::scripts::{FOR_EVER, ask, outcome};
use crate::support::server::{guest, serve};
use crate::support::{Client, Folder, eventually, guests};

/// The stream of the cluster `default`.
const INFO: &str = "$JS.API.STREAM.INFO.JOBS_wph-default";

/// What the log says if queues can't be used.
const UNUSABLE: &str = "queues of the cluster can't be used";

/// A host whose processes run scripts.
fn actor(cluster: &Cluster) -> Host {
    cluster.both("actor", FOR_EVER)
}

/// A host with the two pools of the example `jobs`. One attempt in so many ends its process.
fn post_office(cluster: &Cluster, one_in: u32) -> Host {
    let folder = Folder::new();
    let config = folder.path().join("host.toml");
    let module = |name| guests::path(name).display().to_string();
    let text = format!(
        "[[pool]]\nname = \"accept\"\nworkers = 4\nmodule = {:?}\n\
         [[pool]]\nname = \"work\"\nroutes = [\"/work\"]\nmodule = {:?}\n\
         env = {{ ONE_IN = \"{one_in}\", RECEIPTS = \"receipts\" }}\n",
        module("jobs_accept"),
        module("jobs_work"),
    );
    fs::write(&config, text).expect("a configuration");
    let flags = cluster.direct(&format!("--config {}", config.display()));
    Host::joined(serve(folder, &flags))
}

/// How many jobs each queue has, by its subject.
fn jobs(nats: &Nats) -> BTreeMap<String, u64> {
    let info = nats.jetstream(INFO, &json!({ "subjects_filter": ">" }));
    let subjects = info["state"]["subjects"].as_object();
    let subjects = subjects.into_iter().flatten();
    let counts = subjects.map(|(subject, count)| (subject.clone(), count.as_u64().unwrap_or(0)));
    counts.collect()
}

/// The number of processes of this host that have trapped.
fn traps(host: &Host) -> usize {
    let entries = host.entries("process ended");
    let traps = entries.iter().filter(|entry| entry["exit"] == "trap");
    traps.count()
}

/// The number of processes that wait for jobs of a queue.
fn waiting(nats: &Nats, queue: &str) -> Option<u64> {
    let subject = format!("$JS.API.CONSUMER.INFO.JOBS_wph-default.jobs-{queue}");
    nats.jetstream(&subject, &Value::Null)["num_waiting"].as_u64()
}

#[test]
fn a_job_is_taken_by_one_until_it_is_done() {
    let cluster = Cluster::new("");
    let [first, second] = [actor(&cluster), actor(&cluster)];
    assert_eq!(outcome(&first, "put q one; put q two"), "ok");
    assert_eq!(outcome(&second, "take q 10000"), "one 1");
    assert_eq!(outcome(&first, "take q 10000"), "two 1");
    assert_eq!(outcome(&first, "take q 50"), "nothing");
    assert_eq!(outcome(&second, "take q 0"), "nothing");
    assert_eq!(outcome(&second, "done"), "ok");
    assert_eq!(outcome(&second, "done"), "not-yours");
    assert_eq!(outcome(&second, "give-back 0"), "not-yours");
    assert_eq!(outcome(&first, "give-back 0; done"), "not-yours");
    assert_eq!(outcome(&second, "take q 10000"), "two 2");
    assert_eq!(outcome(&second, "done; take q 0"), "nothing");
    // Queues are apart, and empty jobs are jobs.
    assert_eq!(outcome(&first, "put other x*0; take q 0"), "nothing");
    assert_eq!(outcome(&first, "take other 10000"), " 1");
    assert_eq!(outcome(&first, "done"), "ok");
    assert!(jobs(&cluster.nats).is_empty());
    // Jobs leave room for what hosts themselves keep.
    let info = cluster.nats.jetstream(INFO, &Value::Null);
    assert_eq!(info["config"]["max_bytes"], 256 << 20, "{info}");
}

/// Whoever has asked gets the job, and nobody is told that something is wrong.
#[test]
fn others_who_wait_get_nothing() {
    let cluster = Cluster::new("");
    let host = actor(&cluster);
    let takers = "spawn a { take q 300; tell; done }; spawn b { take q 300; tell; done }; \
                  spawn c { take q 300; tell; done }; put q job; receive; receive; receive; answer";
    for _ in 0..3 {
        let text = ask(&host, takers).text();
        let count = |said: &str| text.lines().filter(|line| line.ends_with(said)).count();
        assert_eq!([": job 1", ": nothing"].map(count), [1, 2], "{text}");
    }
    assert_eq!(host.entries(UNUSABLE), Vec::<Value>::new());
}

/// Well before the 30 s after which jobs of lost hosts come back.
#[test]
fn a_process_that_ends_gives_its_jobs_back_at_once() {
    let cluster = Cluster::new("");
    let [first, second] = [actor(&cluster), actor(&cluster)];
    for (end, exit) in [
        ("exit 0", "normal"),
        ("exit 7", "code 7"),
        ("trap", "trap"),
        ("receive", "killed"),
    ] {
        let start = Instant::now();
        let script = format!(
            "put q job; watch c {{ take q 20000; tell; {end} }}; receive-from c; expect 1; \
             kill c; receive-from c"
        );
        let down = outcome(&first, &script);
        // It may have been killed before it could end by itself.
        let is_so = [exit, "killed"].map(|exit| format!("c is down: {exit}"));
        assert!(is_so.contains(&down), "{end}: {down}");
        assert_eq!(outcome(&second, "take q 20000"), "job 2", "{end}");
        assert_eq!(outcome(&second, "done"), "ok");
        assert!(start.elapsed() < MARGIN, "{end}: {:?}", start.elapsed());
    }
}

#[test]
fn jobs_of_a_killed_host_come_again() {
    let cluster = Cluster::new(HASTY);
    let [first, second] = [actor(&cluster), actor(&cluster)];
    assert_eq!(outcome(&first, "put q job; take q 10000"), "job 1");
    first.signal(Signal::KILL);
    assert_eq!(outcome(&second, "take q 100000"), "job 2");
    assert_eq!(outcome(&second, "done"), "ok");
}

/// Longer than the time after which the job of a silent host would come back.
#[test]
fn a_job_that_takes_long_is_not_taken_twice() {
    let cluster = Cluster::new("--lost-after 500ms");
    let [first, second] = [actor(&cluster), actor(&cluster)];
    assert_eq!(outcome(&first, "put q job; take q 10000"), "job 1");
    assert_eq!(outcome(&second, "take q 7000"), "nothing");
    assert_eq!(outcome(&first, "done"), "ok");
}

#[test]
fn what_fails_five_times_is_a_dead_letter() {
    let cluster = Cluster::new("");
    let host = cluster.both("actor", &format!("--admin 127.0.0.1:0 {FOR_EVER}"));
    assert_eq!(outcome(&host, "put q job"), "ok");
    for attempt in 1..=5 {
        assert_eq!(outcome(&host, "take q 10000"), format!("job {attempt}"));
        assert_eq!(outcome(&host, "give-back 0"), "ok");
    }
    assert_eq!(outcome(&host, "take q 1000"), "nothing");
    assert_eq!(outcome(&host, "take q.dead 10000"), "job 1");
    // Dead letters are tried without end.
    for attempt in 2..=7 {
        assert_eq!(outcome(&host, "give-back 0"), "ok");
        let taken = outcome(&host, "take q.dead 10000");
        assert_eq!(taken, format!("job {attempt}"));
    }
    assert_eq!(outcome(&host, "done; take q.dead 0"), "nothing");
    let count = |what: &str| host.metric(&format!("cluster_jobs_total{{what=\"{what}\"}}"));
    let counts = ["put", "taken", "done", "given-back", "dead"].map(count);
    assert_eq!(counts, [1.0, 12.0, 1.0, 11.0, 1.0]);
}

#[test]
fn who_waits_no_more_swallows_nothing() {
    let cluster = Cluster::new("");
    let [first, second] = [actor(&cluster), actor(&cluster)];
    for _ in 0..20 {
        assert_eq!(outcome(&first, "take q 5"), "nothing");
    }
    assert_eq!(outcome(&first, "spawn c { take q 100000 }"), "ok");
    eventually("a process waits", || {
        (waiting(&cluster.nats, "q") == Some(1)).then_some(())
    });
    assert_eq!(
        outcome(&first, "monitor c; kill c; receive"),
        "c is down: killed"
    );
    // The server forgets who hears no more: a job that nobody has had was not tried.
    eventually("nobody waits", || {
        (waiting(&cluster.nats, "q") == Some(0)).then_some(())
    });
    let start = Instant::now();
    assert_eq!(outcome(&second, "put q job"), "ok");
    assert_eq!(outcome(&second, "take q 100000"), "job 1");
    assert!(start.elapsed() < MARGIN, "{:?}", start.elapsed());
    assert_eq!(outcome(&second, "done"), "ok");
    // Somebody else on the same host waits meanwhile.
    let script = "spawn c { take q 100000 }; spawn d { take q 100000; tell }";
    assert_eq!(outcome(&first, script), "ok");
    eventually("two processes wait", || {
        (waiting(&cluster.nats, "q") == Some(2)).then_some(())
    });
    assert_eq!(
        outcome(&first, "monitor c; kill c; receive"),
        "c is down: killed"
    );
    assert_eq!(outcome(&second, "put q job"), "ok");
    assert_eq!(outcome(&first, "receive-from d"), "d: job 1");
}

#[test]
fn names_sizes_and_numbers_are_bounded() {
    /// What NATS takes in one message, without room for its head.
    const MOST: usize = (1 << 20) - (1 << 10);
    let cluster = Cluster::new("");
    let host = actor(&cluster);
    for name in [
        "a.b",
        "a*",
        "a>",
        "ü",
        "x*65",
        ".dead",
        "q.dead.dead",
        "x*0",
    ] {
        assert_eq!(outcome(&host, &format!("put {name} x")), "invalid-name");
        assert_eq!(outcome(&host, &format!("take {name} 0")), "invalid-name");
    }
    assert_eq!(outcome(&host, "put x*300000 x"), "invalid-name");
    let longest = "x".repeat(64);
    assert_eq!(outcome(&host, &format!("put {longest} x")), "ok");
    assert_eq!(outcome(&host, &format!("take {longest} 10000")), "x 1");
    assert_eq!(outcome(&host, &format!("put q x*{MOST}")), "ok");
    let more = MOST + 1;
    assert_eq!(outcome(&host, &format!("put q x*{more}")), "too-large");
    assert_eq!(outcome(&host, "put q x*3000000"), "too-large");
    assert_eq!(outcome(&host, "take q 10000"), format!("x*{MOST} 1"));
    // Two it has already.
    assert_eq!(outcome(&host, "repeat 64 { put many x }"), "64 ok");
    let many = outcome(&host, "take-many many 64");
    assert_eq!(many, "62, then too-many-jobs");
    assert_eq!(outcome(&host, "done; take many 10000"), "x 1");
}

#[test]
fn a_stream_that_is_full_says_so() {
    let cluster = Cluster::new("");
    let config = json!({
        "name": "JOBS_wph-default",
        "subjects": ["wph-default.jobs.*", "wph-default.dead.*"],
        "retention": "workqueue",
        "discard": "new",
        "storage": "file",
        "max_msgs": 3,
        "max_consumers": 1,
    });
    let create = "$JS.API.STREAM.CREATE.JOBS_wph-default";
    let made = cluster.nats.jetstream(create, &config);
    assert_eq!(made["did_create"], true, "{made}");
    let host = actor(&cluster);
    assert_eq!(outcome(&host, "repeat 4 { put q x }"), "3 ok, then no-room");
    assert_eq!(outcome(&host, "take q 10000; done; put q x"), "ok");
    assert_eq!(outcome(&host, "take other 0"), "no-room");
}

#[test]
fn a_host_that_is_alone_has_no_queues() {
    let host = guest("actor", FOR_EVER);
    for (script, said) in [
        ("put q x", "no-cluster"),
        ("take q 0", "no-cluster"),
        ("done", "not-yours"),
        ("give-back 0", "not-yours"),
        ("put a.b x", "invalid-name"),
    ] {
        assert_eq!(outcome(&host, script), said, "{script}");
    }
}

/// The log says it once, and names what the user needs.
#[test]
fn a_right_that_is_missing_is_said_once() {
    for (denied, script) in [
        ("wph-default.jobs.*", "put q x"),
        ("$JS.API.STREAM.CREATE.JOBS_wph-default", "put q x"),
        ("$JS.API.CONSUMER.MSG.NEXT.JOBS_wph-default.*", "take q 100"),
    ] {
        let nats = Nats::with(&format!(
            "authorization {{ users: [ {{ user: \"host\", password: \"secret\", permissions: {{
               publish: {{ deny: [\"{denied}\"] }} }} }} ] }}"
        ));
        let flags = format!("--nats nats://host:secret@{} {FOR_EVER}", nats.address());
        let host = Host::joined(guest("actor", &flags));
        let script = format!(
            "spawn a {{ {script}; tell }}; spawn b {{ {script}; tell }}; receive-from a; \
             expect unreachable; receive-from b; expect unreachable"
        );
        assert_eq!(outcome(&host, &script), "ok", "without {denied}");
        let entries = host.wait_entries(UNUSABLE, 1);
        assert_eq!(entries.len(), 1, "without {denied}: {entries:?}");
        let why = entries[0]["why"].as_str().unwrap_or_default();
        let subject = denied.trim_end_matches('*');
        assert!(why.contains(subject), "without {denied}: {why}");
        host.wait_entry("the user of this host lacks a right in NATS", |entry| {
            entry["why"]
                .as_str()
                .is_some_and(|why| why.contains(subject))
        });
    }
}

/// The rights in the example's configuration are all that queues need.
#[test]
fn the_rights_of_the_example_suffice() {
    let file = guests::workspace().join("examples/cluster/nats-secure.conf");
    let text = fs::read_to_string(file).expect("the example's configuration");
    let (_, rights) = text.split_once("publish: [").expect("rights to publish");
    let (rights, _) = rights.split_once(']').expect("their end");
    let rights = rights.lines().map(str::trim);
    let rights: Vec<_> = rights.filter(|line| line.starts_with('"')).collect();
    let nats = Nats::with(&format!(
        "authorization {{ users: [ {{ user: \"host\", password: \"secret\", permissions: {{
           subscribe: [\"wph1.default.>\"]\n publish: [{}] }} }} ] }}",
        rights.join(", ")
    ));
    let flags = format!("--nats nats://host:secret@{} {FOR_EVER}", nats.address());
    let host = Host::joined(guest("actor", &flags));
    assert_eq!(outcome(&host, "put q x; take q 10000"), "x 1");
    assert_eq!(outcome(&host, "done"), "ok");
    assert_eq!(
        outcome(&host, "put q.dead x; take q.dead 10000; done"),
        "ok"
    );
}

/// A handler has its jobs for one request. Dead letters are looked at, and tried again.
#[test]
fn a_handler_gives_back_what_it_has_not_done() {
    let cluster = Cluster::new("");
    let host = post_office(&cluster, 0);
    let post = |target: &str, mail: &str| host.request("POST", target, &[], mail.as_bytes()).status;
    assert_eq!(host.get("/dead").status, 404);
    assert_eq!(post("/mails", "poison"), 202);
    let dead = || {
        eventually("the mail is a dead letter", || {
            let reply = host.get("/dead");
            (reply.status == 200).then(|| reply.text())
        })
    };
    assert_eq!(dead(), "poison");
    assert_eq!(dead(), "poison");
    let wait_traps = |count: usize| {
        eventually("its processes have ended", || {
            (traps(&host) == count).then_some(())
        });
    };
    wait_traps(5);
    eventually("it is tried again", || {
        (post("/dead", "") == 202).then_some(())
    });
    wait_traps(10);
    assert_eq!(dead(), "poison");
}

/// Puts mails until each is accepted, at whichever host answers.
struct Senders<'a> {
    hosts: &'a Mutex<Vec<Host>>,
    next: AtomicUsize,
    accepted: AtomicUsize,
}

impl Senders<'_> {
    const MAILS: usize = 10_000;

    fn send_all(&self) {
        let mut client = None;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= Self::MAILS {
                return;
            }
            let mut tries = number;
            while !self.is_accepted(number, client.get_or_insert_with(|| self.connect(tries))) {
                client = None;
                tries += 1;
            }
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A client of some host that is there.
    fn connect(&self, mut tries: usize) -> Client {
        eventually("a host is there", || {
            let hosts = lock(self.hosts);
            tries += 1;
            hosts[tries % hosts.len()].try_client().ok()
        })
    }

    fn is_accepted(&self, number: usize, client: &mut Client) -> bool {
        let mail = format!("mail {number}");
        let reply = client.try_request("POST", "/mails", &[], mail.as_bytes());
        reply.is_ok_and(|reply| reply.status == 202)
    }

    fn wait_accepted(&self, count: usize) {
        eventually("mails are accepted", || {
            (self.accepted.load(Ordering::Relaxed) >= count).then_some(())
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn ten_thousand_jobs_are_done_whatever_ends() {
    const ONE_IN: u32 = 50;
    let mut cluster = Cluster::new(HASTY);
    let hosts = Mutex::new(vec![
        post_office(&cluster, ONE_IN),
        post_office(&cluster, ONE_IN),
    ]);
    let senders = Senders {
        hosts: &hosts,
        next: AtomicUsize::new(0),
        accepted: AtomicUsize::new(0),
    };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| senders.send_all());
        }
        senders.wait_accepted(1000);
        lock(&hosts)[1].signal(Signal::KILL);
        let another = post_office(&cluster, ONE_IN);
        lock(&hosts)[1] = another;
        senders.wait_accepted(4000);
        cluster.nats.kill();
        cluster.nats.restart();
        senders.wait_accepted(7000);
        lock(&hosts)[0].signal(Signal::KILL);
        let another = post_office(&cluster, ONE_IN);
        lock(&hosts)[0] = another;
    });
    let subject = "wph-default.jobs.mails";
    eventually("all jobs are done", || {
        (!jobs(&cluster.nats).contains_key(subject)).then_some(())
    });
    let left = jobs(&cluster.nats);
    assert!(!left.contains_key("wph-default.dead.mails"), "{left:?}");
    let receipts = cluster.nats.take_all_jobs("receipts");
    let mails: BTreeSet<_> = receipts.iter().collect();
    let mut missing = String::new();
    for number in 0..Senders::MAILS {
        let mail = format!("mail {number}").into_bytes();
        if !mails.contains(&mail) {
            let _infallible = write!(missing, "{number} ");
        }
    }
    assert_eq!(missing, "", "of {} receipts", receipts.len());
    let hosts = lock(&hosts);
    assert!(hosts.iter().map(traps).sum::<usize>() > 0, "nobody trapped");
}

/// Whoever waits gets a job soon after the server is back.
#[test]
fn takers_ask_again_when_the_server_is_back() {
    let mut cluster = Cluster::new("");
    let host = actor(&cluster);
    let script = "put q first; take q 10000; spawn c { take q 100000; tell }";
    assert_eq!(outcome(&host, script), "ok");
    eventually("a process waits", || {
        (waiting(&cluster.nats, "q") == Some(1)).then_some(())
    });
    cluster.nats.kill();
    let start = Instant::now();
    assert_eq!(outcome(&host, "take q 0"), "unreachable");
    assert!(start.elapsed() < MARGIN + Duration::from_secs(5));
    cluster.nats.restart();
    // What was taken before is still this process's.
    assert_eq!(outcome(&host, "done; put q second"), "ok");
    let start = Instant::now();
    assert_eq!(outcome(&host, "receive-from c"), "c: second 1");
    assert!(start.elapsed() < MARGIN, "{:?}", start.elapsed());
}
