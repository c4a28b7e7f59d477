//! The *configuration*: every flag by its own name, in a file and in variables. A file may have any
//! number of pools, and each of them its own values.
//!
//! A value has one source: a flag, else a variable, else the pool's table in the file, else the top
//! of the file, else the default. So the values of a pool are one command line, which is parsed
//! like any other.

mod file;
mod flags;
mod layers;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use wasm_pool_host::{ClusterSettings, HostSettings, Loaded, Route, StartError};

use super::{Role, Serve, explain};
use file::File;
pub(crate) use layers::{Given, variable};
use layers::{Layer, Layers, Source};
pub(crate) use show::show;

/// The name of a pool that nobody named.
const ONLY: &str = "main";

/// What all sources of values come to.
#[derive(Debug)]
pub(crate) struct Configured {
    /// The values of the host as a whole. What concerns one pool counts only there.
    pub(crate) serve: Serve,
    /// One pool at least, unless the host is a front.
    pub(crate) pools: Vec<Pool>,
    pub(crate) of_the_host: OfTheHost,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// Those of the host as a whole, with their sources.
    values: Layer,
}

/// What is said of the host as a whole: each flag with its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OfTheHost(BTreeMap<&'static str, Vec<OsString>>);

impl OfTheHost {
    /// The flags whose values differ, as the command line has them.
    pub(crate) fn other_than(&self, other: &Self) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let names: BTreeSet<_> = names
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .collect();
        names.into_iter().map(|name| format!("--{name}")).collect()
    }
}

/// One pool, with the command line that its values make.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Empty if the host has one pool that nobody named.
    pub(crate) name: String,
    pub(crate) routes: Vec<Route>,
    pub(crate) strips_prefix: bool,
    pub(crate) serve: Serve,
    values: Layer,
}

/// Reads all sources of values.
///
/// # Errors
/// A sentence that names the place of a value that can't be used.
pub(crate) fn read(serve: Serve) -> Result<Configured, String> {
    let variables = layers::variables()?;
    let path = path(&serve, &variables);
    let flags = serve.given.layer();
    if path.is_none() && variables.is_empty() {
        let configured = Configured {
            serve: serve.clone(),
            of_the_host: flags.of_the_host(),
            pools: vec![Pool::only(serve, flags.clone())],
            file: None,
            values: flags,
        };
        return configured.with_its_role();
    }
    of(path, flags, variables)
}

/// The file that is read, if there is one.
fn path(serve: &Serve, variables: &Layer) -> Option<PathBuf> {
    match (&serve.config, variables.get(flags::CONFIG)) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(value)) => value.texts.first().map(PathBuf::from),
        (None, None) => None,
    }
}

/// Reads a file by itself, without flags and variables.
///
/// # Errors
/// As [`read`].
pub(crate) fn check(path: &Path) -> Result<Configured, String> {
    of(Some(path.to_owned()), Layer::default(), Layer::default())
}

fn of(path: Option<PathBuf>, flags: Layer, variables: Layer) -> Result<Configured, String> {
    let file = path.as_deref().map(File::read).transpose()?;
    let file = file.unwrap_or_default();
    let layers = Layers {
        flags,
        variables,
        file: file.top,
    };
    let (serve, values) = layers.serve(Layer::default())?;
    let of_the_host = values.of_the_host();
    let pools = if file.pools.is_empty() {
        vec![Pool::only(serve.clone(), values.clone())]
    } else {
        let pools = file.pools.into_iter().map(|pool| {
            let (serve, values) = layers.serve(pool.values)?;
            Ok(Pool {
                name: pool.name,
                routes: pool.routes,
                strips_prefix: pool.strips_prefix,
                serve,
                values,
            })
        });
        pools.collect::<Result<_, String>>()?
    };
    let configured = Configured {
        serve,
        pools,
        of_the_host,
        file: path,
        values,
    };
    configured.with_its_role()
}

impl Configured {
    /// Takes away what the host's role in its cluster leaves no use for: the pools of a front, the
    /// listeners of a worker.
    ///
    /// # Errors
    /// A sentence, if they were asked for.
    fn with_its_role(mut self) -> Result<Self, String> {
        let problem = match self.serve.cluster.role() {
            Role::Both => None,
            Role::Front => {
                let has_pools = self.pools.iter().any(|pool| !pool.name.is_empty());
                self.pools.clear();
                if has_pools {
                    Some("--role front: a front has no pools; leave out [[pool]]")
                } else if self.values.get("module").is_some() {
                    Some(
                        "--module: a front has no module: the other hosts have; leave out one of the two",
                    )
                } else {
                    None
                }
            }
            Role::Worker => {
                self.serve.connections.listen.clear();
                let is_given = self.values.get("listen").is_some();
                is_given.then_some(
                    "--listen: a worker listens nowhere: the other hosts do; leave out one of the two",
                )
            }
        };
        match problem {
            Some(problem) => Err(self.located(problem)),
            None => Ok(self),
        }
    }

    /// The settings of the host.
    ///
    /// # Errors
    /// A sentence that names the place of a value that can't be used.
    pub(crate) fn host_settings(&self) -> Result<HostSettings, String> {
        let settings = self.serve.host_settings();
        settings.map_err(|problem| self.located(&problem))
    }

    /// The settings of the cluster, if the host is to join one.
    ///
    /// # Errors
    /// As [`Configured::host_settings`].
    pub(crate) fn cluster_settings(&self) -> Result<Option<ClusterSettings>, String> {
        let settings = self.serve.cluster_settings();
        settings.map_err(|problem| self.located(&problem))
    }

    /// A problem with the host's settings, with the place of the value that it is about.
    fn located(&self, problem: &str) -> String {
        match self.values.source(problem) {
            Some(source @ (Source::File { .. } | Source::Variable(_))) => {
                format!("{source}: {problem}")
            }
            Some(Source::Flag) | None => problem.to_owned(),
        }
    }
}

impl Pool {
    fn only(serve: Serve, values: Layer) -> Self {
        Self {
            name: String::new(),
            routes: vec![Route::all()],
            strips_prefix: false,
            serve,
            values,
        }
    }

    /// The name, which a host has for its only pool too.
    pub(crate) fn name(&self) -> &str {
        match &*self.name {
            "" => ONLY,
            name => name,
        }
    }

    /// The name and the routes, for a person.
    pub(crate) fn title(&self) -> String {
        let routes: Vec<_> = self.routes.iter().map(Route::to_string).collect();
        let routes = routes.join(", ");
        match &*self.name {
            "" => routes,
            name => format!("{name}: {routes}"),
        }
    }

    /// The settings of this pool.
    ///
    /// # Errors
    /// A sentence that names the place of a value that can't be used.
    pub(crate) fn settings(&mut self) -> Result<wasm_pool_host::Settings, String> {
        let settings = self.serve.settings();
        settings.map_err(|problem| self.located(&problem))
    }

    /// The pool with its module.
    pub(crate) fn with(self, loaded: Loaded) -> wasm_pool_host::Pool {
        wasm_pool_host::Pool {
            name: self.name().to_owned(),
            routes: self.routes,
            strips_prefix: self.strips_prefix,
            loaded,
        }
    }

    /// Why this pool could not be started, with the place of the value that it is about.
    pub(crate) fn explained(&self, error: &StartError) -> String {
        self.located(&explain::start(error))
    }

    /// A problem with the settings of this pool, with the place of the value that it is about.
    pub(crate) fn located(&self, problem: &str) -> String {
        match self.values.source(problem) {
            Some(source @ (Source::File { .. } | Source::Variable(_))) => {
                format!("{source}: {problem}")
            }
            Some(Source::Flag) | None if self.name.is_empty() => problem.to_owned(),
            Some(Source::Flag) | None => format!("pool {}: {problem}", self.name),
        }
    }
}
