//! What `bench` may be told, and the hidden subcommand by which it starts the servers that are its yardsticks.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Guests, Place, time};

/// More connections than this measure the load and not the servers.
const MAX_CONNECTIONS: usize = 1000;

/// Medians of more rounds are no better.
const MAX_ROUNDS: usize = 100;

#[derive(Args, Debug)]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) place: Place,

    /// What is asked for, again and again: it must be answered with 200, and always with the same
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path)]
    pub(crate) path: String,

    /// Keep-alive connections that each ask again as soon as they are answered
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) connections: usize,

    /// How long each structuring is measured in a round
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    pub(crate) time: Duration,

    /// Rounds, in which all structurings take turns; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rounds: usize,

    /// Write all figures as JSON to this file; without one, to standard output in place of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,

    /// Write the plots as an SVG image
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Write one page with the plots and the table, to be opened in a browser
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) guests: Guests,
}

/// A server without wasm.
#[derive(Args, Debug)]
pub(crate) struct Yardstick {
    /// Who answers a request
    #[arg(long, value_enum)]
    pub(crate) kind: YardstickKind,

    /// Every request is answered with what is in this file by then
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Threads that take requests
    #[arg(long, value_name = "N")]
    pub(crate) workers: usize,

    /// Heed the paths of the crash drill
    #[arg(long)]
    pub(crate) drill: bool,

    /// Time the steps of a request, and print them at the end
    #[arg(long)]
    pub(crate) steps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum YardstickKind {
    /// The thread that took it
    Threads,
    /// A process that is created for it by fork and exec
    ForkExec,
}

impl Bench {
    /// Fits what was asked for together.
    ///
    /// # Errors
    /// A sentence that names the flag.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        self.guests.check()?;
        self.place.settle(&mut self.guests.root)?;
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            return Err(format!(
                "--connections {}: must be from 1 to {MAX_CONNECTIONS}",
                self.connections
            ));
        }
        if !(1..=MAX_ROUNDS).contains(&self.rounds) {
            return Err(format!(
                "--rounds {}: must be from 1 to {MAX_ROUNDS}",
                self.rounds
            ));
        }
        Ok(())
    }
}

impl Guests {
    /// The flags by which another program of ours reads the same, in as much memory.
    pub(crate) fn flags(&self) -> [OsString; 4] {
        [
            "--root".into(),
            self.root().into(),
            "--memory".into(),
            self.memory.as_u64().to_string().into(),
        ]
    }
}

/// As it stands in a request's first line.
fn path(text: &str) -> Result<String, String> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if text.starts_with('/') && is_plain {
        Ok(text.to_owned())
    } else {
        Err("give a path that starts with /, percent-encoded, such as /a%20file?query".into())
    }
}
