//! *Opening* a connection: who is there, and what is spoken. A proxy may say whose bytes it passes
//! on, TLS may come next, and the client may choose HTTP/2. All of it together has the time that a
//! head has.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio_rustls::server::TlsStream;

use super::Service;
use super::connection::FIRST_HEAD;
use super::frames::PREFACE;
use super::heads::{Flaw, HANDSHAKE, Scan};
use super::listener::{Peer, Spoken};
use super::proxy::{self, Passed};
use super::refusals::{NOT_PROXIED, Reason};
use super::request::Ends;
use super::tls::{HTTP_2, Tls};
use super::wire::{Plain, Stream, Wire};
use crate::message::Scheme;
use crate::shutdown::Phase;

/// The answer to a client that speaks HTTP where TLS is spoken.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 61\r\n\r\n\
    400 Bad Request: this port speaks TLS; ask it with https://.\n";

/// The server that a client of a Unix socket has asked, for want of an address.
const UNIX_SERVER: &str = "localhost";

/// A connection on which the client may send requests.
pub(super) struct Opened<'a> {
    pub(super) wire: Wire<'a>,
    pub(super) is_http_2: bool,
    pub(super) ends: Arc<Ends>,
}

/// Why there will be no request.
#[derive(Debug)]
pub(super) enum Unopened {
    /// The client has left.
    Gone(io::Error),
    /// It took too long.
    Slow,
    /// A trusted proxy sent no header of the PROXY protocol.
    NoProxyHeader(io::Error),
    /// The client speaks no TLS. What the log says of that.
    NotTls(&'static str),
    /// The handshake failed.
    Handshake(io::Error),
}

/// Opens a connection.
///
/// # Errors
/// [`Unopened`].
pub(super) async fn open<'a>(
    plain: Plain<'a>,
    stream: Stream<'_>,
    peer: Peer,
    spoken: &Spoken,
    service: &Service,
) -> Result<Opened<'a>, Unopened> {
    let trusted = &service.settings.trusted;
    let is_trusted = peer.ip().map_or(trusted.unix, |ip| trusted.has(ip));
    let has_header = spoken.has_proxy_header && is_trusted;
    if !has_header && spoken.tls.is_none() && !spoken.is_h2c {
        let ends = ends(peer, stream, None, Scheme::Http, is_trusted);
        return Ok(Opened {
            wire: Wire::Plain(plain),
            is_http_2: false,
            ends: Arc::new(ends),
        });
    }
    let mut stopping = service.stopping.clone();
    let over = async {
        let stops = stopping.reached(Phase::Draining);
        let stops = tokio::time::timeout(service.settings.header_time, stops).await;
        if stops.is_ok() {
            tokio::time::sleep(FIRST_HEAD).await;
        }
    };
    // On the heap: most connections of the usual kind never get here.
    let opening = Box::pin(async {
        let mut plain = plain;
        let mut passed = None;
        if has_header {
            passed = proxy::read(&mut plain).await.map_err(Unopened::header)?;
        }
        let is_trusted = match passed {
            Some(Passed { client, .. }) => trusted.has(client.ip()),
            None => is_trusted,
        };
        let (wire, is_http_2, scheme) = match &spoken.tls {
            Some(tls) => {
                let wire = handshake(plain, tls).await?;
                let is_http_2 = wire.get_ref().1.alpn_protocol() == Some(HTTP_2);
                (Wire::Tls(Box::new(wire)), is_http_2, Scheme::Https)
            }
            None => {
                let is_http_2 = spoken.is_h2c && begins_with_http_2(&mut plain).await?;
                (Wire::Plain(plain), is_http_2, Scheme::Http)
            }
        };
        Ok(Opened {
            wire,
            is_http_2,
            ends: Arc::new(ends(peer, stream, passed, scheme, is_trusted)),
        })
    });
    tokio::select! {
        biased;
        opened = opening => opened,
        () = over => Err(Unopened::Slow),
    }
}

async fn handshake<'a>(mut plain: Plain<'a>, tls: &Tls) -> Result<TlsStream<Plain<'a>>, Unopened> {
    if plain.ahead().is_empty() {
        plain.look().await.map_err(Unopened::Gone)?;
    }
    if plain.ahead().first() != Some(&HANDSHAKE) {
        let is_proxy = Scan::default().look(plain.ahead()) == Err(Flaw::ProxyHeader);
        return Err(Unopened::NotTls(match is_proxy {
            true => NOT_PROXIED,
            false => "the client speaks something else",
        }));
    }
    let accepted = tls.acceptor().accept(plain).await;
    accepted.map_err(Unopened::Handshake)
}

/// Whether the client begins with HTTP/2, whose first bytes are no request of HTTP/1.
async fn begins_with_http_2(plain: &mut Plain<'_>) -> Result<bool, Unopened> {
    loop {
        let ahead = plain.ahead();
        let common = ahead.len().min(PREFACE.len());
        if ahead[..common] != PREFACE[..common] {
            return Ok(false);
        }
        if common == PREFACE.len() {
            return Ok(true);
        }
        plain.look().await.map_err(Unopened::Gone)?;
    }
}

fn ends(
    peer: Peer,
    stream: Stream<'_>,
    passed: Option<Passed>,
    scheme: Scheme,
    is_trusted: bool,
) -> Ends {
    let server = match (passed, stream) {
        (Some(Passed { server, .. }), _) => server.to_string(),
        (None, Stream::Tcp(stream)) => {
            let server = stream.local_addr().map(|server| server.to_string());
            server.unwrap_or_default()
        }
        (None, Stream::Unix(_)) => UNIX_SERVER.to_owned(),
    };
    let client = passed.map_or(peer, |passed| passed.client.into());
    Ends {
        client: client.to_string().into(),
        server: server.into(),
        scheme,
        is_trusted,
    }
}

impl Unopened {
    fn header(error: io::Error) -> Self {
        match error.kind() == io::ErrorKind::InvalidData {
            true => Self::NoProxyHeader(error),
            false => Self::Gone(error),
        }
    }

    /// Tells the client, if it may understand, and the log.
    pub(super) fn tell(&self, peer: Peer, stream: Stream<'_>, service: &Service) {
        let detail = self.to_string();
        let reason = match self {
            Self::Gone(_) => {
                tracing::debug!(client = %peer, error = detail, "connection ended early");
                return;
            }
            Self::Slow => Reason::SlowOpening,
            Self::NoProxyHeader(_) => Reason::NoProxyHeader,
            Self::NotTls(_) => {
                let _gone = stream.try_write(NOT_TLS);
                Reason::NotTls
            }
            Self::Handshake(_) => Reason::NotTls,
        };
        service.refusals.note(reason, &peer, Some(&detail));
    }
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(error) | Self::NoProxyHeader(error) | Self::Handshake(error) => error.fmt(f),
            Self::Slow => f.write_str("it took longer than a head may"),
            Self::NotTls(why) => f.write_str(why),
        }
    }
}
