//! `config`: checks a configuration file, or shows what all sources of values come to.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use wasm_pool_host::{self as library, Module, Settings, StartError, outlet};

use super::tls;
use crate::cli::config::{self, Pool};
use crate::cli::{Config, Serve, refuse};

pub(crate) fn config(asked: Config) -> anyhow::Result<ExitCode> {
    let text = match asked {
        Config::Check { file } => check(&file),
        Config::Show(serve) => config::read(*serve).map(|configured| config::show(&configured)),
    };
    let text = text.unwrap_or_else(|problem| refuse(&problem));
    outlet::say(io::stdout(), text.trim_end()).context("can't write the configuration")?;
    Ok(ExitCode::SUCCESS)
}

/// A line for each pool.
fn check(file: &Path) -> Result<String, String> {
    let configured = config::check(file)?;
    configured.host_settings()?;
    configured.cluster_settings()?;
    of_the_host(&configured.serve).map_err(|error| {
        let problem = format!("{error:#}");
        // The values of each pool have those of the host among them.
        let located = configured.pools.first().map(|pool| pool.located(&problem));
        located.unwrap_or(problem)
    })?;
    let mut text = format!("{} can be used", file.display());
    for mut pool in configured.pools {
        let settings = pool.settings()?;
        of_a_pool(&pool, &settings)?;
        text.push_str(&format!("\n{} · module {}", pool.title(), settings.module));
    }
    Ok(text)
}

/// Reads what a host reads at its start, and starts nothing.
///
/// # Errors
/// A sentence that names the flag.
fn of_the_host(serve: &Serve) -> anyhow::Result<()> {
    if let Some(user) = &serve.user {
        user.find().context("--user")?;
    }
    if let Some(files) = serve.connections.tls() {
        tls(&files)?;
    }
    Ok(())
}

/// As [`of_the_host`], for one pool.
fn of_a_pool(pool: &Pool, settings: &Settings) -> Result<(), String> {
    let Settings { root, module, .. } = settings;
    let opened = fs::read_dir(root).map_err(|error| StartError::Root {
        path: root.clone(),
        error,
    });
    opened.map_err(|error| pool.explained(&error))?;
    // What is pushed is known to the cluster only.
    if matches!(module, Module::BuiltIn | Module::Bytes(_)) {
        return Ok(());
    }
    let report = library::check(module, settings.limits.memory);
    let report = report.map_err(|error| pool.explained(&StartError::Load(error)))?;
    match report.obstacle {
        None => Ok(()),
        Some(obstacle) => {
            Err(pool.located(&format!("module {module} does not run here: {obstacle}")))
        }
    }
}
