//! What the command line says about programs: their limits, and running one without HTTP.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Args;
use wasm_pool_host::{Limits, Module, Output, ProgramSettings, Settings};

use super::cache::Cache;
use super::environment::Surroundings;
use super::{Guests, LogFormat, LogLevel, MAX_COPIED, explain, in_range, size};

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The program or command, binary or text (.wat)
    module: PathBuf,

    /// What goes into the log: `warn` has processes that failed, `debug` every start and end
    #[arg(long, value_enum, default_value_t = LogLevel::Warn)]
    pub(crate) log_level: LogLevel,

    /// How the log, on standard error, is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    /// The arguments of the root or command, behind `--`
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,

    #[command(flatten)]
    pub(crate) guests: Guests,

    #[command(flatten)]
    cache: Cache,

    #[command(flatten)]
    surroundings: Surroundings,

    #[command(flatten)]
    processes: Processes,
}

/// The flags for programs: modules that export `run`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Programs (modules that export `run`)")]
pub(crate) struct Processes {
    /// Processes alive at one time [default: 4096]
    #[arg(long, value_name = "N", value_parser = processes)]
    pub(super) max_processes: Option<u32>,

    /// Children that one process may have at a time [default: 1024]
    #[arg(long, value_name = "N")]
    max_children: Option<usize>,

    /// Messages that one mailbox holds; as many processes may be monitored. Of an HTTP program's
    /// root: the requests that wait for it; the next one gets 503 [default: 4096]
    #[arg(long, value_name = "N", value_parser = messages)]
    max_mailbox: Option<usize>,

    /// Bytes that one mailbox holds, all its messages together [default: 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) max_mailbox_bytes: Option<ByteSize>,

    /// Bytes of one message from process to process [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) max_message: Option<ByteSize>,

    /// Names that processes may have registered, all together [default: 1024]
    #[arg(long, value_name = "N")]
    max_names: Option<usize>,
}

impl Run {
    /// Turns the flags into settings.
    ///
    /// # Errors
    /// A sentence that names the flag.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        let size = self.processes.mailbox_bytes();
        if size > MAX_COPIED {
            return Err(format!(
                "--max-mailbox-bytes {size}: must be at most {MAX_COPIED}"
            ));
        }
        let memory = self.guests.memory.as_u64();
        let settings = Settings {
            root: self.guests.root(),
            module: Module::File(self.module.clone()),
            cache: self.cache.folder(),
            limits: Limits {
                memory,
                open_files: self.guests.max_open_files,
                // Without HTTP there are no requests and no responses.
                body: memory,
                response: memory,
                ..Limits::default()
            },
            program: self.processes.settings(),
            environment: self.surroundings.settings(&self.args)?,
            output: Output::Inherit,
            ..Settings::default()
        };
        settings
            .check()
            .map_err(|error| explain::settings(&error))?;
        Ok(settings)
    }
}

impl Processes {
    pub(super) fn mailbox_bytes(&self) -> ByteSize {
        self.max_mailbox_bytes.unwrap_or_default()
    }

    pub(super) fn settings(&self) -> ProgramSettings {
        ProgramSettings {
            processes: self.max_processes,
            children: self.max_children,
            mailbox_messages: self.max_mailbox,
            mailbox_bytes: self.max_mailbox_bytes.map(|size| size.as_u64()),
            message: self.max_message.map(|size| size.as_u64()),
            names: self.max_names,
        }
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
