//! The *commands*, a file for each. All of them heed signals while they compile: the compiler can't
//! be stopped, so the program ends without waiting for it.

mod bind;
mod check;
mod compiling;
mod config;
mod drill;
mod follow;
mod generate;
mod hosts;
mod measure;
mod needs;
mod new;
mod printable;
mod ps;
mod push;
mod reuse_port;
mod run;
mod serve;
mod steer;
mod top;
mod trace;
mod watch;

use std::io;

use anyhow::{Context, anyhow};
use wasm_pool_host::steps::Steps;
use wasm_pool_host::{StartError, outlet};

use crate::cli::{explain, refuse};

pub(crate) use check::check;
pub(crate) use compiling::Said;
pub(crate) use config::config;
pub(crate) use generate::generate;
pub(crate) use hosts::hosts;
pub(crate) use measure::{measure, yardstick};
pub(crate) use needs::{is_forbidden, named};
pub(crate) use new::new;
pub(crate) use push::push;
pub(crate) use run::run;
pub(crate) use serve::{Served, load, serve, tls};
pub(crate) use steer::steer;
pub(crate) use watch::Identity;

/// What was asked for wrongly is refused as the command line refuses it.
fn explained(error: StartError) -> anyhow::Error {
    refused(&error, explain::start(&error))
}

/// As [`explained`], in these words.
fn refused(error: &StartError, text: String) -> anyhow::Error {
    if explain::is_usage(error) {
        refuse(&text);
    }
    anyhow!(text)
}

/// Whether the system has refused a right. Errors of all kinds of calls end in these words.
pub(crate) fn is_denial(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("Permission denied")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // tokio panics where it can't have its first thread, so whether there are any is tried before.
    let thread = std::thread::Builder::new().spawn(|| ());
    let _nothing = thread.context("the system gives no threads")?.join();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.context("can't start the runtime")
}

/// Prints what was timed, if anything was.
fn print(steps: &Steps) -> anyhow::Result<()> {
    let Some(totals) = steps.totals() else {
        return Ok(());
    };
    let line = serde_json::to_string(&totals)?;
    outlet::say(io::stdout(), &line).context("can't write the steps")
}
