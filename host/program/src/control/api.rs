//! What goes over the control socket, as JSON: the same types for both sides. Times are in
//! milliseconds, sizes in bytes.

use serde::{Deserialize, Serialize};
use wasm_pool_host::{PoolInfo, ProcessInfo};

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

/// The query of `DELETE /processes/PID` that has the process trap.
pub(crate) const TRAP: &str = "trap";

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
    pub(crate) pools: Vec<Pool>,
    /// Processes that have ended, by exit.
    pub(crate) ended: std::collections::BTreeMap<String, u64>,
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
    /// How often the module has been loaded.
    pub(crate) generation: u64,
    pub(crate) memory: u64,
}

/// `PUT /pools/NAME/workers` takes this.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workers {
    pub(crate) min: u32,
    pub(crate) max: u32,
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

impl Process {
    pub(crate) fn of(process: ProcessInfo, pools: &[PoolInfo]) -> Self {
        let pool = pools.get(process.pool as usize);
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
