//! What `bench` may be told, and the hidden subcommand by which it starts the servers that are its
//! yardsticks.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use wasm_pool_bench::outputs::Files;
use wasm_pool_bench::structurings;

use wasm_pool_host::WORKERS_PER_CORE;

use super::{Guests, Place, time};

/// More connections than this measure the load and not the servers.
const MAX_CONNECTIONS: usize = 1000;

/// Medians of more rounds are no better.
const MAX_ROUNDS: usize = 100;

#[derive(Args, Debug)]
pub(crate) struct Bench {
    #[command(flatten)]
    place: Place,

    /// What is asked for, again and again: it must be answered with 200, and always with the same
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path)]
    path: String,

    /// Keep-alive connections that each ask again as soon as they are answered
    #[arg(long, value_name = "N", default_value_t = 32)]
    connections: usize,

    /// How long each structuring is measured in a round
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    time: Duration,

    /// Rounds, in which all structurings take turns; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,

    /// Write all figures as JSON to this file; without one, to standard output in place of the
    /// table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,

    /// Write the plots as an SVG image
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Write one page with the plots and the table, to be opened in a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    #[command(flatten)]
    guests: Guests,
}

/// A server without wasm.
#[derive(Args, Debug)]
pub(crate) struct Yardstick {
    /// Every request is answered with the present content of this file
    #[arg(long, value_name = "FILE")]
    file: PathBuf,

    /// Answer each request by a process that is created by fork and exec
    #[arg(long)]
    fork_exec: bool,

    /// Threads that take requests
    #[arg(long, value_name = "N")]
    workers: usize,

    /// Heed the paths of the crash drill
    #[arg(long)]
    drill: bool,

    /// Time the steps of a request, and print them at the end
    #[arg(long)]
    steps: bool,
}

impl Bench {
    /// Turns the flags into settings.
    ///
    /// # Errors
    /// A sentence that names the flag.
    pub(crate) fn settings(mut self) -> Result<structurings::Settings, String> {
        self.guests.check()?;
        self.place.settle(&mut self.guests.root)?;
        for (flag, number, most) in [
            ("--connections", self.connections, MAX_CONNECTIONS),
            ("--rounds", self.rounds, MAX_ROUNDS),
        ] {
            if !(1..=most).contains(&number) {
                return Err(format!("{flag} {number}: must be from 1 to {most}"));
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(structurings::Settings {
            guests: vec![
                "--root".into(),
                self.guests.root().into(),
                "--memory".into(),
                self.guests.memory.as_u64().to_string().into(),
            ],
            max_open_files: self.guests.max_open_files,
            module: self.place.module,
            path: self.path,
            connections: self.connections,
            time: self.time,
            rounds: self.rounds,
            workers: cores * WORKERS_PER_CORE as usize,
            files: Files {
                json: self.json,
                svg: self.svg,
                html: self.html,
            },
        })
    }
}

impl Yardstick {
    pub(crate) fn settings(self) -> wasm_pool_native::Yardstick {
        wasm_pool_native::Yardstick {
            file: self.file,
            fork_exec: self.fork_exec,
            workers: self.workers,
            drill: self.drill,
            steps: self.steps,
        }
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
