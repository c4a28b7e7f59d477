//! What the command line says about the compile cache: its folder, or that there is none.

use std::path::{Path, PathBuf};

use clap::Args;

/// The folder below the user's folder of caches.
const NAME: &str = "wasm-pool-host";

#[derive(Args, Clone, Debug)]
pub(crate) struct Cache {
    /// The folder that keeps compiled modules, so that the next start compiles nothing; at most
    /// 1 GiB. Nobody else may write into it [default: wasm-pool-host in $XDG_CACHE_HOME or in
    /// ~/.cache]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,

    /// Compile at each start, and keep no code for the next one
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
}

impl Cache {
    /// The folder, if there is to be a cache. A user without a home has none.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        let users = || match absolute("XDG_CACHE_HOME") {
            Some(caches) => Some(caches.join(NAME)),
            None => Some(absolute("HOME")?.join(".cache").join(NAME)),
        };
        let chosen = self.cache.clone().or_else(users);
        chosen.filter(|_| !self.no_cache)
    }
}

/// A relative path in these variables is invalid, says the standard for them.
fn absolute(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(variable)?);
    Path::is_absolute(&path).then_some(path)
}
