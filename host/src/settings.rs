//! *Settings* say which module serves, with how many processes, and within which limits. All have
//! defaults. A setting that only one kind of module uses is optional, so that a host can refuse it
//! for the other kind. [`HostSettings`] are what all modules of one host share.

use std::collections::HashSet;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;

use crate::kind::{Kind, Reusable};
use crate::steps::Steps;

/// The largest number of processes. Linux gives one process an address space of 2^47 bytes. That
/// has room for this many memories of 4 GiB with their guards, and for half as much again of
/// everything else.
pub const MAX_PROCESSES: u32 = 20_000;

/// Processes per core that a pool grows to by default. Enough that some tens of slow requests leave
/// room for quick ones; few enough that all of them at their memory limit fit a usual machine.
pub const WORKERS_PER_CORE: u32 = 32;

/// The settings of a host as a whole.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Connections at one time. `None`: 4096, or fewer if the limit on open files leaves less room.
    pub connections: Option<usize>,
    /// The longest time in which a client sends a head, or takes no byte of a response. Also the
    /// longest time that a connection may be idle.
    pub header_time: Duration,
    /// Memory of all processes in bytes, each counted with its limit, [`Limits::memory`]. A process
    /// that would exceed this is not started. `None` is no limit.
    pub memory: Option<u64>,
    /// Whether each response names the process that made it, in the field `x-wasm-pid`.
    pub expose_pid: bool,
    /// Who may say for which client it asks.
    pub trusted_proxies: TrustedProxies,
}

/// Proxies that name the client for whom they ask, and are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// The networks in which they are.
    pub networks: Vec<IpNet>,
    /// Whether whoever connects to a Unix socket is one of them.
    pub unix: bool,
}

/// The settings of one module and its processes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The root folder: guests may read the files in it.
    pub root: PathBuf,
    /// The component to run.
    pub module: Module,
    /// The folder of the compile cache. `None` compiles at each start. Created if nothing is there.
    /// It must be the user's alone, or it isn't used.
    pub cache: Option<PathBuf>,
    /// Limits of each process and request.
    pub limits: Limits,
    /// The number of processes, for modules that export `handle`.
    pub pool: PoolSettings,
    /// The limits of the process tree, for modules that export `run`.
    pub program: ProgramSettings,
    /// What guests find when they look around.
    pub environment: Environment,
    /// Where the output of guests goes.
    pub output: Output,
    /// Times the steps of each request, if on.
    pub steps: Steps,
    /// A request that takes longer is logged once, while it runs, with the functions that the guest
    /// is in. Not for programs.
    pub slow: Option<Duration>,
    /// Where the cores of processes go that trap. [`Limits::memory`] may be 1 GiB at most then.
    pub core_dumps: Option<CoreDumps>,
    /// A path that a module must answer with a status of 2xx or 3xx before it gets any request.
    pub probe: Option<String>,
}

/// Core dumps of processes that trap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreDumps {
    /// The folder. Created if nothing is there.
    pub folder: PathBuf,
    /// The most files that are kept there: the oldest make room.
    pub most: NonZeroU32,
}

/// Limits of each process and request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory of one process in bytes: the sum of its memories and tables.
    pub memory: u64,
    /// Files that one process may have open.
    pub open_files: u32,
    /// The largest request body, in bytes.
    pub body: u64,
    /// The largest response body that is copied out of a process, in bytes. Files may be larger.
    pub response: u64,
    /// The longest time from the moment a process has a request until its answer. Start code may
    /// take as long, and so may reading the request's body.
    pub request_time: Duration,
}

/// How a pool assigns requests to processes. `None` means the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolSettings {
    /// The structuring. [`Mode::Pool`] by default.
    pub mode: Option<Mode>,
    /// Whether a process of a module with `wasi:http/incoming-handler@0.2` serves more than one
    /// request. Not all such modules can.
    pub reuse: bool,
    /// The number of processes. By default one per core, growing to [`WORKERS_PER_CORE`] per core.
    pub workers: Option<Workers>,
    /// A process is replaced after this many requests, less up to an eighth at random. Never by
    /// default.
    pub max_requests: Option<NonZeroU64>,
    /// A process beyond the minimum ends after it was idle for this long. 10 s by default.
    pub idle_timeout: Option<Duration>,
    /// Requests that may wait for a process. 1,024 by default.
    pub queue: Option<usize>,
    /// How long a request waits for a process. 5 s by default.
    pub queue_timeout: Option<Duration>,
}

/// The three ways to structure a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each process serves one request after the other.
    Pool,
    /// Each process serves one request.
    PerRequest,
    /// There is one process. It serves one request after the other.
    Single,
}

/// The number of processes in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// The pool keeps this many alive. With [`Mode::PerRequest`], it keeps this many ready that
    /// have served nobody.
    pub min: u32,
    /// At most this many are alive. From 1 to [`MAX_PROCESSES`].
    pub max: u32,
}

/// The limits of a program's process tree. `None` means the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProgramSettings {
    /// Processes alive at one time. 4,096 by default.
    pub processes: Option<u32>,
    /// Children of one process. 1,024 by default.
    pub children: Option<usize>,
    /// Messages in one mailbox. A process may monitor as many processes. 4,096 by default.
    pub mailbox_messages: Option<usize>,
    /// Bytes in one mailbox. 8 MiB by default.
    pub mailbox_bytes: Option<u64>,
    /// Bytes of one message between processes. 1 MiB by default.
    pub message: Option<u64>,
    /// Registered names in total. 1,024 by default.
    pub names: Option<usize>,
}

/// What guests find beside their files: arguments, variables, configuration, other servers. Empty
/// by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Arguments behind the first, which is the name of the module. The processes of a program
    /// have those that their parents gave them; these are the root process's.
    pub args: Vec<String>,
    /// Environment variables. Of two with one name, the last counts.
    pub variables: Vec<(String, String)>,
    /// The values of `wasi:config/store`. Of two with one key, the last counts.
    pub config: Vec<(String, String)>,
    /// Whether WASI's file system has the root folder, read-only, at `/`. Otherwise it is empty.
    pub wasi_root: bool,
    /// The servers that guests may send requests to.
    pub outbound: Vec<Destination>,
}

/// Servers that guests may send requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// A host name, or an address without brackets, in lower case. `*.` in front of a name stands
    /// for any names below it.
    pub host: String,
    /// The port. `None` means the default port of the scheme: 80 or 443.
    pub port: Option<u16>,
}

/// The source of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// The static file server that is compiled into this library.
    BuiltIn,
    /// A component in a file, as a binary or as text.
    File(PathBuf),
    /// What such a file holds.
    Bytes(ModuleBytes),
}

/// A module that is in no file.
#[derive(Clone, PartialEq, Eq)]
pub struct ModuleBytes {
    /// The name, for people.
    pub name: String,
    /// A component, as a binary or as text.
    pub bytes: Bytes,
}

/// The destination of guests' standard output and standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Into the log, line by line.
    Log,
    /// To standard output and standard error of the host, unchanged.
    Inherit,
}

/// The name of one setting, for errors.
#[allow(missing_docs)] // the variants are named after the fields above
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Memory,
    Connections,
    Mode,
    Reuse,
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
    Slow,
}

impl Setting {
    /// Why the setting has no effect for modules of this kind, and for which it has.
    #[must_use]
    pub fn unused_by(self, kind: Kind) -> String {
        let export = kind.export();
        let (but, meant) = match (self, kind) {
            (Self::Reuse, Kind::Program) => ("starts processes as it likes", Kind::Http02),
            (Self::Reuse, _) => match kind.reusable() {
                Reusable::Never => ("a process of it can answer only one request", Kind::Http02),
                Reusable::Always | Reusable::OnRequest => {
                    ("its processes serve many requests already", Kind::Http02)
                }
            },
            (_, Kind::Program) => ("starts processes as it likes", Kind::Handler),
            (_, _) => ("", Kind::Program),
        };
        let and = if but.is_empty() { "" } else { ", and " };
        let meant = meant.export();
        format!(
            "the module exports `{export}`{and}{but}; this is for modules that export `{meant}`"
        )
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: ".".into(),
            module: Module::BuiltIn,
            cache: None,
            limits: Limits::default(),
            pool: PoolSettings::default(),
            program: ProgramSettings::default(),
            environment: Environment::default(),
            output: Output::Log,
            steps: Steps::default(),
            slow: None,
            core_dumps: None,
            probe: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20, // small interpreters need this much; most guests need an eighth
            open_files: 64,
            body: 1 << 20,
            response: 64 << 20,
            request_time: Duration::from_secs(30),
        }
    }
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            connections: None,
            header_time: Duration::from_secs(10),
            memory: None,
            expose_pid: false,
            trusted_proxies: TrustedProxies::default(),
        }
    }
}

impl TrustedProxies {
    /// Whether this is the address of one of them. An IPv4 address in an IPv6 one counts as itself.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

impl PoolSettings {
    /// The first setting that is set, if any.
    pub(crate) fn first_set(&self) -> Option<Setting> {
        let Self {
            mode,
            reuse,
            workers,
            max_requests,
            idle_timeout,
            queue,
            queue_timeout,
        } = self;
        let all = [
            (mode.is_some(), Setting::Mode),
            (*reuse, Setting::Reuse),
            (workers.is_some(), Setting::Workers),
            (max_requests.is_some(), Setting::MaxRequests),
            (idle_timeout.is_some(), Setting::IdleTimeout),
            (queue.is_some(), Setting::Queue),
            (queue_timeout.is_some(), Setting::QueueTimeout),
        ];
        first(all)
    }

    /// The structuring, or its default.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or(Mode::Pool)
    }

    /// The number of processes, or its default on a machine with this many cores.
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
    pub(crate) fn first_set(&self) -> Option<Setting> {
        let Self {
            processes,
            children,
            mailbox_messages,
            mailbox_bytes,
            message,
            names,
        } = self;
        let all = [
            (processes.is_some(), Setting::Processes),
            (children.is_some(), Setting::Children),
            (mailbox_messages.is_some(), Setting::MailboxMessages),
            (mailbox_bytes.is_some(), Setting::MailboxBytes),
            (message.is_some(), Setting::Message),
            (names.is_some(), Setting::Names),
        ];
        first(all)
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

impl Environment {
    /// The same environment, with one value for each name.
    pub(crate) fn settled(&self) -> Self {
        let last = |pairs: &[(String, String)]| {
            let mut seen = HashSet::new();
            let lasts = pairs.iter().rev().filter(|(name, _)| seen.insert(name));
            let mut lasts: Vec<_> = lasts.cloned().collect();
            lasts.reverse();
            lasts
        };
        Self {
            variables: last(&self.variables),
            config: last(&self.config),
            ..self.clone()
        }
    }
}

impl Module {
    /// The name of the module's file, or that of the built-in worker.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::BuiltIn | Self::Bytes(_) => self.to_string(),
            Self::File(path) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                name.to_string_lossy().into_owned()
            }
        }
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
            Self::Bytes(module) => f.write_str(&module.name),
        }
    }
}

impl std::fmt::Debug for ModuleBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModuleBytes")
            .field("name", &self.name)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}
