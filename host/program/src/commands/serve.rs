//! `serve`: binds, compiles, joins its cluster if it has one, starts the first processes, and only
//! then listens. A host whose module is pushed joins before it compiles. A taken port is reported
//! before any module is compiled, and a host that does not start accepts no client.
//!
//! What needs rights that the host gives up is done first, while there is one thread.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::SignalKind;
use tokio::task::JoinSet;
use wasm_pool_host::steps::Steps;
use wasm_pool_host::{
    Cluster, ClusterSettings, Host, HostSettings, Listener, Loaded, Module, Settings, StartError,
    Tls, TlsFile, descriptors,
};

use super::bind::{self, Bound, Listening};
use super::compiling::{Said, announced};
use super::follow;
use super::needs::{is_forbidden, needs};
use super::watch::{self, Identity};
use super::{explained, is_denial, print, refused, runtime};
use crate::admin::{self, Watched};
use crate::cli::config::{self, Configured};
use crate::cli::{Connections, ListenPlace, Role, Serve, TlsFiles, refuse};
use crate::confine::{Account, become_user, confine};
use crate::control::steering::Around;
use crate::control::{Control, Steering};
use crate::service_manager::{self, ServiceManager};
use crate::{log, signals};

/// How long a host that stops in the middle of a roll-out tries to say so.
const FREEING: Duration = Duration::from_secs(1);

/// A pool that is to be served.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    /// The name and the routes.
    pub(crate) title: String,
    pub(crate) routes: Vec<String>,
    pub(crate) settings: Settings,
    /// Whether its module is what is pushed to the cluster.
    pub(crate) is_pushed: bool,
    /// The module's file before it was read.
    pub(crate) used: Option<Identity>,
}

impl Served {
    /// A pool with its settings. All pools of a host count the same steps.
    ///
    /// # Errors
    /// A sentence that names the place of a value that can't be used.
    pub(crate) fn of(pool: &mut config::Pool, steps: &Steps) -> Result<Self, String> {
        let settings = Settings {
            steps: steps.clone(),
            ..pool.settings()?
        };
        Ok(Self {
            name: pool.name().to_owned(),
            title: pool.title(),
            routes: pool.routes.iter().map(ToString::to_string).collect(),
            is_pushed: pool.serve.is_pushed(),
            used: watch::identity(&settings.module),
            settings,
        })
    }
}

pub(crate) fn serve(args: Serve) -> anyhow::Result<ExitCode> {
    let (ends_with_parent, asked) = (args.end_with_parent, args.clone());
    if ends_with_parent {
        set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    descriptors::raise();
    let configured = config::read(args).unwrap_or_else(|problem| refuse(&problem));
    let host = configured.host_settings();
    let host = host.unwrap_or_else(|problem| refuse(&problem));
    let cluster = configured.cluster_settings();
    let cluster = cluster.unwrap_or_else(|problem| refuse(&problem));
    let Configured {
        serve,
        pools,
        of_the_host,
        file,
        ..
    } = configured;
    let steps = Steps::on_if(serve.steps);
    let pools = pools.into_iter().map(|mut pool| {
        let served = Served::of(&mut pool, &steps)?;
        Ok((pool, served))
    });
    let pools: Result<Vec<_>, String> = pools.collect();
    let pools = pools.unwrap_or_else(|problem| refuse(&problem));
    let has_file = |(_, served): &(_, Served)| matches!(served.settings.module, Module::File(_));
    let is_pushed = pools.iter().any(|(_, served)| served.is_pushed);
    if serve.watch && !pools.iter().any(has_file) {
        refuse(match serve.cluster.role() {
            Role::Front => "--watch: a front has no module that could change; leave it out",
            Role::Both | Role::Worker if is_pushed => {
                "--watch: a module that is pushed has no file that could change; leave it out"
            }
            Role::Both | Role::Worker => {
                "--watch: the built-in worker has no file that could change; give --module"
            }
        });
    }
    let said = match ends_with_parent {
        true => Said::Never, // the parent tells what takes its time
        false => Said::by(serve.log_format, serve.log_level),
    };

    let (doors, account) = Doors::open(&serve)?;
    // A parent speaks for itself.
    let is_told = !ends_with_parent && ServiceManager::is_there();
    let log_file = serve.log_file.clone();
    let log_file = log_file.map(|path| log::open(&path).map(|file| (path, file)));
    let log_file = log_file.transpose();
    let log_file = log_file.map_err(|error| as_user(error, account.as_ref()))?;
    let needs = needs(&serve, file, &pools, doors.sockets(), is_told, account);
    let walls = match serve.no_confine {
        true => None,
        false => Some(confine(&needs)?),
    };
    let log = log::start(serve.log_format, serve.log_level, log_file)?;
    match walls {
        Some(walls) => tracing::info!("{walls}"),
        None => tracing::info!("the host keeps all rights of its user: --no-confine"),
    }
    // Some were read as root, before the host became another user.
    for file in needs.to_read.iter().filter(|file| is_forbidden(file)) {
        let file = file.display();
        tracing::warn!(%file, "a reload will fail: the host's user may not read this");
    }
    let manager = match is_told {
        true => ServiceManager::find(),
        false => ServiceManager::default(),
    };
    let runtime = runtime()?;
    let around = Around {
        asked,
        of_the_host,
        steps: steps.clone(),
        said,
        log: log.control.clone(),
        tls: doors.tls.clone(),
        named: needs.to_read,
        is_confined: !serve.no_confine,
        manager: manager.clone(),
    };
    let wanted = (host, cluster, pools);
    let outcome = runtime.block_on(serve_until_stopped(&serve, wanted, doors, around));
    // While the runtime lives, so that a second signal still ends it all.
    manager.finish();
    drop(log);
    // A thread that still waits for a disk must not delay the end.
    runtime.shutdown_background();
    if let Some(signal) = outcome? {
        return Ok(signals::exit_code(signal).into()); // it never served
    }
    print(&steps)?;
    Ok(ExitCode::SUCCESS)
}

/// Everything through which somebody may reach the host.
struct Doors {
    clients: Vec<Bound>,
    tls: Option<Tls>,
    admin: Option<std::net::TcpListener>,
    control: Control,
}

impl Doors {
    /// Opens what may need the rights of root, becomes the user that was asked for, and opens what
    /// belongs to that user.
    ///
    /// # Errors
    /// If a place is taken, files for TLS can't be used, or there is no such user.
    fn open(args: &Serve) -> anyhow::Result<(Self, Option<Account>)> {
        let mut clients = bind::bind_all(&args.connections, |place| !is_own(place))?;
        let tls = args.connections.tls();
        let tls = tls.map(|files| self::tls(&files)).transpose()?;
        let admin = match &args.admin {
            None => None,
            Some(listen) => {
                let listener = bind::admin(listen)?;
                admin::check(&listener, args.admin_allow_remote)?;
                Some(listener)
            }
        };
        let account = user(args)?;
        let told = |error| as_user(error, account.as_ref());
        let own = bind::bind_all(&args.connections, is_own);
        clients.extend(own.map_err(told)?);
        clients.sort_by_key(|bound| bound.position);
        let doors = Self {
            clients,
            tls,
            admin,
            control: Control::bind(&args.control()).map_err(told)?,
        };
        Ok((doors, account))
    }

    /// The paths of all sockets.
    fn sockets(&self) -> Vec<PathBuf> {
        let clients = self.clients.iter().filter_map(Bound::path);
        let paths = clients.chain(self.control.path());
        paths.map(Path::to_owned).collect()
    }
}

/// Whether a place belongs to whoever binds it: a path does, a port does not.
fn is_own(place: &ListenPlace) -> bool {
    matches!(place, ListenPlace::Unix(_))
}

/// Becomes the user that was asked for.
fn user(args: &Serve) -> anyhow::Result<Option<Account>> {
    let Some(user) = &args.user else {
        return Ok(None);
    };
    let become_it = || {
        let account = user.find()?;
        become_user(&account)?;
        anyhow::Ok(account)
    };
    become_it().context("--user").map(Some)
}

/// What the host is asked to be: as a whole, among others, and pool by pool.
type Wanted = (
    HostSettings,
    Option<ClusterSettings>,
    Vec<(config::Pool, Served)>,
);
/// The error, with the user that the host has become: whoever reads it is another one.
fn as_user(error: anyhow::Error, account: Option<&Account>) -> anyhow::Error {
    match account {
        Some(Account { name, .. }) if is_denial(&error) => anyhow!("{error:#}, as user {name}"),
        Some(_) | None => error,
    }
}

/// Returns the signal that stopped the host before it served, if one did.
async fn serve_until_stopped(
    args: &Serve,
    (settings, cluster, pools): Wanted,
    doors: Doors,
    around: Around,
) -> anyhow::Result<Option<SignalKind>> {
    let mut stop = std::pin::pin!(signals::stop()?);
    let mut others = signals::others()?;
    let (pools, mut served): (Vec<_>, Vec<_>) = pools.into_iter().unzip();
    let mut following = Vec::new();
    let watched_host = Watched::default();
    let mut beside = JoinSet::new();
    let start = async {
        if let Some(listener) = doors.admin {
            let address = listener.local_addr()?;
            tracing::info!(%address, "the admin address answers");
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            beside.spawn(admin::serve(listener, watched_host.clone()));
        }
        // What can't be compiled costs no number of a host, unless it is the cluster that has it.
        let (mut joined, mut cluster) = (None, cluster);
        if served.iter().any(|pool| pool.is_pushed) {
            joined = join(cluster.take()).await?;
        }
        let mut loaded = Vec::new();
        for (pool, served) in pools.into_iter().zip(&mut served) {
            if let Some(joined) = joined.as_ref().filter(|_| served.is_pushed) {
                let mut pushed = joined.follow(&served.name);
                let module = pushed.first().await;
                served.settings.module =
                    module.map_err(|error| anyhow!("--module cluster: {error}"))?;
                following.push(pushed);
            }
            let module = load(&served.settings, around.said).await;
            let module = module.map_err(|error| refused(&error, pool.explained(&error)))?;
            loaded.push(pool.with(module));
        }
        if joined.is_none() {
            joined = join(cluster).await?;
        }
        let host = match joined {
            None => Host::of(settings, loaded).await,
            Some(joined) => Host::in_cluster(joined, settings, loaded).await,
        };
        anyhow::Ok(host.map_err(explained)?)
    };
    let host = tokio::select! {
        biased;
        signal = stop.as_mut() => return Ok(signal),
        started = start => started?,
        never = signals::ignore(&mut others) => match never {},
    };
    let (mut listeners, mut paths, mut urls) = (Vec::new(), Vec::new(), Vec::new());
    for bound in doors.clients {
        let is_tls = bound.is_tls;
        let listening = bound.listen()?;
        urls.push(listening.url(is_tls));
        let listener = match listening {
            Listening::Tcp(listener) => listener.into(),
            Listening::Unix(listener, path) => {
                paths.extend(path);
                listener.into()
            }
        };
        let tls = doors.tls.clone().filter(|_| is_tls);
        listeners.push(spoken(listener, tls, &args.connections));
    }
    if let (Some(cluster), Some(url)) = (host.cluster(), urls.first()) {
        cluster.announce(url.clone());
    }
    let url = match &*urls {
        [] => Role::Worker.name().to_owned(),
        urls => urls.join(", "),
    };
    let line = start_line(&url, &served, &host);
    let steering = Steering::new(host.clone(), served, url, around);
    watched_host.started(&steering);
    steering.manager().ready();
    let told = Arc::clone(&steering);
    beside.spawn(async move { service_manager::keep_told(&told).await });
    beside.spawn(doors.control.serve(Arc::clone(&steering)));
    if args.watch {
        let steering = Arc::clone(&steering);
        beside.spawn(async move { watch::watch(&steering).await });
    }
    let mut followers = JoinSet::new();
    for pushed in following {
        let steering = Arc::clone(&steering);
        followers.spawn(async move { follow::follow(&steering, pushed).await });
    }
    let heard = Arc::clone(&steering);
    beside.spawn(async move {
        while let Some(signal) = others.recv().await {
            heard.hear(signal).await;
        }
        std::future::pending().await
    });
    // Everything answers from now on.
    writeln!(std::io::stdout(), "{line}").context("can't write the start line")?;
    let mut serving = JoinSet::new();
    for listener in listeners {
        let host = host.clone();
        serving.spawn(async move { host.serve(listener).await });
    }
    let all_served = async {
        while let Some(served) = serving.join_next().await {
            served??;
        }
        anyhow::Ok(())
    };
    let stopped = async {
        let asked = tokio::select! {
            _signal = stop => {
                steering.stop(None);
                steering.stopped().await
            }
            asked = steering.stopped() => asked,
        };
        let grace = asked.grace.unwrap_or(args.grace);
        steering.manager().stopping(grace);
        host.stop(grace).await;
        // A host in the middle of a roll-out frees its place. If it can't, others do later.
        let freed = async { while followers.join_next().await.is_some() {} };
        let _lost = tokio::time::timeout(FREEING, freed).await;
        Ok(())
    };
    let served = tokio::try_join!(all_served, stopped);
    // Waits for the end of all of them, so that the control socket is gone.
    beside.shutdown().await;
    served?;
    Ok(None)
}

/// Joins the cluster, if there is one.
async fn join(cluster: Option<ClusterSettings>) -> anyhow::Result<Option<Cluster>> {
    let Some(cluster) = cluster else {
        return Ok(None);
    };
    let joined = Cluster::join(cluster).await;
    joined.map(Some).map_err(|error| anyhow!("--nats: {error}"))
}

/// What the host is, in one line, because whoever waits for it may read no more.
fn start_line(url: &str, served: &[Served], host: &Host) -> String {
    let mut parts = vec![format!("wasm-pool-host: {url}")];
    match (served, &*host.pools()) {
        ([], _) => {} // a front
        ([only], [pool]) => parts.push(Serve::summary(&only.settings, pool.workers)),
        (several, _) => {
            let titles: Vec<_> = several.iter().map(|served| &*served.title).collect();
            parts.push(format!("pools {}", titles.join("; ")));
        }
    }
    if let Some(joined) = host.cluster() {
        let settings = joined.settings();
        let (name, role) = (&settings.cluster, settings.role.name());
        parts.push(format!("cluster {name}, host {} ({role})", joined.number()));
    }
    parts.join(" · ")
}

/// A listener with what is spoken there.
fn spoken(mut listener: Listener, tls: Option<Tls>, connections: &Connections) -> Listener {
    if let Some(tls) = tls {
        listener = listener.with_tls(tls);
    }
    if connections.h2c {
        listener = listener.with_h2c();
    }
    if connections.proxy_protocol {
        listener = listener.with_proxy_protocol();
    }
    listener
}

/// Reads certificates and keys.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn tls(files: &TlsFiles) -> anyhow::Result<Tls> {
    let TlsFiles { pairs, client_ca } = files;
    let tls = Tls::read(pairs, client_ca.as_deref());
    tls.map_err(|error| anyhow!("{}: {error}", flag_of(error.used_as)))
}

/// The flag that names a file for TLS.
fn flag_of(file: TlsFile) -> &'static str {
    match file {
        TlsFile::Certificate => "--tls-cert",
        TlsFile::Key => "--tls-key",
        TlsFile::ClientCa => "--tls-client-ca",
    }
}

/// Loads a module, and reports that if it takes long.
pub(crate) async fn load(settings: &Settings, said: Said) -> Result<Loaded, StartError> {
    let loading = announced(&settings.module, said, |begins| {
        Loaded::telling(settings.clone(), || begins.now())
    });
    loading.await
}
