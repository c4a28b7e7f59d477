//! The flags for *many hosts*: the servers of NATS over which hosts share their pools, and what
//! this host is among them.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use wasm_pool_host::{self as library, ClusterSettings, Line};

use super::config::variable;
use super::time;

/// The port of a URL without one.
const USUAL_PORT: u16 = 4222;

/// The cluster of hosts that name none.
const USUAL_CLUSTER: &str = "default";

/// The longest name of a cluster: it stands in every subject.
const LONGEST_CLUSTER: usize = 32;

/// The longest name of a host: that of a machine is no longer (gethostname(2)).
const LONGEST_NAME: usize = 64;

/// How long a host may be silent by default: three beats.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// How long a host may be silent. With less, a busy machine would lose hosts that live; with more,
/// clients would have given up before their requests are tried elsewhere.
const SILENCE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(60);

/// The flags of a host that is one of many.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Many hosts")]
pub(crate) struct InCluster {
    #[command(flatten)]
    servers: Servers,

    /// What this host does for the cluster [default: both]
    #[arg(long, value_enum)]
    role: Option<Role>,

    /// The name by which people know this host, of 64 letters at most. Two hosts may have the same
    /// [default: the machine's host name]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,

    /// A host that is silent for so long is lost: its requests are tried elsewhere, or fail. From
    /// 500ms to 60s, and the same for all hosts [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = lost_after)]
    lost_after: Option<Duration>,
}

/// Where a cluster is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Servers {
    /// The servers of NATS over which hosts share their pools, such as nats://127.0.0.1 or
    /// tls://USER:PASSWORD@nats.example.org:4222. The port is 4222 if none is given
    #[arg(long, value_name = "URL[,URL]", value_delimiter = ',', value_parser = server)]
    nats: Vec<Server>,

    /// The cluster, by its name of small letters, digits and dashes. Hosts see those of their own
    /// cluster [default: default]
    #[arg(long, value_name = "NAME", value_parser = cluster)]
    cluster: Option<String>,

    /// The credentials for NATS, a file that `nsc` has written
    #[arg(long, value_name = "FILE")]
    nats_creds: Option<PathBuf>,

    /// Trust servers of NATS whose certificates one in this file (PEM) vouches for [default: those
    /// that the system trusts]
    #[arg(long, value_name = "FILE")]
    nats_ca: Option<PathBuf>,
}

/// The flags of `hosts`.
#[derive(Args, Debug)]
pub(crate) struct Hosts {
    #[command(flatten)]
    servers: Servers,

    /// Print JSON: an array with an object for each host
    #[arg(long)]
    pub(crate) json: bool,
}

/// The flags of `push`.
#[derive(Args, Debug)]
pub(crate) struct Push {
    /// The module: a component, binary or text (.wat)
    pub(crate) module: PathBuf,

    #[command(flatten)]
    servers: Servers,

    /// The pool whose module it is, by its name. Hosts that name no pools have one, `main`
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub(crate) pool: String,

    /// Hosts that may change at one time, once the first one has: it is always alone
    #[arg(long, value_name = "N", default_value = "1", value_parser = hosts)]
    pub(crate) at_once: NonZeroU32,
}

/// What a host does for its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Serve clients: with the own processes, and while all of them are busy, with those of other
    /// hosts, whose clients are served in turn
    Both,
    /// Serve clients with the processes of other hosts; it has no pool
    Front,
    /// Serve the clients of other hosts; it listens nowhere
    Worker,
}

/// A server of NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    url: String,
    port: u16,
}

impl InCluster {
    /// # Errors
    /// A sentence that names the flag.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.is_on() {
            return Ok(());
        }
        let given = [
            ("--cluster", self.servers.cluster.is_some()),
            ("--nats-creds", self.servers.nats_creds.is_some()),
            ("--nats-ca", self.servers.nats_ca.is_some()),
            ("--role", self.role.is_some()),
            ("--name", self.name.is_some()),
            ("--lost-after", self.lost_after.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag @ "--name", _)) => Err(format!(
                "{flag}: this is the name of a host, and needs --nats; a pool's name belongs below [[pool]]"
            )),
            Some((flag, _)) => Err(format!(
                "{flag}: needs --nats, which says over which servers hosts find each other"
            )),
            None => Ok(()),
        }
    }

    /// The settings, if this host is one of many. `line` is that of a front.
    pub(super) fn settings(&self, line: Line) -> Option<ClusterSettings> {
        self.is_on().then(|| ClusterSettings {
            name: self.name.clone().unwrap_or_else(machine),
            role: self.role().into(),
            lost_after: self.lost_after.unwrap_or(LOST_AFTER),
            line,
            ..self.servers.settings()
        })
    }

    /// What this host does for its cluster: alone, it does everything.
    pub(crate) fn role(&self) -> Role {
        let role = self.role.filter(|_| self.is_on());
        role.unwrap_or(Role::Both)
    }

    /// Whether this host is one of many.
    pub(crate) fn is_on(&self) -> bool {
        !self.servers.nats.is_empty()
    }

    /// The ports of all servers.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.servers.nats.iter().map(|server| server.port)
    }

    /// The files that are read for each connection to a server.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let Servers {
            nats_creds,
            nats_ca,
            ..
        } = &self.servers;
        let (files, is_on) = ([nats_creds, nats_ca], self.is_on());
        let files = files.into_iter().flatten();
        files.filter(move |_| is_on).cloned()
    }

    /// Whether the system's certificates say which servers to trust.
    pub(crate) fn trusts_the_system(&self) -> bool {
        self.is_on() && self.servers.nats_ca.is_none()
    }
}

impl Hosts {
    /// As [`Servers::asked`].
    pub(crate) fn settings(&self) -> Result<ClusterSettings, String> {
        self.servers.asked()
    }
}

impl Push {
    /// As [`Servers::asked`].
    pub(crate) fn settings(&self) -> Result<ClusterSettings, String> {
        self.servers.asked()
    }
}

impl Servers {
    /// The settings of whoever asks without being a host. What no flag says, the variables of the
    /// flags say, as they do for hosts.
    ///
    /// # Errors
    /// A sentence that names the flag or the variable.
    fn asked(&self) -> Result<ClusterSettings, String> {
        let mut asked = self.clone();
        let said = |flag: &str| std::env::var(variable(flag)).ok();
        let wrong = |flag: &str| {
            let name = variable(flag);
            move |problem| format!("{name}: {problem}")
        };
        if asked.nats.is_empty()
            && let Some(urls) = said("nats")
        {
            let servers = urls.split(',').map(server).collect::<Result<_, _>>();
            asked.nats = servers.map_err(wrong("nats"))?;
        }
        if asked.cluster.is_none()
            && let Some(name) = said("cluster")
        {
            asked.cluster = Some(cluster(&name).map_err(wrong("cluster"))?);
        }
        let file = |flag| said(flag).map(PathBuf::from);
        asked.nats_creds = asked.nats_creds.or_else(|| file("nats-creds"));
        asked.nats_ca = asked.nats_ca.or_else(|| file("nats-ca"));
        if asked.nats.is_empty() {
            return Err(format!(
                "--nats: give the URL of a server, such as nats://127.0.0.1, here or in the variable {}",
                variable("nats")
            ));
        }
        Ok(asked.settings())
    }

    fn settings(&self) -> ClusterSettings {
        let servers = self.nats.iter().map(|server| server.url.clone());
        let cluster = self.cluster.as_deref().unwrap_or(USUAL_CLUSTER);
        ClusterSettings {
            servers: servers.collect(),
            cluster: cluster.to_owned(),
            name: machine(),
            role: library::Role::Both,
            credentials: self.nats_creds.clone(),
            ca: self.nats_ca.clone(),
            lost_after: LOST_AFTER,
            line: Line::default(),
        }
    }
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        library::Role::from(self).name()
    }
}

impl From<Role> for library::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Both => Self::Both,
            Role::Front => Self::Front,
            Role::Worker => Self::Worker,
        }
    }
}

/// The name of this machine, or another if it has none that can be printed.
fn machine() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy().into_owned();
    let printable = name.bytes().filter(|byte| is_printable(*byte));
    let name: String = printable.take(LONGEST_NAME).map(char::from).collect();
    match name.is_empty() {
        true => "host".to_owned(),
        false => name,
    }
}

fn is_printable(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

fn name(text: &str) -> Result<String, String> {
    if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is_printable) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "give a name of 1 to {LONGEST_NAME} letters of ASCII that can be printed"
    ))
}

fn cluster(text: &str) -> Result<String, String> {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (1..=LONGEST_CLUSTER).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "give a name of 1 to {LONGEST_CLUSTER} small letters from a to z, digits and -"
    ))
}

fn hosts(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "give a number from 1 up".into())
}

fn lost_after(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    match SILENCE.contains(&time) {
        true => Ok(time),
        false => Err("must be from 500ms to 60s".to_owned()),
    }
}

fn server(text: &str) -> Result<Server, String> {
    const FORM: &str =
        "give a URL such as nats://127.0.0.1 or tls://USER:PASSWORD@nats.example.org:4222";
    let text = text.strip_suffix('/').unwrap_or(text);
    let rest = match text.split_once("://") {
        Some(("nats" | "tls", rest)) => rest,
        Some((scheme, _)) => return Err(format!("{scheme}:// is not spoken to NATS; {FORM}")),
        None => return Err(FORM.to_owned()),
    };
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "a URL has no spaces, and no letters but those of ASCII; {FORM}"
        ));
    }
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let is_special = |byte: u8| b"/?#\\".contains(&byte);
    if user.is_some_and(|user| user.bytes().any(is_special)) {
        return Err(format!(
            "in a user and a password, write / as %2F, ? as %3F, # as %23 and \\ as %5C; {FORM}"
        ));
    }
    if place.bytes().any(is_special) {
        return Err(format!("a server of NATS has no path; {FORM}"));
    }
    let is_pair = |user: &str| {
        let pair = user.split_once(':');
        pair.is_some_and(|(name, password)| !name.is_empty() && !password.is_empty())
    };
    if user.is_some_and(|user| !is_pair(user)) {
        return Err(format!("a user and a password stand before the @; {FORM}"));
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (place, None),
    };
    let port = match port.map(str::parse) {
        None => USUAL_PORT,
        Some(Ok(0) | Err(_)) => return Err(format!("a port is from 1 to 65535; {FORM}")),
        Some(Ok(port)) => port,
    };
    if !is_host(host) {
        return Err(FORM.to_owned());
    }
    let url = text.to_owned();
    Ok(Server { url, port })
}

/// Whether this is a name or an address; one of IPv6 stands in brackets.
fn is_host(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match host.strip_prefix('[') {
        Some(address) => {
            let address = address.strip_suffix(']').unwrap_or_default();
            address.parse::<std::net::Ipv6Addr>().is_ok()
        }
        None => host
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(fits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_url() {
        for (text, port) in [
            ("nats://127.0.0.1", 4222),
            ("nats://127.0.0.1:4333/", 4333),
            ("tls://nats.example.org", 4222),
            ("tls://me:p@ss@nats_1:1", 1),
            ("nats://[::1]", 4222),
            ("nats://[::1]:5", 5),
        ] {
            let url = text.trim_end_matches('/').to_owned();
            assert_eq!(server(text), Ok(Server { url, port }), "{text}");
        }
        for (text, why) in [
            ("", "give a URL"),
            ("127.0.0.1:4222", "give a URL"),
            ("http://127.0.0.1", "http:// is not spoken"),
            ("nats://", "give a URL"),
            ("nats://a..b", "give a URL"),
            ("nats://[::1", "give a URL"),
            ("nats://a b", "no spaces"),
            ("nats://a/b", "no path"),
            ("nats://u:a/b@c", "%2F"),
            ("nats://a:0", "a port is"),
            ("nats://a:65536", "a port is"),
            ("nats://a:", "a port is"),
            ("nats://token@a", "a user and a password"),
            ("nats://user:@a", "a user and a password"),
        ] {
            let problem = server(text).expect_err(text);
            assert!(problem.contains(why), "{text}: {problem}");
        }
    }

    #[test]
    fn a_machine_has_a_name() {
        assert_eq!(name(&machine()), Ok(machine()));
    }
}
