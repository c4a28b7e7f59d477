//! *Settings* say what is served, by how many processes, within which limits. All have defaults. A
//! setting that only one kind of module heeds is optional, so that a host can refuse it for the
//! other.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use crate::steps::Steps;

/// The most processes: the address space of one process of Linux, 2^47 bytes, has room for so many
/// memories of 4 GiB and their guards, and for half as much again of everything else.
pub const MAX_PROCESSES: u32 = 20_000;

/// Processes per core that a pool grows to by default: enough that some tens of slow requests leave
/// room for quick ones, few enough that all of them at their memory limit fit a usual machine.
pub const WORKERS_PER_CORE: u32 = 32;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that guests may read.
    pub root: PathBuf,
    /// The worker.
    pub module: Module,
    /// What each process, request and client may have.
    pub limits: Limits,
    /// How many processes there are, where the module exports `handle`.
    pub pool: PoolSettings,
    /// How many of everything there may be, where the module exports `run`.
    pub program: ProgramSettings,
    /// Where guests print to.
    pub output: Output,
    /// Whether responses say which process made them, in the field `x-wasm-pid`.
    pub expose_pid: bool,
    /// Times the steps of each request, where on.
    pub steps: Steps,
}

/// What each process, request and client may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory of one process in bytes, all its memories and tables together.
    pub memory: u64,
    /// Files that one process may have open.
    pub open_files: u32,
    /// The largest request body, in bytes.
    pub body: u64,
    /// The largest response body in bytes that is copied out of a process. Files may be larger.
    pub response: u64,
    /// From the moment a process has a request until it must have answered. Start code, and reading
    /// the request's body, may each take as long.
    pub request_time: Duration,
    /// How long a client may take to send a head, or to read any of a response; also how long a
    /// connection may be idle.
    pub header_time: Duration,
    /// Connections at one time. None: 4096, or as many as the limit on open files leaves room for.
    pub connections: Option<usize>,
}

/// How requests meet processes. None means the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolSettings {
    /// The structuring. [`Mode::Pool`] by default.
    pub mode: Option<Mode>,
    /// How many processes. One per core, up to [`WORKERS_PER_CORE`] for each core, by default.
    pub workers: Option<Workers>,
    /// A process is replaced after so many requests, less up to an eighth at random. Never by
    /// default.
    pub max_requests: Option<NonZeroU64>,
    /// A process beyond the minimum ends when it had nothing to do for so long. 10 s by default.
    pub idle_timeout: Option<Duration>,
    /// Requests that may wait for a process. 1,024 by default.
    pub queue: Option<usize>,
    /// How long a request waits for a process. 5 s by default.
    pub queue_timeout: Option<Duration>,
}

/// The three structurings of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Processes serve one request after the other.
    Pool,
    /// Each process serves one request.
    PerRequest,
    /// There is one process, which serves one request after the other.
    Single,
}

/// How many processes a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// So many are kept alive. With [`Mode::PerRequest`] they wait ready, and have served nobody.
    pub min: u32,
    /// So many are alive at most. From 1 to [`MAX_PROCESSES`].
    pub max: u32,
}

/// How many of everything a program may have. None means the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProgramSettings {
    /// Processes alive at one time. 4,096 by default.
    pub processes: Option<u32>,
    /// Children of one process. 1,024 by default.
    pub children: Option<usize>,
    /// Messages in one mailbox; as many processes may be monitored. 4,096 by default.
    pub mailbox_messages: Option<usize>,
    /// Bytes in one mailbox. 8 MiB by default.
    pub mailbox_bytes: Option<u64>,
    /// Bytes of one message between processes. 1 MiB by default.
    pub message: Option<u64>,
    /// Registered names in all. 1,024 by default.
    pub names: Option<usize>,
}

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// The static file server that is compiled into this library.
    BuiltIn,
    /// A component in a file, as a binary or as text.
    File(PathBuf),
}

/// Where guests' standard output and standard error go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Into the log, line by line.
    Log,
    /// To those of the host, as they are.
    Inherit,
}

/// One setting, for errors to name.
#[allow(missing_docs)] // named after the fields above
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Memory,
    Connections,
    Mode,
    Workers,
    MaxRequests,
    IdleTimeout,
    Queue,
    QueueTimeout,
    Processes,
    Children,
    MailboxMessages,
    MailboxBytes,
    Message,
    Names,
    Steps,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: ".".into(),
            module: Module::BuiltIn,
            limits: Limits::default(),
            pool: PoolSettings::default(),
            program: ProgramSettings::default(),
            output: Output::Log,
            expose_pid: false,
            steps: Steps::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20, // as much as small interpreters need, and eight times what most do
            open_files: 64,
            body: 1 << 20,
            response: 64 << 20,
            request_time: Duration::from_secs(30),
            header_time: Duration::from_secs(10),
            connections: None,
        }
    }
}

impl PoolSettings {
    /// The settings that were made, the first of them if any.
    pub(crate) fn given(&self) -> Option<Setting> {
        let Self {
            mode,
            workers,
            max_requests,
            idle_timeout,
            queue,
            queue_timeout,
        } = self;
        let given = [
            (mode.is_some(), Setting::Mode),
            (workers.is_some(), Setting::Workers),
            (max_requests.is_some(), Setting::MaxRequests),
            (idle_timeout.is_some(), Setting::IdleTimeout),
            (queue.is_some(), Setting::Queue),
            (queue_timeout.is_some(), Setting::QueueTimeout),
        ];
        first(given)
    }

    /// The structuring, with its default.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or(Mode::Pool)
    }

    /// How many processes, with the defaults for a machine of so many cores.
    #[must_use]
    pub fn workers(&self, cores: u32) -> Workers {
        match (self.mode(), self.workers) {
            (Mode::Single, _) => Workers { min: 1, max: 1 },
            (Mode::Pool | Mode::PerRequest, Some(workers)) => workers,
            (Mode::Pool | Mode::PerRequest, None) => {
                let max = cores.saturating_mul(WORKERS_PER_CORE).min(MAX_PROCESSES);
                Workers {
                    min: cores.min(max),
                    max,
                }
            }
        }
    }
}

impl ProgramSettings {
    pub(crate) fn given(&self) -> Option<Setting> {
        let Self {
            processes,
            children,
            mailbox_messages,
            mailbox_bytes,
            message,
            names,
        } = self;
        let given = [
            (processes.is_some(), Setting::Processes),
            (children.is_some(), Setting::Children),
            (mailbox_messages.is_some(), Setting::MailboxMessages),
            (mailbox_bytes.is_some(), Setting::MailboxBytes),
            (message.is_some(), Setting::Message),
            (names.is_some(), Setting::Names),
        ];
        first(given)
    }

    /// Processes alive at one time.
    #[must_use]
    pub fn processes(&self) -> u32 {
        self.processes.unwrap_or(4096)
    }

    pub(crate) fn mailbox_bytes(&self) -> u64 {
        self.mailbox_bytes.unwrap_or(8 << 20)
    }

    pub(crate) fn message(&self) -> u64 {
        self.message.unwrap_or(1 << 20)
    }
}

fn first(settings: impl IntoIterator<Item = (bool, Setting)>) -> Option<Setting> {
    let mut settings = settings.into_iter();
    settings.find_map(|(is_given, setting)| is_given.then_some(setting))
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pool => "pool",
            Self::PerRequest => "per-request",
            Self::Single => "single",
        })
    }
}

impl std::fmt::Display for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}
