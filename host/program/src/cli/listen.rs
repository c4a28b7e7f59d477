//! Where to listen: an address, a name that has one, a Unix socket, or a socket that was handed
//! over.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// A TCP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Address(SocketAddr),
    /// A name is resolved when the host starts.
    Name {
        host: String,
        port: u16,
    },
}

/// What one `--listen` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) place: Place,
    /// Whether TLS is spoken there. `None`: if there are certificates, and it is no Unix socket.
    pub(crate) is_tls: Option<bool>,
}

/// A socket for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(Listen),
    Unix(PathBuf),
    /// The socket with this descriptor, which whoever started the program has handed over.
    Inherited(usize),
}

const FORM: &str = "give a port, or a host and a port, such as 8080, localhost:8080, 0.0.0.0:8080 or \
                    [::]:8080";

/// The first descriptor that may be handed over (sd_listen_fds(3)).
pub(crate) const FIRST_INHERITED: usize = 3;

impl Listen {
    /// Whether the kernel chooses a free port.
    fn takes_any(&self) -> bool {
        let port = match self {
            Self::Address(address) => address.port(),
            Self::Name { port, .. } => *port,
        };
        port == 0
    }

    /// The address, as far as no resolver is needed: of `localhost`, the first that is tried.
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name { host, port } => {
                (host == "localhost").then(|| (Ipv4Addr::LOCALHOST, *port).into())
            }
        }
    }
}

impl Place {
    /// Whether another socket can't be bound there beside this one.
    pub(super) fn is_taken_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => {
                let is_same =
                    one == two || one.address().is_some_and(|at| two.address() == Some(at));
                is_same && !one.takes_any()
            }
            (Self::Tcp(_) | Self::Unix(_) | Self::Inherited(_), _) => self == other,
        }
    }
}

/// A port by itself is one of this machine's own: who wants to be reached from elsewhere says so.
pub(super) fn parse(text: &str) -> Result<Listen, String> {
    if let Ok(address) = text.parse() {
        return Ok(Listen::Address(address));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse().map_err(|_| FORM)?;
    if host.is_empty() {
        return Ok(Listen::Address((Ipv4Addr::LOCALHOST, port).into()));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = host.bytes().all(fits) && host.bytes().any(|byte| byte.is_ascii_alphabetic());
    if is_name {
        let host = host.to_owned();
        return Ok(Listen::Name { host, port });
    }
    Err(FORM.into())
}

/// A place, perhaps with what is spoken there in front: `https://0.0.0.0:443`.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let (is_tls, place) = match text.split_once("://") {
        Some(("http", place)) => (Some(false), place),
        Some(("https", place)) => (Some(true), place),
        Some((scheme, _)) => {
            return Err(format!(
                "{scheme}:// is not spoken here; give http:// or https://"
            ));
        }
        None => (None, text),
    };
    let place = match place.split_once(':') {
        Some(("unix", "")) => return Err("give the path of the socket behind unix:".to_owned()),
        Some(("unix", path)) => Place::Unix(path.into()),
        Some(("fd", number)) => match number.parse() {
            Ok(number) if number >= FIRST_INHERITED => Place::Inherited(number),
            Ok(_) | Err(_) => {
                return Err(format!(
                    "give the number of a descriptor from {FIRST_INHERITED} up, such as fd:3"
                ));
            }
        },
        Some(_) | None => {
            let listen = parse(place.strip_suffix('/').unwrap_or(place));
            Place::Tcp(listen.map_err(|form| format!("{form}, or unix:PATH, or fd:3"))?)
        }
    };
    Ok(Endpoint { place, is_tls })
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listen) => listen.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(number) => write!(f, "fd:{number}"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.is_tls {
            Some(true) => "https://",
            Some(false) => "http://",
            None => "",
        };
        write!(f, "{scheme}{}", self.place)
    }
}
