//! The *commands*, a file for each. All of them heed signals while they compile: the compiler can't be
//! stopped, so the program ends without waiting for it.

mod bind;
mod check;
mod compiling;
mod measure;
mod run;
mod serve;

use std::io::Write;

use anyhow::Context;
use wasm_pool_host::steps::Steps;

pub(crate) use check::check;
pub(crate) use measure::{measure, yardstick};
pub(crate) use run::run;
pub(crate) use serve::serve;

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

/// Prints what was timed, if anything was.
fn print(steps: &Steps) -> anyhow::Result<()> {
    let Some(totals) = steps.totals() else {
        return Ok(());
    };
    let line = serde_json::to_string(&totals)?;
    writeln!(std::io::stdout(), "{line}").context("can't write the steps")
}
