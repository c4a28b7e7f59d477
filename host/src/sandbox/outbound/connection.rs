//! A *connection* to another server, for one request: HTTP/1.1 over TCP or TLS. No task of the
//! host's runs it. Whoever waits for the response or reads it moves the bytes, so it ends with the
//! process.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, WasiBody};

use super::destination::{Host, Obstacle, Target};
use super::{Admitted, Answer, Outgoing, Rest, Times, log};
use crate::deadline;
use crate::pid::Pid;
use crate::sandbox::state::Common;
use crate::threads;

/// The most bytes that a connection buffers in each direction: the head of a response fits, and a
/// body passes through.
const BUFFER_BYTES: usize = 64 << 10;

/// The most addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// A connection that waits for its request.
pub(super) struct Connection {
    sender: SendRequest<WasiBody>,
    driver: http1::Connection<TokioIo<Box<dyn Transport>>, WasiBody>,
    admitted: Admitted,
}

/// A stream of TCP or TLS.
trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Opens a connection to this server, if it may be reached at one of its addresses.
pub(super) async fn open(
    target: &Target,
    common: &Common,
    pid: Pid,
    admitted: Admitted,
) -> Result<Connection, Error> {
    let (mut addresses, admitted) = resolve(target, admitted).await?;
    let named = &common.settings.environment.outbound;
    let first = addresses.first().map(SocketAddr::ip);
    addresses.retain(|address| target.may_be_at(address.ip(), named));
    addresses.truncate(ADDRESSES);
    if let (Some(address), true) = (first, addresses.is_empty()) {
        log(pid, target, Obstacle::Address(address));
        return Err(Error::DestinationIpProhibited);
    }
    let stream = connect(&addresses).await?;
    let transport: Box<dyn Transport> = if target.is_tls {
        Box::new(encrypted(target, stream, &common.outgoing).await?)
    } else {
        Box::new(stream)
    };
    let mut http = http1::Builder::new();
    http.max_buf_size(BUFFER_BYTES);
    let (sender, driver) = http
        .handshake(TokioIo::new(transport))
        .await
        .map_err(|error| of_hyper(&error))?;
    Ok(Connection {
        sender,
        driver,
        admitted,
    })
}

/// The addresses of a name. A system call that can't be stopped asks for them, so the right to the
/// connection stays with it.
async fn resolve(
    target: &Target,
    admitted: Admitted,
) -> Result<(Vec<SocketAddr>, Admitted), Error> {
    let port = target.port;
    let name = match &target.host {
        Host::Address(address) => return Ok((vec![(*address, port).into()], admitted)),
        Host::Name(name) => name.clone(),
    };
    let resolved = threads::run(move || {
        let addresses = (name, port).to_socket_addrs();
        (addresses.map(Iterator::collect), admitted)
    });
    match resolved.await {
        Ok((Ok(addresses), admitted)) => Ok((addresses, admitted)),
        Ok((Err(_), _)) => Err(Error::DnsError {
            rcode: Some("address not available".into()),
            info_code: None,
        }),
        Err(no_thread) => Err(Error::InternalError(Some(no_thread.to_string()))),
    }
}

/// Connects to the first address that answers.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    /// The next address is tried after this, unless the last one answers meanwhile.
    const PATIENCE: Duration = Duration::from_secs(3);
    let mut failure = Error::DestinationNotFound;
    for (nth, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(address);
        let connected = if nth + 1 < addresses.len() {
            deadline::by(Instant::now() + PATIENCE, connecting).await
        } else {
            Some(connecting.await)
        };
        match connected {
            Some(Ok(stream)) => {
                // A head and a short body leave in two writes: neither waits for the other.
                let _unsupported = stream.set_nodelay(true);
                return Ok(stream);
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                failure = Error::ConnectionTimeout;
            }
            Some(Err(_)) => failure = Error::ConnectionRefused,
            None => failure = Error::ConnectionTimeout,
        }
    }
    Err(failure)
}

async fn encrypted(
    target: &Target,
    stream: TcpStream,
    outgoing: &Outgoing,
) -> Result<impl Transport + use<>, Error> {
    let server = match &target.host {
        Host::Address(address) => ServerName::from(*address),
        Host::Name(name) => {
            ServerName::try_from(name.clone()).map_err(|_| Error::HttpRequestUriInvalid)?
        }
    };
    let connector = TlsConnector::from(outgoing.tls()?);
    let connected = connector.connect(server, stream).await;
    connected.map_err(|error| {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
            Some(_) | None => Error::TlsProtocolError,
        }
    })
}

impl Outgoing {
    fn tls(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::InternalError(Some(error.to_string())))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }
}

impl Connection {
    /// Sends the request, and waits for the head of the response.
    pub(super) async fn send(self, mut request: http::Request<WasiBody>, times: Times) -> Answer {
        let Self {
            mut sender,
            mut driver,
            admitted,
        } = self;
        *request.uri_mut() = path_of(request.uri());
        let mut is_over = false;
        let answered = {
            let mut answer = pin!(sender.send_request(request));
            let answer = poll_fn(|cx| {
                if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                    return Poll::Ready(answer);
                }
                if !is_over && Pin::new(&mut driver).poll(cx).is_ready() {
                    is_over = true;
                    return answer.as_mut().poll(cx);
                }
                Poll::Pending
            });
            deadline::by(times.after(times.first_byte), answer).await
        };
        let answered = answered.ok_or(Error::ConnectionReadTimeout)?;
        let response = answered.map_err(|error| of_hyper(&error))?;
        let response = response.map(|incoming| {
            ResponseBody {
                incoming,
                times,
                timer: None,
            }
            .boxed_unsync()
        });
        let rest: Rest = Box::new(async move {
            let _admitted = admitted;
            if is_over {
                return Ok(());
            }
            match deadline::by(times.end, driver).await {
                Some(moved) => moved.map_err(|error| of_hyper(&error)),
                None => Err(Error::ConnectionReadTimeout),
            }
        });
        Ok((response, rest))
    }
}

/// A request to a server, and not to a proxy, names only the path.
fn path_of(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
}

fn of_hyper(error: &hyper::Error) -> Error {
    if error.is_timeout() {
        Error::HttpResponseTimeout
    } else {
        Error::HttpProtocolError
    }
}

/// The body of a response. Each piece has to arrive in time.
struct ResponseBody {
    incoming: Incoming,
    times: Times,
    /// Set while a piece is awaited.
    timer: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self {
            incoming,
            times,
            timer,
        } = &mut *self;
        if let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) {
            *timer = None;
            let cut_off = |_| Error::HttpResponseIncomplete;
            return Poll::Ready(frame.map(|frame| frame.map_err(cut_off)));
        }
        let end = times.after(times.between_bytes);
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end.into())));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
