//! The *metrics* of a host, as OpenMetrics. Their labels are names of pools, states, exits and
//! classes of statuses: never anything that a client or a guest chooses.

use std::fmt::Error;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use wasm_pool_host::{
    Calls, Cluster, ClusterCounts, Counts, Histogram, Host, PoolInfo, ProcessInfo, State,
};

/// What all names begin with.
const PREFIX: &str = "wasm_pool_host";

/// What names begin with that are about the host's cluster. Alone, it has none of them.
const CLUSTER: &str = "wasm_pool_cluster";

/// The label of requests that no pool has.
const NO_POOL: &str = "";

const STATES: [State; 5] = [
    State::Starting,
    State::Idle,
    State::Running,
    State::Waiting,
    State::Ending,
];

/// A host at one moment.
#[derive(Debug)]
struct Sample {
    pools: Vec<Pool>,
    unrouted: Counts,
}

/// A host's part in its cluster at one moment.
#[derive(Debug)]
struct InCluster {
    hosts: u64,
    counts: ClusterCounts,
}

/// A pool, and its processes.
#[derive(Debug)]
struct Pool {
    info: PoolInfo,
    processes: Vec<ProcessInfo>,
}

/// One value of a family, and what tells it from the others.
type Labelled<'a, V, const N: usize> = ([(&'a str, &'a str); N], V);

/// All metrics, in the text format.
///
/// # Errors
/// If they can't be formatted, which has no reason to happen.
pub(super) fn text(host: &Host) -> Result<String, Error> {
    let mut text = String::new();
    put(&mut text, PREFIX, Sample::of(host))?;
    if let Some(cluster) = host.cluster() {
        put(&mut text, CLUSTER, InCluster::of(cluster))?;
    }
    encode_eof(&mut text)?;
    Ok(text)
}

fn put(text: &mut String, prefix: &str, sample: impl Collector) -> Result<(), Error> {
    let mut registry = Registry::with_prefix(prefix);
    registry.register_collector(Box::new(sample));
    encode_registry(text, &registry)
}

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        let seconds = Some(&Unit::Seconds);
        encoder
            .encode_descriptor("build", "The running version", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let help = "Answered requests, by the class of their status";
        counters(encoder, "requests", help, None, self.responses())?;
        let help = "Requests that no process could take";
        let refused = self.each(|pool| pool.info.counts.refused as f64);
        counters(encoder, "refused", help, None, refused)?;
        let help = "Time from a request's head to the head of its response";
        self.histogram(encoder, "request", help, |counts| &counts.requests)?;
        let help = "Time that requests waited for a process";
        self.histogram(encoder, "queue", help, |counts| &counts.waits)?;
        let help = "Time that processes took to start";
        self.histogram(encoder, "start", help, |counts| &counts.starts)?;
        let help = "Processes that have ended, by the reason";
        counters(encoder, "exits", help, None, self.exits())?;
        let help = "Processes that were replaced because they failed or were killed";
        let restarts = self.each(|pool| pool.info.counts.restarts() as f64);
        counters(encoder, "restarts", help, None, restarts)?;
        let help = "CPU time of all processes, the ended ones included";
        let cpu = self.each(|pool| {
            let living = pool.processes.iter().map(|process| process.cpu);
            (pool.info.counts.cpu + living.sum::<Duration>()).as_secs_f64()
        });
        counters(encoder, "cpu", help, seconds, cpu)?;
        let help = "Calls of guests to the host, by interface";
        let count = self.calls(|calls| calls.count);
        counters(encoder, "calls", help, None, count)?;
        let help = "Bytes that calls copied into and out of processes";
        let bytes = self.calls(|calls| calls.bytes);
        counters(encoder, "call", help, Some(&Unit::Bytes), bytes)?;
        let help = "Living processes, by state";
        gauges(encoder, "processes", help, None, self.states())?;
        let help = "Requests that wait for a process";
        let line = self.each(|pool| pool.info.waiting as u64);
        gauges(encoder, "line", help, None, line)?;
        let help = "Memory of all processes";
        let memory = self.sums(|process| process.memory);
        gauges(encoder, "memory", help, Some(&Unit::Bytes), memory)?;
        let help = "Open files of all processes";
        let files = self.sums(|process| process.open_files.into());
        gauges(encoder, "open_files", help, None, files)?;
        let help = "Messages in all mailboxes";
        let messages = self.sums(|process| process.messages.unwrap_or_default() as u64);
        gauges(encoder, "mailbox_messages", help, None, messages)?;
        let help = "How often the module has been loaded";
        let generation = self.each(|pool| pool.info.generation);
        gauges(encoder, "generation", help, None, generation)?;
        let help = "Whether processes can be started";
        let up = self.each(|pool| u64::from(!pool.info.is_failing));
        gauges(encoder, "up", help, None, up)
    }
}

impl Sample {
    fn of(host: &Host) -> Self {
        let mut pools: Vec<_> = host.pools().into_iter().map(Pool::of).collect();
        for process in host.processes() {
            let own = pools
                .iter_mut()
                .find(|pool| pool.info.number == process.pool);
            if let Some(pool) = own {
                pool.processes.push(process);
            }
        }
        Self {
            pools,
            unrouted: host.unrouted(),
        }
    }

    /// A value for each pool.
    fn each<V>(&self, value: impl Fn(&Pool) -> V) -> impl Iterator<Item = Labelled<'_, V, 1>> {
        let pools = self.pools.iter();
        pools.map(move |pool| ([("pool", pool.name())], value(pool)))
    }

    /// A sum over the processes of each pool.
    fn sums(&self, of: fn(&ProcessInfo) -> u64) -> impl Iterator<Item = Labelled<'_, u64, 1>> {
        self.each(move |pool| pool.processes.iter().map(of).sum())
    }

    /// Each pool's counts, and those of requests that no pool has.
    fn counts(&self) -> impl Iterator<Item = (&str, &Counts)> {
        let pools = self.pools.iter();
        let pools = pools.map(|pool| (pool.name(), &pool.info.counts));
        pools.chain([(NO_POOL, &self.unrouted)])
    }

    fn responses(&self) -> impl Iterator<Item = Labelled<'_, u64, 2>> {
        self.counts().flat_map(|(pool, counts)| {
            let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter();
            let classes = classes.zip(counts.responses);
            classes.map(move |(class, count)| ([("pool", pool), ("class", class)], count))
        })
    }

    fn exits(&self) -> impl Iterator<Item = Labelled<'_, u64, 2>> {
        self.pools.iter().flat_map(|pool| {
            let exits = pool.info.counts.exits.iter();
            exits.map(|(exit, count)| ([("pool", pool.name()), ("reason", exit.name())], *count))
        })
    }

    fn calls(&self, of: fn(&Calls) -> u64) -> impl Iterator<Item = Labelled<'_, u64, 2>> {
        self.pools.iter().flat_map(move |pool| {
            let ended = &pool.info.counts.calls;
            ended
                .iter()
                .enumerate()
                .map(move |(at, (interface, ended))| {
                    let living = pool
                        .processes
                        .iter()
                        .filter_map(|process| process.calls.get(at));
                    let sum: u64 = living.map(|(_, calls)| of(calls)).sum();
                    let labels = [("pool", pool.name()), ("interface", interface.name())];
                    (labels, sum + of(ended))
                })
        })
    }

    fn states(&self) -> impl Iterator<Item = Labelled<'_, u64, 2>> {
        self.pools.iter().flat_map(|pool| {
            STATES.into_iter().map(|state| {
                let processes = pool.processes.iter();
                let count = processes.filter(|process| process.state == state).count();
                (
                    [("pool", pool.name()), ("state", state.name())],
                    count as u64,
                )
            })
        })
    }

    fn histogram(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        of: fn(&Counts) -> &Histogram,
    ) -> Result<(), Error> {
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (pool, counts) in self.counts() {
            let histogram = of(counts);
            let bounds = Histogram::bounds().map(|bound| bound.as_secs_f64());
            let bounds = bounds.chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(histogram.counts.iter().copied()).collect();
            let count = histogram.counts.iter().sum();
            let labels = [("pool", pool)];
            let mut metric = family.encode_family(&labels)?;
            let sum = histogram.sum.as_secs_f64();
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

impl Collector for InCluster {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        let counts = &self.counts;
        let help = "Hosts that are there, this one included";
        gauges(encoder, "hosts", help, None, alone(self.hosts))?;
        let help = "Requests that went to other hosts, and those of them that were refused there, were lost, \
                    or were tried once more";
        let requests = [
            ("other", counts.asked),
            ("refused", counts.refused),
            ("lost", counts.lost),
            ("retried", counts.retried),
        ];
        let requests = requests.into_iter();
        let requests = requests.map(|(to, count)| ([("to", to)], count));
        counters(encoder, "requests", help, None, requests)?;
        let help = "Requests of other hosts that were answered here";
        counters(encoder, "served", help, None, alone(counts.served))?;
        let help = "Requests that wait for another host, as there is no pool here";
        gauges(encoder, "line", help, None, alone(counts.waiting))?;
        let help = "Frames of other hosts that could not be understood";
        let dropped = alone(counts.dropped_frames);
        counters(encoder, "dropped_frames", help, None, dropped)?;
        let help = "How often messages between processes here and on another host were lost";
        counters(encoder, "lost_mail", help, None, alone(counts.lost_mail))?;
        let help = "Jobs of queues: put, taken, done, given back, and moved to the dead letters";
        let jobs = [
            ("put", counts.jobs_put),
            ("taken", counts.jobs_taken),
            ("done", counts.jobs_done),
            ("given-back", counts.jobs_given_back),
            ("dead", counts.jobs_dead),
        ];
        let jobs = jobs.into_iter();
        let jobs = jobs.map(|(what, count)| ([("what", what)], count));
        counters(encoder, "jobs", help, None, jobs)?;
        let help = "Whether the host is connected to NATS";
        let connected = alone(u64::from(counts.is_connected));
        gauges(encoder, "connected", help, None, connected)
    }
}

impl InCluster {
    fn of(cluster: &Cluster) -> Self {
        Self {
            hosts: cluster.hosts().len() as u64,
            counts: cluster.counts(),
        }
    }
}

impl Pool {
    fn of(info: PoolInfo) -> Self {
        let processes = Vec::new();
        Self { info, processes }
    }

    fn name(&self) -> &str {
        &self.info.name
    }
}

fn counters<'a, V: EncodeCounterValue, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl Iterator<Item = Labelled<'a, V, N>>,
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (labels, value) in values {
        let mut metric = family.encode_family(&labels)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    Ok(())
}

fn gauges<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl Iterator<Item = Labelled<'a, u64, N>>,
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in values {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

/// The only value of a family, which has no labels.
fn alone(value: u64) -> impl Iterator<Item = Labelled<'static, u64, 0>> {
    std::iter::once(([], value))
}
