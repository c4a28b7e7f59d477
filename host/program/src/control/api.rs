//! What goes over the control socket, as JSON: the same types for both sides. Times are in
//! milliseconds, sizes in bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasm_pool_host::{Histogram, HostInfo, PoolInfo, ProcessInfo};

/// `GET /processes` answers with a list of these, sorted by pid.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: u64,
    pub(crate) pool: String,
    pub(crate) kind: String,
    pub(crate) state: String,
    /// How long it has been in this state.
    pub(crate) state_ms: u64,
    pub(crate) age_ms: u64,
    /// Answered requests.
    pub(crate) requests: u64,
    /// The number of the current request, and how long it has run.
    pub(crate) request: Option<u64>,
    pub(crate) request_ms: Option<u64>,
    pub(crate) memory: u64,
    pub(crate) cpu_ms: u64,
    pub(crate) open_files: u32,
    /// Messages in the mailbox of a program's process.
    pub(crate) messages: Option<usize>,
    pub(crate) parent: Option<u64>,
    pub(crate) names: Vec<String>,
}

/// How a process is ended, which is the query of `DELETE /processes/PID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// At once.
    Plain,
    /// By a trap where its guest is.
    Trap,
    /// In the middle of a request.
    Serving,
}

impl Way {
    const ALL: [Self; 3] = [Self::Plain, Self::Trap, Self::Serving];

    pub(crate) fn query(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Trap => "trap",
            Self::Serving => "serving",
        }
    }

    pub(crate) fn of(query: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.query() == query)
    }
}

/// `GET /status` answers with this.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    /// The operating system's process id of the host.
    pub(crate) pid: u32,
    pub(crate) address: String,
    pub(crate) age_ms: u64,
    /// Requests that processes have answered.
    pub(crate) answered: u64,
    /// Why the host is not ready for requests, if it is not.
    pub(crate) obstacle: Option<String>,
    pub(crate) pools: Vec<Pool>,
    /// Processes that have ended, by exit.
    pub(crate) ended: std::collections::BTreeMap<String, u64>,
    /// The hosts of its cluster, this one first. There are none if it is alone.
    #[serde(default)]
    pub(crate) hosts: Vec<ClusterHost>,
}

/// A host of a cluster, as it was last heard.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ClusterHost {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) version: String,
    /// Processes that there may be.
    pub(crate) seats: u32,
    /// Requests that run.
    pub(crate) running: u32,
    /// Requests that wait for a process.
    pub(crate) waiting: u32,
    /// Whether it takes no new requests.
    pub(crate) is_draining: bool,
    /// The beginning of its module's digest. Empty if it has none.
    pub(crate) module: String,
    /// The first place where clients find it. Empty if there is none.
    pub(crate) address: String,
    /// The pools that serve what is pushed, and the beginnings of the digests of what they serve.
    #[serde(default)]
    pub(crate) follows: BTreeMap<String, String>,
    /// How long ago that was.
    pub(crate) heard_ms: u64,
    /// Whether it is the host that says this.
    pub(crate) is_this: bool,
}

/// A pool or a program.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) routes: Vec<String>,
    pub(crate) kind: String,
    pub(crate) module: String,
    /// Processes that are kept alive, and that there may be. A program has neither.
    pub(crate) min: Option<u32>,
    pub(crate) max: Option<u32>,
    /// Living processes: those that are idle, and all.
    pub(crate) idle: usize,
    pub(crate) alive: usize,
    /// Requests that wait for a process.
    pub(crate) waiting: usize,
    /// The number of the module's loading: 1 for the first.
    pub(crate) generation: u64,
    pub(crate) memory: u64,
    /// Whether it takes no new requests.
    pub(crate) is_draining: bool,
    /// Whether its processes can't be started at present.
    pub(crate) is_failing: bool,
    /// Responses since the start, by the first digit of their status.
    pub(crate) responses: [u64; 5],
    /// Requests that got no process.
    pub(crate) refused: u64,
    /// Processes that ended because they failed or were killed, and so were replaced.
    pub(crate) restarts: u64,
    /// Times of all requests since the start.
    pub(crate) latency: Latency,
}

/// How long requests took, from the head of the request to that of the response.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Latency {
    pub(crate) requests: u64,
    /// In microseconds: half of all requests took less, and so on. None if there were none.
    pub(crate) p50_us: Option<u64>,
    pub(crate) p90_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
    /// How many requests took at most as long as each of the host's bounds, and longer than the
    /// bound before.
    pub(crate) counts: Vec<u64>,
}

/// What happened in a pool between two moments.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Rate {
    /// A second.
    pub(crate) requests: f64,
    /// Responses with 5xx, a second.
    pub(crate) failed: f64,
    pub(crate) p50_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
}

/// `PUT /pools/NAME/workers` takes this.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workers {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// `POST /reload` answers with this.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Reloaded {
    /// Flags of the host as a whole that have changed, and stay as they were.
    pub(crate) needs_a_new_start: Vec<String>,
}

/// `PUT /log-level` takes this.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Level {
    pub(crate) level: String,
}

/// `POST /stop` takes this.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stopping {
    /// How long running requests may go on; what the host was started with if none.
    pub(crate) grace_ms: Option<u64>,
}

/// The body of every refusal.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Refusal {
    pub(crate) error: String,
}

impl Latency {
    pub(crate) fn of(times: &Histogram) -> Self {
        Self::from(times.counts.clone())
    }

    /// What came since `before`.
    fn since(&self, before: &Self) -> Self {
        let counts = self.counts.iter().enumerate();
        let counts = counts.map(|(at, count)| {
            let before = before.counts.get(at).copied().unwrap_or_default();
            count.saturating_sub(before)
        });
        Self::from(counts.collect::<Vec<_>>())
    }
}

impl From<Vec<u64>> for Latency {
    fn from(counts: Vec<u64>) -> Self {
        let percentile = |share| percentile(&counts, share);
        Self {
            requests: counts.iter().sum(),
            p50_us: percentile(0.5),
            p90_us: percentile(0.9),
            p99_us: percentile(0.99),
            counts,
        }
    }
}

/// The time in microseconds that this share of requests took at most. Within a bucket, times count
/// as spread evenly.
fn percentile(counts: &[u64], share: f64) -> Option<u64> {
    let all: u64 = counts.iter().sum();
    let wanted = all as f64 * share;
    let bounds: Vec<u64> = Histogram::bounds()
        .map(|bound| bound.as_micros() as u64)
        .collect();
    let (mut below, mut least) = (0, 0);
    for (at, count) in counts.iter().enumerate().filter(|_| all > 0) {
        // The last bucket has no upper bound.
        let most = bounds.get(at).copied().unwrap_or(least);
        if *count > 0 && (below + count) as f64 >= wanted {
            let part = (wanted - below as f64) / *count as f64;
            return Some(least + ((most - least) as f64 * part) as u64);
        }
        (below, least) = (below + count, most);
    }
    None
}

/// What happened in each pool of `after` since `before`.
pub(crate) fn rates(before: &Status, after: &Status) -> Vec<Rate> {
    let time = Duration::from_millis(after.age_ms.saturating_sub(before.age_ms));
    let a_second = |count: u64| match time.is_zero() {
        true => 0.0,
        false => count as f64 / time.as_secs_f64(),
    };
    let rates = after.pools.iter().map(|pool| {
        let same = |other: &&Pool| other.name == pool.name;
        let Some(before) = before.pools.iter().find(same) else {
            return Rate::default();
        };
        let latency = pool.latency.since(&before.latency);
        let since = |of: fn(&Pool) -> u64| of(pool).saturating_sub(of(before));
        Rate {
            requests: a_second(since(|pool| pool.responses.iter().sum())),
            failed: a_second(since(|pool| pool.responses[4])),
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
        }
    });
    rates.collect()
}

impl From<HostInfo> for ClusterHost {
    fn from(host: HostInfo) -> Self {
        Self {
            number: host.number,
            name: host.name,
            role: host.role.name().to_owned(),
            version: host.version,
            seats: host.seats,
            running: host.running,
            waiting: host.waiting,
            is_draining: host.is_draining,
            module: host.module,
            address: host.address,
            follows: host.follows,
            heard_ms: u64::try_from(host.heard.as_millis()).unwrap_or(u64::MAX),
            is_this: host.is_this,
        }
    }
}

impl Process {
    pub(crate) fn of(process: ProcessInfo, pools: &[PoolInfo]) -> Self {
        let pool = pools.iter().find(|pool| pool.number == process.pool);
        let ms = |time: std::time::Duration| time.as_millis() as u64;
        let (request, request_time) = process.request.unzip();
        Self {
            pid: process.pid.get(),
            pool: pool.map(|pool| pool.name.clone()).unwrap_or_default(),
            kind: process.kind.export().to_owned(),
            state: process.state.name().to_owned(),
            state_ms: ms(process.state_for),
            age_ms: ms(process.age),
            requests: process.served,
            request,
            request_ms: request_time.map(ms),
            memory: process.memory,
            cpu_ms: ms(process.cpu),
            open_files: process.open_files,
            messages: process.messages,
            parent: process.parent.map(|parent| parent.get()),
            names: process.names.iter().map(|name| name.to_string()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_within_their_bucket() {
        // Up to 100 us, 250 us, 500 us.
        let latency = Latency::from(vec![50, 49, 1]);
        assert_eq!((latency.requests, latency.p50_us), (100, Some(100)));
        assert_eq!((latency.p90_us, latency.p99_us), (Some(222), Some(250)));
        assert_eq!(Latency::from(vec![0, 0]).p50_us, None);
        let later = Latency::from(vec![50, 49, 1, 4]);
        let since = later.since(&latency);
        assert_eq!((since.requests, since.p50_us), (4, Some(750)));
    }
}
