//! The *metrics* of a host, as OpenMetrics. Their labels are names of pools, states, exits and
//! classes of statuses: never anything that a client or a guest chooses.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use wasm_pool_host::{Counts, Histogram, Host, PoolInfo, ProcessInfo, State};

/// What all names begin with.
const PREFIX: &str = "wasm_pool_host";

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
    pools: Vec<PoolInfo>,
    processes: Vec<ProcessInfo>,
    unrouted: Counts,
}

/// All metrics, in the text format.
///
/// # Errors
/// If they can't be formatted, which has no reason to happen.
pub(super) fn text(host: &Host) -> Result<String, Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Sample {
        pools: host.pools(),
        processes: host.processes(),
        unrouted: host.unrouted(),
    }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        encoder
            .encode_descriptor("build", "The running version", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        self.responses(encoder)?;
        let help = "Requests that no process could take";
        self.counter(encoder, "refused", help, None, |pool| {
            pool.counts.refused as f64
        })?;
        let help = "Time from a request's head to the head of its response";
        self.histogram(encoder, "request", help, |counts| &counts.requests)?;
        let help = "Time that requests waited for a process";
        self.histogram(encoder, "queue", help, |counts| &counts.waits)?;
        let help = "Time that processes took to start";
        self.histogram(encoder, "start", help, |counts| &counts.starts)?;
        self.exits(encoder)?;
        let help = "CPU time of all processes, the ended ones included";
        self.counter(encoder, "cpu", help, Some(&Unit::Seconds), |pool| {
            let living = self.of(pool).map(|process| process.cpu.as_secs_f64());
            pool.counts.cpu.as_secs_f64() + living.sum::<f64>()
        })?;
        self.states(encoder)?;
        let help = "Requests that wait for a process";
        self.gauge(encoder, "line", help, None, |pool| pool.waiting as u64)?;
        let help = "Memory of all processes";
        self.gauge(encoder, "memory", help, Some(&Unit::Bytes), |pool| {
            self.of(pool).map(|process| process.memory).sum()
        })?;
        let help = "Open files of all processes";
        self.gauge(encoder, "open_files", help, None, |pool| {
            self.of(pool)
                .map(|process| u64::from(process.open_files))
                .sum()
        })?;
        let help = "Messages in all mailboxes";
        self.gauge(encoder, "mailbox_messages", help, None, |pool| {
            self.of(pool)
                .filter_map(|process| process.messages)
                .sum::<usize>() as u64
        })?;
        let help = "How often the module has been loaded";
        self.gauge(encoder, "generation", help, None, |pool| pool.generation)?;
        let help = "Whether processes can be started";
        self.gauge(encoder, "up", help, None, |pool| {
            u64::from(!pool.is_failing)
        })
    }
}

impl Sample {
    /// The processes of a pool.
    fn of(&self, pool: &PoolInfo) -> impl Iterator<Item = &ProcessInfo> {
        let number = self.pools.iter().position(|other| other.name == pool.name);
        let own = move |process: &&ProcessInfo| Some(process.pool as usize) == number;
        self.processes.iter().filter(own)
    }

    /// Each pool's counts, and those of requests that no pool has.
    fn counts(&self) -> impl Iterator<Item = (&str, &Counts)> {
        let pools = self.pools.iter().map(|pool| (&*pool.name, &pool.counts));
        pools.chain([(NO_POOL, &self.unrouted)])
    }

    fn responses(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Answered requests, by the class of their status";
        let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for (pool, counts) in self.counts() {
            for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .iter()
                .zip(&counts.responses)
            {
                let labels = [("pool", pool), ("class", class)];
                let mut metric = family.encode_family(&labels)?;
                metric.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }
        Ok(())
    }

    fn exits(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Processes that have ended, by the reason";
        let mut family = encoder.encode_descriptor("exits", help, None, MetricType::Counter)?;
        for pool in &self.pools {
            for (exit, count) in &pool.counts.exits {
                let labels = [("pool", &*pool.name), ("reason", exit.name())];
                let mut metric = family.encode_family(&labels)?;
                metric.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }
        Ok(())
    }

    fn states(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Living processes, by state";
        let mut family = encoder.encode_descriptor("processes", help, None, MetricType::Gauge)?;
        for pool in &self.pools {
            for state in STATES {
                let labels = [("pool", &*pool.name), ("state", state.name())];
                let count = self
                    .of(pool)
                    .filter(|process| process.state == state)
                    .count();
                family
                    .encode_family(&labels)?
                    .encode_gauge(&(count as u64))?;
            }
        }
        Ok(())
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: impl Fn(&PoolInfo) -> f64,
    ) -> Result<(), Error> {
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for pool in &self.pools {
            let labels = [("pool", &*pool.name)];
            let mut metric = family.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&value(pool), None)?;
        }
        Ok(())
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: impl Fn(&PoolInfo) -> u64,
    ) -> Result<(), Error> {
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for pool in &self.pools {
            let labels = [("pool", &*pool.name)];
            family.encode_family(&labels)?.encode_gauge(&value(pool))?;
        }
        Ok(())
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
