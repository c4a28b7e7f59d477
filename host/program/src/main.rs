//! The program: reads the command line and runs its command.

mod admin;
mod allocator;
mod cli;
mod commands;
mod confine;
mod control;
mod log;
mod service_manager;
mod side_door;
mod signals;
mod unix_socket;

use std::io;
use std::process::ExitCode;

use wasm_pool_host::outlet;

use cli::{Cli, Command};

fn main() -> ExitCode {
    // Before anything that takes time: what this answers is timed from its start.
    if let Some(code) = wasm_pool_native::child() {
        return code;
    }
    allocator::settle();
    let result = match Cli::read() {
        Command::Serve(args) => commands::serve(*args),
        Command::Run(args) => commands::run(args),
        Command::Bench(args) => commands::measure(args),
        Command::Yardstick(args) => commands::yardstick(args),
        Command::New { name, lang } => commands::new(&name.0, lang),
        Command::Steer(asked) => commands::steer(asked),
        Command::Hosts(asked) => commands::hosts(&asked),
        Command::Push(asked) => commands::push(&asked),
        Command::Config(config) => commands::config(config),
        Command::Generate(asked) => commands::generate(&asked),
        Command::Check { module, memory } => commands::check(module, memory.as_u64()),
    };
    result.unwrap_or_else(|error| {
        let _unread = outlet::say(io::stderr(), &format!("wasm-pool-host: {error:#}"));
        ExitCode::FAILURE
    })
}
