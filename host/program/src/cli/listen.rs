//! Where to listen: an address, or the name of a host that has one.

use std::net::{Ipv4Addr, SocketAddr};

/// What `--listen` says.
#[derive(Clone, Debug)]
pub(crate) enum Listen {
    Address(SocketAddr),
    /// A name is resolved when the host starts.
    Name {
        host: String,
        port: u16,
    },
}

/// A port by itself is one of this machine's own: who wants to be reached from elsewhere says so.
pub(super) fn parse(text: &str) -> Result<Listen, String> {
    const FORM: &str = "give a port, or a host and a port, such as 8080, localhost:8080, 0.0.0.0:8080 or \
                        [::]:8080";
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

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}
