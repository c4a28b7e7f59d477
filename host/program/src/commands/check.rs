//! `check`: what a module exports and imports, and whether it would run here.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use wasm_pool_host::{self as library, Module, Report};

use super::runtime;
use crate::signals;

/// The column of providers starts after names of this many letters, at most. Names may be longer.
const WIDEST: usize = 48;

pub(crate) fn check(path: PathBuf, memory: u64) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let module = Module::File(path);
    let outcome = runtime.block_on(async {
        let stop = signals::stop()?;
        let looked_at = module.clone();
        let checking = tokio::task::spawn_blocking(move || library::check(&looked_at, memory));
        tokio::select! {
            biased;
            signal = stop => Ok(Err(signal)),
            report = checking => {
                anyhow::Ok(Ok(report.context("the check failed")??))
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
    if let Some(kind) = report.kind {
        writeln!(out, "kind\n  {}", kind.phrase())?;
    }
    writeln!(out, "exports")?;
    for export in &report.exports {
        writeln!(out, "  {export}")?;
    }
    writeln!(out, "imports")?;
    let names = report
        .imports
        .iter()
        .map(|import| import.name.chars().count());
    let width = names.max().unwrap_or(0).min(WIDEST);
    for import in &report.imports {
        writeln!(out, "  {:width$}  {}", import.name, import.provider)?;
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
