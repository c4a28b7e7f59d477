//! What the command line says about programs: their limits, running one without HTTP, and which flags only
//! modules of one world heed.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use wasm_pool_host::sandbox::{Module, Output, World};
use wasm_pool_host::steps::Steps;
use wasm_pool_host::{RunSettings, mailbox, sandbox, table};

use super::{Guests, LogFormat, LogLevel, MAX_COPIED, in_range, size};

/// How long the start code of a program's process may take where no request's time says so.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What the head of a request may weigh in a mailbox, beside its body: more than hyper's buffer takes.
const HEAD_SIZE: ByteSize = ByteSize::kib(512);

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The program: a component, binary or text (.wat)
    module: PathBuf,

    /// What goes into the log: `warn` has processes that failed, `debug` every start and end
    #[arg(long, value_enum, default_value_t = LogLevel::Warn)]
    pub(crate) log_level: LogLevel,

    /// How the log, on standard error, is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    /// The root's arguments, behind `--`
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,

    #[command(flatten)]
    pub(crate) guests: Guests,

    #[command(flatten)]
    processes: Processes,
}

/// What goes for programs: modules that export `run`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Programs (modules that export `run`)")]
pub(crate) struct Processes {
    /// Processes alive at one time
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = processes)]
    pub(super) max_processes: u32,

    /// Children that one process may have at a time
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_children: usize,

    /// Messages that one mailbox holds; as many processes may be monitored. Of an HTTP program's root: the
    /// requests that wait for it; the next one gets 503
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = messages)]
    max_mailbox: usize,

    /// Bytes that one mailbox holds, all its messages together
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = size)]
    pub(super) max_mailbox_bytes: ByteSize,

    /// Bytes of one message from process to process
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size)]
    pub(super) max_message: ByteSize,

    /// Names that processes may have registered, all together
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_names: usize,
}

impl Run {
    /// Fits what was asked for together.
    ///
    /// # Errors
    /// A sentence that names the flag.
    pub(crate) fn settings(&self) -> Result<RunSettings, String> {
        self.guests.check()?;
        self.processes.check()?;
        Ok(RunSettings {
            root: self.guests.root(),
            sandbox: sandbox::Settings {
                module: Module::File(self.module.clone()),
                handlers: 1,
                processes: self.processes.max_processes,
                memory: self.guests.memory.as_u64(),
                // Nobody is there to take a request or a response, whatever its size.
                max_response: self.guests.memory.as_u64(),
                max_body: self.guests.memory.as_u64(),
                max_message: self.processes.max_message.as_u64(),
                max_open_files: self.guests.max_open_files,
                max_open_files_in_all: u32::MAX,
                output: Output::Inherit,
                steps: Steps::default(),
            },
            processes: self.processes.settings(),
            patience: START_TIMEOUT,
        })
    }
}

impl Processes {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.max_mailbox_bytes < self.max_message {
            return Err(format!(
                "--max-mailbox-bytes {}: must have room for one message, --max-message {}",
                self.max_mailbox_bytes, self.max_message
            ));
        }
        if self.max_mailbox_bytes > MAX_COPIED {
            return Err(format!(
                "--max-mailbox-bytes {}: must be at most {MAX_COPIED}",
                self.max_mailbox_bytes
            ));
        }
        Ok(())
    }

    /// Whether the largest request fits a mailbox.
    pub(super) fn fit_requests(&self, max_body: ByteSize) -> Result<(), String> {
        if self.max_mailbox_bytes < max_body + HEAD_SIZE {
            return Err(format!(
                "--max-mailbox-bytes {}: must have room for the largest request, --max-body {max_body} and \
                 {HEAD_SIZE} for its head",
                self.max_mailbox_bytes
            ));
        }
        Ok(())
    }

    pub(super) fn settings(&self) -> table::Settings {
        table::Settings {
            processes: self.max_processes,
            children: self.max_children,
            names: self.max_names,
            mailbox: mailbox::Settings {
                messages: self.max_mailbox,
                bytes: usize::try_from(self.max_mailbox_bytes.as_u64()).unwrap_or(usize::MAX),
            },
        }
    }
}

/// Flags that mean nothing to a handler, or to a program: whoever gives one would wait for its effect in
/// vain.
const ONLY_PROGRAMS: [&str; 6] = [
    "max_processes",
    "max_children",
    "max_mailbox",
    "max_mailbox_bytes",
    "max_message",
    "max_names",
];
const ONLY_HANDLERS: [&str; 7] = [
    "mode",
    "workers",
    "max_requests",
    "idle_timeout",
    "queue",
    "queue_timeout",
    "steps",
];

/// The flags that were given and that only a module of the other world heeds.
#[derive(Debug)]
pub(crate) struct Given {
    only_programs: Option<&'static str>,
    only_handlers: Option<&'static str>,
}

impl Given {
    pub(crate) fn from(matches: &ArgMatches) -> Self {
        let given = |flags: &[&'static str]| {
            flags
                .iter()
                .find(|flag| matches.value_source(flag) == Some(ValueSource::CommandLine))
                .copied()
        };
        Self {
            only_programs: given(&ONLY_PROGRAMS),
            only_handlers: given(&ONLY_HANDLERS),
        }
    }

    /// # Errors
    /// A sentence that names a flag which this module would not heed.
    pub(crate) fn suits(&self, world: World) -> Result<(), String> {
        let (given, what) = match world {
            World::Handler => (
                self.only_programs,
                "the module exports `handle`; this is for modules that export `run`",
            ),
            World::Program => (
                self.only_handlers,
                "the module exports `run`, and starts processes as it likes; this is for modules that export `handle`",
            ),
        };
        given.map_or(Ok(()), |flag| {
            Err(format!("--{}: {what}", flag.replace('_', "-")))
        })
    }
}

fn processes(text: &str) -> Result<u32, String> {
    let number = text.parse().map_err(|_| "give a number")?;
    in_range(number)
}

fn messages(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a number from 1 up".into()),
        Ok(number) => Ok(number),
    }
}
