//! Binds a port before the host listens on it. The port is reserved while the module is compiled,
//! and clients are refused until the host can answer.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, anyhow};
use tokio::net::TcpSocket;

use crate::cli::Listen;

/// Connections that the kernel holds until they are accepted. The standard library asks for an
/// eighth, which would drop a burst of clients.
const BACKLOG: u32 = 1024;

/// A reserved port on which the host doesn't listen yet.
pub(super) struct Bound {
    socket: TcpSocket,
    failed: String,
}

/// Binds the address. A name may have several addresses: binds the first that can be bound.
///
/// # Errors
/// An error that names the flag.
pub(super) async fn bind(flag: &str, listen: &Listen) -> anyhow::Result<Bound> {
    let failed = format!("{flag} {listen}: can't listen there");
    let addresses = addresses(listen).await.context(failed.clone())?;
    let mut last = anyhow!("the name has no address");
    for address in addresses {
        match bind_to(address) {
            Ok(socket) => return Ok(Bound { socket, failed }),
            Err(error) => {
                // Another address of the same name would hide that this one is taken.
                let is_taken = error.kind() == ErrorKind::AddrInUse;
                last = anyhow!(error);
                if is_taken {
                    last = last.context("another program has this port: stop it, or give another");
                    break;
                }
            }
        }
    }
    Err(last.context(failed))
}

/// This machine's own address of the usual kind comes first: that is where others look for
/// `localhost`.
async fn addresses(listen: &Listen) -> std::io::Result<Vec<SocketAddr>> {
    match listen {
        Listen::Address(address) => Ok(vec![*address]),
        Listen::Name { host, port } => {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await?;
            let mut addresses: Vec<_> = found.collect();
            addresses.sort_by_key(|address| address.ip() != Ipv4Addr::LOCALHOST);
            Ok(addresses)
        }
    }
}

fn bind_to(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of a host that has just ended don't block its port. A host that still listens
    // does.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Bound {
    /// Lets clients connect.
    ///
    /// # Errors
    /// If another host has begun to listen on the port meanwhile.
    pub(super) fn listen(self) -> anyhow::Result<TcpListener> {
        let listener = self.socket.listen(BACKLOG);
        let listener = listener.and_then(tokio::net::TcpListener::into_std);
        listener.context(self.failed)
    }
}
