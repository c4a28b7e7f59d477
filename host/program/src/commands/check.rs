//! `check`: what a module exports and imports, and whether it would run here.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use wasm_pool_host::{self as library, Module, Report};

use super::compiling::{Begins, Said, announced};
use super::runtime;
use crate::signals;

pub(crate) fn check(path: PathBuf, memory: u64) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let module = Module::File(path);
    let outcome = runtime.block_on(async {
        let stop = signals::stop()?;
        let looked_at = module.clone();
        let checking = |begins: Begins| {
            begins.now();
            tokio::task::spawn_blocking(move || library::check(&looked_at, memory))
        };
        tokio::select! {
            biased;
            signal = stop => Ok(Err(signal)),
            report = announced(&module, Said::Plainly, checking) => {
                anyhow::Ok(Ok(report.context("the compiler failed")??))
            }
        }
    });
    runtime.shutdown_background();
    match outcome? {
        Ok(report) => print(&module, &report),
        Err(signal) => Ok(signal.map_or(ExitCode::FAILURE, |signal| {
            signals::exit_code(signal).into()
        })),
    }
}

fn print(module: &Module, report: &Report) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "exports")?;
    for export in &report.exports {
        writeln!(out, "  {export}")?;
    }
    writeln!(out, "imports")?;
    for import in &report.imports {
        let note = if import.provided {
            ""
        } else {
            "  (this host does not have it)"
        };
        writeln!(out, "  {}{note}", import.name)?;
    }
    match &report.obstacle {
        None => {
            writeln!(out, "{module} runs here")?;
            Ok(ExitCode::SUCCESS)
        }
        Some(obstacle) => {
            writeln!(out, "{module} does not run here: {obstacle}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
