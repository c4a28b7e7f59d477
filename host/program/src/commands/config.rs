//! `config`: checks a configuration file, or shows what all sources of values come to.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use wasm_pool_host::outlet;

use crate::cli::config;
use crate::cli::{Config, refuse};

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
    let mut text = format!("{} can be used", file.display());
    for mut pool in configured.pools {
        let settings = pool.settings()?;
        text.push_str(&format!("\n{} · module {}", pool.title(), settings.module));
    }
    Ok(text)
}
