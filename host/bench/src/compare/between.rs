//! *Messages between hosts*: what a round trip costs between processes of two hosts, beside
//! processes of two nodes of BEAM. Hosts talk over a `nats-server`, and nodes over a connection of
//! their own. All of them share this machine.
//!
//! Both measure themselves, in the same way: `host/bench/between` is the program of the hosts, and
//! `host/bench/peers/nodes.erl` that of the nodes.

use std::path::Path;

use anyhow::{Context, anyhow};
use serde::Deserialize;

use super::Bench;
use super::cluster::Nats;
use super::matrix::Turns;
use super::peers::Peers;
use crate::beam::{Beam, Nodes};
use crate::client;
use crate::findings::Target;
use crate::kernel::Use;
use crate::process::Running;
use crate::quantities::{CPU, P50, P99, PEAK, ROUND_TRIPS};
use crate::results::{Case, Results, Turn};

/// The name of a case, the bytes of a message, and the pairs of processes that talk at a time. A
/// pair has one message on its way.
const CASES: [(&str, usize, usize); 4] = [
    ("32 B to another host and back, one pair", 32, 1),
    ("32 B to another host and back, 32 pairs", 32, 32),
    ("4 KiB to another host and back, one pair", 4 << 10, 1),
    ("4 KiB to another host and back, 32 pairs", 4 << 10, 32),
];

/// The contestants.
const HOSTS: &str = "hosts, over NATS";
const NODES: &str = "BEAM, two nodes";

const NOTE: &str = "CPU is seconds per 1,000 round trips. CPU and memory are those of both hosts \
                    and NATS together, or of both nodes and epmd";

pub(super) fn judge(results: &mut Results) {
    for (case, _, pairs) in CASES {
        let quantity = if pairs == 1 { P50 } else { ROUND_TRIPS };
        for quantity in [quantity, CPU] {
            results.find_ratio(case, [HOSTS, NODES], quantity, Target::None);
        }
        results.note(case, NOTE);
    }
}

/// What the program of the hosts answers, and that of the nodes prints.
#[derive(Deserialize)]
struct Report {
    p50_ns: f64,
    p99_ns: f64,
    per_second: f64,
    /// The warm-up included.
    round_trips: f64,
}

impl Report {
    fn read(json: &[u8]) -> anyhow::Result<Self> {
        let report = serde_json::from_slice(json);
        report.with_context(|| format!("no report: {}", String::from_utf8_lossy(json)))
    }

    fn turn(&self, used: Use) -> Turn {
        vec![
            (ROUND_TRIPS, self.per_second),
            (P50, self.p50_ns / 1e6),
            (P99, self.p99_ns / 1e6),
            (CPU, used.cpu.as_secs_f64() * 1000.0 / self.round_trips),
            (PEAK, used.peak_kib / 1024.0),
        ]
    }
}

/// The bytes, the pairs, and the milliseconds of warm-up and of measurement, as both programs want
/// them.
fn words(bytes: usize, pairs: usize, turns: &Turns) -> [String; 4] {
    let (warm_up, duration) = (turns.warm_up.as_millis(), turns.duration.as_millis());
    [
        bytes.to_string(),
        pairs.to_string(),
        warm_up.to_string(),
        duration.to_string(),
    ]
}

impl Bench {
    /// Nothing if `nats-server` is not installed. Without Erlang, only hosts.
    pub(super) fn between<'a>(&'a self, peers: &'a Peers) -> Vec<Case<'a>> {
        let Some(nats) = &peers.nats else {
            return Vec::new();
        };
        let (nats, turns) = (nats.path(), self.pace.target);
        let cases = CASES.into_iter().map(|(name, bytes, pairs)| {
            let question = move || words(bytes, pairs, &turns);
            let case = Case::new(name, turns.rounds)
                .with(HOSTS, move || self.two_hosts(nats, &question()));
            let mut case = match &peers.beam {
                Some(beam) => case.with(NODES, move || two_nodes(beam, &question())),
                None => case,
            };
            case.is_needed = false;
            case
        });
        cases.collect()
    }

    /// Measures two hosts with the same program.
    fn two_hosts(&self, nats: &Path, question: &[String; 4]) -> anyhow::Result<Turn> {
        let module = self.module("between.wasm");
        let nats = Nats::start(nats)?;
        let flags = ["--nats", &nats.url, "--module", &module];
        let mut other = self.site.worker();
        other.args(flags);
        let other = Running::start("the other host", other)?;
        other.line("it did not start")?;
        let mut host = self.site.host(&flags)?.beside(vec![other, nats.process]);
        // One round trip: afterwards the hosts know each other.
        host.ask("/1/1/0/0")?;
        let (address, path) = (host.address, format!("/{}", question.join("/")));
        let (answer, used) = host.used_during(|| client::ask(address, &path))?;
        let answered = || anyhow!("{path} is answered with status {}", answer.status);
        host.check(answer.is_good().then_some(()).ok_or_else(answered))?;
        Ok(Report::read(&answer.body)?.turn(used))
    }
}

fn two_nodes(beam: &Beam, question: &[String; 4]) -> anyhow::Result<Turn> {
    let nodes = Nodes::new(beam)?;
    let other = nodes.start("other", &["wait"])?;
    let name = Nodes::address("other");
    let words = ["main", &name].into_iter();
    let words: Vec<&str> = words.chain(question.iter().map(String::as_str)).collect();
    let node = nodes.start("node", &words)?;
    let groups = [nodes.daemon(), &other, &node].map(Running::group);
    let before = Use::of_groups(&groups)?;
    let report = node.line("it reported nothing")?;
    let mut used = Use::of_groups(&groups)?;
    used.cpu = used.cpu.saturating_sub(before.cpu);
    Ok(Report::read(report.as_bytes())?.turn(used))
}
