//! The command line: what can be asked for, what it means by default, and why a value is refused.
//! Nothing is bound or started here, and nothing opened but files of variables.

mod bench;
mod cache;
mod cluster;
pub(crate) mod config;
mod connections;
mod environment;
pub(crate) mod explain;
mod generate;
mod listen;
mod new;
mod pid;
mod program;
mod steer;
mod words;

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use bytesize::ByteSize;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use wasm_pool_host::steps::Steps;
use wasm_pool_host::{
    self as library, ClusterSettings, CoreDumps, HostSettings, Limits, MAX_PROCESSES, Module,
    ModuleBytes, Output, PoolSettings, Settings,
};

use crate::confine::User;
use crate::control::Place as ControlPlace;
pub(crate) use bench::{Bench, Yardstick};
use cache::Cache;
use cluster::InCluster;
pub(crate) use cluster::{Hosts, Push, Role};
pub(crate) use connections::{Connections, TlsFiles};
use environment::Surroundings;
pub(crate) use generate::{Generate, Shell};
pub(crate) use listen::{FIRST_INHERITED, Listen, Place as ListenPlace};
pub(crate) use new::{Language, Name};
pub(crate) use pid::Pid;
pub(crate) use program::{Processes, Run};
pub(crate) use steer::{Drill, Kill, Order, Steer, Trace, WhichHost};
pub(crate) use words::Place;

/// Serves HTTP with a pool of isolated WebAssembly processes.
///
/// Each request runs in a process with its own memory. A process that crashes fails one request,
/// and is replaced.
#[derive(Debug, Parser)]
#[command(
    name = "wasm-pool-host",
    version,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve HTTP: what is done where no command is given
    Serve(Box<Serve>),

    /// Run a program or a command without HTTP; its exit is the exit code
    ///
    /// A program is a module that exports `run`, a command one that exports `wasi:cli/run` or
    /// `_start`. A command has standard input, and is a root without children. What processes print
    /// goes to standard output and standard error as it is. A root that ends normally is exit code
    /// 0, one that exits with a code is that code (255 where it is larger),
    /// one that ran out of time is 124, one that trapped or ran out of memory is 134, one that was
    /// killed is 137. After Ctrl-C it is 130, after SIGTERM 143.
    Run(Run),

    /// Measure what a request costs on this machine, in the three structurings and beside native
    /// threads and fork+exec
    ///
    /// Each is a server of its own, measured one after the other: the work per request step by
    /// step, the throughput and the latency under load, the memory of one more process, and how
    /// many requests notice that a process crashes. Prints a table; JSON and plots on request.
    Bench(Bench),

    /// Serve a file natively: what `bench` measures the structurings against
    #[command(hide = true)]
    Yardstick(Yardstick),

    /// Begin a worker: make a folder with a handler, a test, and what builds them
    New {
        /// The folder's name, and the worker's
        name: Name,

        /// The language to write in
        #[arg(long, visible_alias = "language", value_enum, default_value_t = Language::Rust)]
        lang: Language,
    },

    #[command(flatten)]
    Steer(Steer),

    /// List the hosts of a cluster
    ///
    /// Each host of the cluster is asked over NATS. Whoever asks is no host, and needs none here.
    Hosts(Hosts),

    /// Bring a module to all hosts of a cluster that were started with `--module cluster`
    ///
    /// One host after the other fetches it, compiles it, starts its processes, and has them take
    /// the place of those before; no request fails for this. If a host can't use it, that host goes
    /// on with what it had, and no further host tries: the exit code is 1 then. The hosts go on if
    /// this command is ended.
    Push(Push),

    /// Check a configuration file, or show the effective configuration
    #[command(subcommand)]
    Config(Config),

    /// Write the manual pages, or print completions for a shell
    #[command(subcommand)]
    Generate(Generate),

    /// Say what a module exports and imports, and whether it would run here
    Check {
        /// The component, binary or text
        module: PathBuf,

        /// Memory that one process may have
        #[arg(long, value_name = "SIZE", default_value = DEFAULT_MEMORY, value_parser = size)]
        memory: ByteSize,
    },
}

/// What is asked about a configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Say whether a file can be used, and which pools it makes
    ///
    /// Roots, modules, certificates and the user to become must be there, for whoever asks. Modules
    /// are not compiled, and no port is bound. Flags and variables do not count.
    Check {
        /// The configuration file
        file: PathBuf,
    },

    /// Print what flags, variables and the file come to, as a file, with the source of each value
    Show(Box<Serve>),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Serve {
    /// What was given, and not what is so by default.
    #[arg(skip)]
    given: config::Given,

    #[command(flatten)]
    place: Place,

    /// A configuration in TOML: flags by their names, without dashes in front, and a table [[pool]]
    /// for each pool. Flags come before variables (WASM_POOL_HOST_MEMORY for --memory), and these
    /// before the file
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connections: Connections,

    /// How requests meet processes [default: pool]
    #[arg(long, value_enum)]
    mode: Option<Mode>,

    /// Have a process of a module with `wasi:http/incoming-handler@0.2` serve one request after the
    /// other, not only one. Modules made from JavaScript can't
    #[arg(long)]
    reuse: bool,

    /// Processes: MIN are kept ready, up to MAX are alive under load. One number is both
    /// [default: one per core .. 32 per core]
    #[arg(long, value_name = "N|MIN..MAX")]
    workers: Option<Workers>,

    /// Replace a process after so many requests, less up to an eighth at random [default: never]
    #[arg(long, value_name = "N", value_parser = count)]
    max_requests: Option<NonZeroU64>,

    /// End a process beyond MIN that had nothing to do for so long [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    idle_timeout: Option<Duration>,

    /// Requests that wait while all processes are busy; the next one gets 503 at once [default:
    /// 1024]
    #[arg(long, value_name = "N")]
    queue: Option<usize>,

    /// The longest that a request waits for a process before it gets 503 [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    queue_timeout: Option<Duration>,

    /// The longest that a process may take for a request before it is ended and the client gets 504
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    request_timeout: Duration,

    /// Log a request that takes longer, once and while it runs, with the functions that the worker
    /// is in
    #[arg(long, value_name = "TIME", value_parser = time)]
    slow: Option<Duration>,

    /// Keep the core of a process that traps in this folder, for a debugger: its memories, globals
    /// and stack, one a second at most. They hold what clients have sent
    #[arg(long, value_name = "DIR")]
    core_dumps: Option<PathBuf>,

    /// Core dumps that are kept; the oldest make room [default: 10]
    #[arg(long, value_name = "N", requires = "core_dumps", value_parser = kept)]
    core_dumps_max: Option<NonZeroU32>,

    /// Ask a module that was just loaded this path, and use it only if it answers with 2xx or 3xx
    #[arg(long, value_name = "PATH", value_parser = probe)]
    probe: Option<String>,

    /// The largest request body; a larger one gets 413
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size)]
    max_body: ByteSize,

    /// The largest response body that is copied out of a process; files that it hands over may be
    /// larger
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    max_response: ByteSize,

    /// Connections at one time; the next one gets 503 [default: 4096, or as many as the system's
    /// limit on open files leaves]
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,

    /// Memory that all processes together may have, each counted with --memory. A process that
    /// would exceed it is not started; requests that need one get 503 [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_memory_total: Option<ByteSize>,

    /// How long a client may take to send a request's head or to take any of a response, and how
    /// long a connection may be idle
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    header_timeout: Duration,

    /// When stopping, how long running requests may go on
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub(crate) grace: Duration,

    /// Say in each response which process made it, in the field `x-wasm-pid`
    #[arg(long)]
    expose_pid: bool,

    /// Time what a request costs, and print it in one line of JSON when the server stops: for each
    /// step how often it was done, and how long that took in sum
    #[arg(long)]
    pub(crate) steps: bool,

    /// What goes into the log: `info` has a line per request, `debug` one per process too
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub(crate) log_level: LogLevel,

    /// How the log, on standard error, is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    /// Write the log into this file, behind what stands there. SIGUSR1 opens it anew, so that it
    /// can be renamed meanwhile
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,

    /// Become this user once ports are bound, if the host was started as root: NAME, UID,
    /// NAME:GROUP or UID:GID
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<User>,

    /// Keep all rights that the user has. Without this flag the host gives up what it does not need
    /// before it serves: files, ports and system calls, by Landlock and seccomp, and capabilities
    #[arg(long)]
    pub(crate) no_confine: bool,

    /// End when whoever started this program does, however that ends
    #[arg(long, hide = true)]
    pub(crate) end_with_parent: bool,

    #[command(flatten)]
    cache: Cache,

    /// The Unix socket for `ps`, `top`, `status`, `kill`, `scale`, `reload`, `drain`, `drill`,
    /// `trace`, `log-level` and `stop`, which only this user can reach; `off` for none [default:
    /// wasm-pool-host/PID.sock in $XDG_RUNTIME_DIR, or a folder of the user's own in that for
    /// temporary files]
    #[arg(long, value_name = "PATH|off")]
    control: Option<ControlPlace>,

    /// An address for whoever watches: a live page at /, and /metrics, /healthz, /readyz and
    /// /status.json. Nothing there changes anything. A port alone is one of 127.0.0.1
    #[arg(long, value_name = "ADDRESS", value_parser = listen::parse)]
    pub(crate) admin: Option<Listen>,

    /// Let --admin be an address that others than this machine reach
    #[arg(long, requires = "admin")]
    pub(crate) admin_allow_remote: bool,

    /// When a module's file changes, load it again and have new processes use it. Running
    /// requests finish with the processes they have. A file that can't be loaded changes nothing
    #[arg(long)]
    pub(crate) watch: bool,

    #[command(flatten)]
    pub(crate) guests: Guests,

    #[command(flatten)]
    surroundings: Surroundings,

    /// An argument of guests, behind the name of the module. May be repeated
    #[arg(
        long,
        value_name = "ARG",
        allow_hyphen_values = true,
        help_heading = "What guests find around them"
    )]
    arg: Vec<String>,

    #[command(flatten)]
    processes: Processes,

    #[command(flatten)]
    pub(crate) cluster: InCluster,
}

/// The flags for every guest.
#[derive(Args, Clone, Debug)]
pub(crate) struct Guests {
    /// The folder that guests may read; nothing outside of it can be reached [default: .]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Memory that one process may have, all its memories and tables together
    #[arg(long, value_name = "SIZE", default_value = DEFAULT_MEMORY, value_parser = size)]
    memory: ByteSize,

    /// Files that one process may have open at a time
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) max_open_files: u32,
}

/// The three structurings of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Processes are created at the start and serve one request after the other
    Pool,
    /// A process is created for each request, and ends with it
    PerRequest,
    /// One process, one request at a time: the second waits for the first
    Single,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
}

/// The number of processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workers(library::Workers);

/// The default memory of a process: enough for small interpreters, and eight times what most guests
/// need.
const DEFAULT_MEMORY: &str = "64MiB";

/// Core dumps that are kept by default: enough to compare, few enough to forget.
const CORE_DUMPS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// The largest of the sizes that the host must hold in its own memory.
const MAX_COPIED: ByteSize = ByteSize::gib(4);

/// Longer times than a year are mistakes, and would overflow clocks.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Cli {
    /// What was asked for.
    pub(crate) fn read() -> Command {
        if let Some(error) = words::mistyped(std::env::args_os().nth(1)) {
            error.exit();
        }
        let matches = Self::command().get_matches();
        let cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let mut command = match cli.command {
            Some(command) => command,
            None => Command::Serve(Box::new(cli.serve)),
        };
        let (Command::Serve(serve) | Command::Config(Config::Show(serve))) = &mut command else {
            return command;
        };
        let mut matches = &matches;
        while let Some((_, below)) = matches.subcommand() {
            matches = below;
        }
        serve.given = config::Given::of(matches);
        command
    }
}

/// A bad value is refused like clap refuses one: exit code 2, and where to read on.
pub(crate) fn refuse(problem: &str) -> ! {
    Cli::command()
        .error(clap::error::ErrorKind::ValueValidation, problem)
        .exit()
}

impl Serve {
    /// Turns the flags into settings.
    ///
    /// # Errors
    /// A sentence that names the flag.
    pub(crate) fn settings(&mut self) -> Result<Settings, String> {
        self.check()?;
        self.place.settle(&mut self.guests.root)?;
        let module = match self.place.module.clone() {
            // It is fetched once the host has joined.
            Some(_) if self.is_pushed() => Module::Bytes(ModuleBytes {
                name: words::CLUSTER.to_owned(),
                bytes: Bytes::new(),
            }),
            Some(path) => Module::File(path),
            None => Module::BuiltIn,
        };
        let settings = Settings {
            root: self.guests.root(),
            module,
            cache: self.cache.folder(),
            limits: Limits {
                memory: self.guests.memory.as_u64(),
                open_files: self.guests.max_open_files,
                body: self.max_body.as_u64(),
                response: self.max_response.as_u64(),
                request_time: self.request_timeout,
            },
            pool: PoolSettings {
                mode: self.mode.map(Mode::into),
                reuse: self.reuse,
                workers: self.workers.map(|workers| workers.0),
                max_requests: self.max_requests,
                idle_timeout: self.idle_timeout,
                queue: self.queue,
                queue_timeout: self.queue_timeout,
            },
            program: self.processes.settings(),
            environment: self.surroundings.settings(&self.arg)?,
            output: Output::Log,
            steps: Steps::default(),
            slow: self.slow,
            core_dumps: self.core_dumps.clone().map(|folder| CoreDumps {
                folder,
                most: self.core_dumps_max.unwrap_or(CORE_DUMPS),
            }),
            probe: self.probe.clone(),
        };
        settings
            .check()
            .map_err(|error| explain::settings(&error))?;
        Ok(settings)
    }

    /// Turns the flags into the settings of the host.
    ///
    /// # Errors
    /// A sentence that names the flag.
    pub(crate) fn host_settings(&self) -> Result<HostSettings, String> {
        self.connections.check()?;
        self.cluster.check()?;
        if let Some(admin) = &self.admin {
            self.connections.leaves(admin)?;
        }
        let settings = HostSettings {
            connections: self.max_connections,
            header_time: self.header_timeout,
            memory: self.max_memory_total.map(|size| size.as_u64()),
            expose_pid: self.expose_pid,
            trusted_proxies: self.connections.trusted(),
        };
        settings
            .check()
            .map_err(|error| explain::settings(&error))?;
        Ok(settings)
    }

    /// Turns the flags into the settings of the cluster, if the host is to join one.
    ///
    /// # Errors
    /// A sentence that says which setting can't be used.
    pub(crate) fn cluster_settings(&self) -> Result<Option<ClusterSettings>, String> {
        let usual = library::Line::default();
        let line = library::Line {
            queue: self.queue.unwrap_or(usual.queue),
            queue_timeout: self.queue_timeout.unwrap_or(usual.queue_timeout),
            body: self.max_body.as_u64(),
            body_time: self.request_timeout,
        };
        let settings = self.cluster.settings(line);
        if let Some(settings) = &settings {
            settings.check().map_err(|error| error.to_string())?;
        }
        Ok(settings)
    }

    /// Describes a running pool or program in a line. A program has no workers.
    pub(crate) fn summary(settings: &Settings, workers: Option<library::Workers>) -> String {
        let (module, root) = (&settings.module, settings.root.display());
        if let Some(library::Workers { min, max }) = workers {
            let mode = settings.pool.mode();
            let count = if min == max {
                max.to_string()
            } else {
                format!("{min}..{max}")
            };
            format!("module {module}, mode {mode}, workers {count}, root {root}")
        } else {
            let processes = settings.program.processes();
            format!("program {module}, at most {processes} processes, root {root}")
        }
    }

    /// Whether the module is what is pushed to the cluster.
    pub(crate) fn is_pushed(&self) -> bool {
        self.place.is_pushed()
    }

    fn check(&self) -> Result<(), String> {
        if self.is_pushed() && !self.cluster.is_on() {
            return Err(
                "--module cluster: this is what is pushed over --nats, which is missing; a file of \
                 this name is ./cluster"
                    .to_owned(),
            );
        }
        for (flag, size) in [
            ("--max-body", self.max_body),
            ("--max-response", self.max_response),
            ("--max-mailbox-bytes", self.processes.mailbox_bytes()),
        ] {
            if size > MAX_COPIED {
                return Err(format!("{flag} {size}: must be at most {MAX_COPIED}"));
            }
        }
        Ok(())
    }
}

impl Guests {
    /// # Errors
    /// A sentence that names the flag.
    pub(crate) fn check(&self) -> Result<(), String> {
        let settings = Settings {
            limits: Limits {
                memory: self.memory.as_u64(),
                ..Limits::default()
            },
            ..Settings::default()
        };
        settings.check().map_err(|error| explain::settings(&error))
    }

    fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| ".".into())
    }
}

impl Serve {
    /// The files of variables.
    pub(crate) fn env_files(&self) -> &[PathBuf] {
        self.surroundings.files()
    }

    /// Where the control socket is. A host that another program has started has none unless it is
    /// named.
    pub(crate) fn control(&self) -> ControlPlace {
        let usual = match self.end_with_parent {
            true => ControlPlace::Nowhere,
            false => ControlPlace::Usual,
        };
        self.control.clone().unwrap_or(usual)
    }
}

impl LogLevel {
    /// The level of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }
}

impl Workers {
    /// The least and the most.
    pub(crate) fn bounds(self) -> (u32, u32) {
        (self.0.min, self.0.max)
    }
}

impl From<Mode> for library::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Pool => Self::Pool,
            Mode::PerRequest => Self::PerRequest,
            Mode::Single => Self::Single,
        }
    }
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|_| format!("{text:?} is not a number; give N or MIN..MAX"))
        };
        let (min, max) = match text.split_once("..") {
            Some((min, max)) => (number(min)?, number(max)?),
            None => (number(text)?, number(text)?),
        };
        in_range(max)?;
        if min > max {
            return Err(format!("MIN {min} is more than MAX {max}"));
        }
        Ok(Self(library::Workers { min, max }))
    }
}

fn in_range(processes: u32) -> Result<u32, String> {
    if (1..=MAX_PROCESSES).contains(&processes) {
        Ok(processes)
    } else {
        Err(format!("there must be from 1 to {MAX_PROCESSES}"))
    }
}

/// A number without a unit is seconds.
fn time(text: &str) -> Result<Duration, String> {
    let time = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| format!("{error}; give a time such as 10s or 500ms"))?,
    };
    if time.is_zero() || time > MAX_TIME {
        return Err("must be more than nothing and at most a year".into());
    }
    Ok(time)
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse()
        .map_err(|_| "give a size such as 64MiB or 500KB".into())
}

fn kept(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .map_err(|_| "give a number from 1 up; leave out --core-dumps for none".into())
}

/// The target of a request: a path, perhaps with a query.
fn probe(text: &str) -> Result<String, String> {
    let is_printable = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if text.starts_with('/') && text.bytes().all(is_printable) {
        return Ok(text.to_owned());
    }
    Err("give a path such as /health, without spaces and fragment".into())
}

fn count(text: &str) -> Result<NonZeroU64, String> {
    text.parse()
        .map_err(|_| "give a number from 1 up; leave it out for no limit".into())
}
