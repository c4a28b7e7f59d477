//! How a host takes part in a cluster, and why it can't.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a host takes part in a cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The URLs of NATS servers: `nats://` or `tls://`, a host, and perhaps a port. Several are
    /// servers of one NATS cluster.
    pub servers: Vec<String>,
    /// The name of the cluster: 1 to 32 characters of `a-z`, `0-9` and `-`. Hosts of other names
    /// don't hear each other.
    pub cluster: String,
    /// The name of this host, for people: 1 to 64 bytes. Several hosts may have one name.
    pub name: String,
    /// What this host does.
    pub role: Role,
    /// A file with a user's JWT and key, as `nsc` makes them.
    pub credentials: Option<PathBuf>,
    /// A file with certificates (PEM) of those who vouch for the servers, beside those that the
    /// system trusts.
    pub ca: Option<PathBuf>,
    /// A host that is silent for so long is lost: 500 ms to 60 s. It sends three beats meanwhile.
    pub lost_after: Duration,
    /// What the requests of a front without processes have while they wait for another host.
    pub line: Line,
}

/// The line of a front without processes, and the bounds of what its clients send.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The most requests that wait.
    pub queue: usize,
    /// The longest time that a request waits.
    pub queue_timeout: Duration,
    /// The largest request body, in bytes.
    pub body: u64,
    /// The longest time in which a short request body comes.
    pub body_time: Duration,
}

/// What a host does in its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It has clients and processes.
    #[default]
    Both,
    /// It has clients, and no processes.
    Front,
    /// It has processes, and no clients.
    Worker,
}

impl Role {
    /// The role in one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Front => "front",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Default for Line {
    fn default() -> Self {
        Self {
            queue: 1024,
            queue_timeout: Duration::from_secs(5),
            body: 1 << 20,
            body_time: Duration::from_secs(30),
        }
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1".to_owned()],
            cluster: "default".to_owned(),
            name: "host".to_owned(),
            role: Role::default(),
            credentials: None,
            ca: None,
            lost_after: Duration::from_secs(3),
            line: Line::default(),
        }
    }
}

/// Why a host can't take part in a cluster.
#[derive(Debug)]
pub enum ClusterError {
    /// The name of the cluster has another form.
    Name(String),
    /// The name of the host has another form.
    HostName,
    /// The time after which a host is lost is out of its range.
    LostAfter,
    /// There is no URL of a server.
    NoServer,
    /// A URL can't be used, for this reason.
    Url(String, String),
    /// A file can't be read.
    File(PathBuf, std::io::Error),
    /// No server could be reached. The reason of the last try.
    Connect(String),
    /// The server refuses who asks. What it said.
    Refused(String),
    /// The server takes messages of so many bytes only.
    SmallPayload(usize),
    /// The server has no JetStream, or this user may not use it. What it said.
    NoJetStream(String),
    /// A number for the host could not be had in time.
    NoNumber(String),
    /// All numbers are used up.
    NumbersUsedUp,
    /// Messages on this subject don't come back.
    NoRight(String),
    /// What the cluster keeps in NATS can't be read or written. What, and why.
    Store(String),
    /// The name of a pool has another form.
    Pool(String),
    /// Nothing was pushed for this pool of this cluster.
    NothingPushed(String, String),
    /// A module is larger than any may be. Its size in bytes.
    LargeModule(u64),
    /// What was fetched is not what was pushed.
    OtherModule {
        /// The digest of what was pushed.
        pushed: String,
        /// The digest of what was fetched.
        found: String,
    },
    /// More pools than this many are to follow the cluster.
    Follows(usize),
}

impl ClusterSettings {
    /// The longest name of a cluster, in bytes.
    const MAX_NAME: usize = 32;
    /// The longest name of a host, in bytes.
    const MAX_HOST_NAME: usize = 64;

    /// Whether a host can start with these settings.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn check(&self) -> Result<(), ClusterError> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let name = &self.cluster;
        if name.is_empty() || name.len() > Self::MAX_NAME || !name.bytes().all(is_plain) {
            return Err(ClusterError::Name(name.clone()));
        }
        let host = &self.name;
        if host.is_empty() || host.len() > Self::MAX_HOST_NAME || host.chars().any(char::is_control)
        {
            return Err(ClusterError::HostName);
        }
        if !(Duration::from_millis(500)..=Duration::from_secs(60)).contains(&self.lost_after) {
            return Err(ClusterError::LostAfter);
        }
        if self.servers.is_empty() {
            return Err(ClusterError::NoServer);
        }
        Ok(())
    }

    /// The time between two beats.
    pub(super) fn beat(&self) -> Duration {
        self.lost_after / 3
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "{name:?} can't be the name of a cluster: give 1 to 32 of a-z, 0-9 and -"
            ),
            Self::HostName => f.write_str("the name of a host has 1 to 64 printable bytes"),
            Self::LostAfter => f.write_str("a host is lost after 500ms at least and 60s at most"),
            Self::NoServer => f.write_str("give the URL of a NATS server: nats://HOST"),
            Self::Url(url, why) => write!(f, "{url}: not the URL of a NATS server: {why}"),
            Self::File(path, error) => write!(f, "{}: can't be read: {error}", path.display()),
            Self::Connect(why) => write!(f, "no NATS server answers: {why}"),
            Self::Refused(why) => write!(
                f,
                "the NATS server refuses this host: {why}; give the user in the URL, or --nats-creds"
            ),
            Self::SmallPayload(bytes) => write!(
                f,
                "the NATS server takes messages of {bytes} bytes at most; set its max_payload to 1MB"
            ),
            Self::NoJetStream(why) => write!(
                f,
                "the NATS server has no JetStream for this host: {why}; start it with -js, and let \
                 the user have the rights that docs/cluster.md lists"
            ),
            Self::NoNumber(why) => write!(f, "this host got no number in time: {why}"),
            Self::NumbersUsedUp => f.write_str(
                "the cluster has used up its numbers, one for each start of a host; give it another \
                 name",
            ),
            Self::NoRight(subject) => write!(
                f,
                "messages on {subject} don't come back; let the user publish and subscribe there"
            ),
            Self::Store(what) => write!(
                f,
                "what the cluster keeps in NATS can't be had: {what}; if NATS and JetStream are there, \
                 the user lacks a right (docs/cluster.md lists them) or JetStream has no room"
            ),
            Self::Pool(name) => write!(
                f,
                "{name:?} can't be the name of a pool: give 1 to 64 letters, digits, - and _"
            ),
            Self::NothingPushed(pool, cluster) => write!(
                f,
                "nothing was pushed for the pool {pool} of the cluster {cluster} yet: do that first, \
                 with `wasm-pool-host push FILE --pool {pool} --cluster {cluster} --nats URL`"
            ),
            Self::LargeModule(bytes) => {
                write!(f, "a module of {bytes} bytes is larger than any may be, 1 GiB")
            }
            Self::OtherModule { pushed, found } => write!(
                f,
                "the module in the store is another one than was pushed: its digest is {found}, and \
                 not {pushed}; push it again"
            ),
            Self::Follows(most) => write!(
                f,
                "--module cluster: at most {most} pools of a host can serve what is pushed"
            ),
        }
    }
}

impl std::error::Error for ClusterError {}
