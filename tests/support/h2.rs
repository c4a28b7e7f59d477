//! A blocking client of HTTP/2 over TLS. Each request is a stream of one connection. Its reply is
//! read only as the caller reads it, so an unread reply holds its own stream up, and no other.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{self, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, Uri};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::PATIENCE;
use super::door::{server_name, tls};
use super::http::{Reply, from_latin, has_body, latin, malformed};
use super::wire;

/// Threads that run the connections of all clients. The tests' own threads only wait for them.
const THREADS: usize = 2;

/// Bytes of one reply that the server may send before somebody reads them.
const STREAM_WINDOW: u32 = 64 << 10;

/// The same for all replies of a connection: unread replies of 256 streams don't hold up another.
const CONNECTION_WINDOW: u32 = 256 * STREAM_WINDOW;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(THREADS).enable_all().build();
    built.expect("a runtime for clients of HTTP/2")
});

/// A client with a connection, perhaps of its own. What is left of its streams is reset when it is
/// dropped.
pub(crate) struct Http2 {
    connection: SendRequest<Bytes>,
    /// Replies of which nothing was read yet, in the order of their requests.
    replies: VecDeque<ResponseFuture>,
    /// The body of the reply whose head was read last.
    body: Option<RecvStream>,
    /// Bodies of requests on their way.
    uploads: JoinSet<()>,
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = wire::tcp(address)?;
        let connection = wait(async move {
            let stream = over_tls(stream).await?;
            let shaken = client::Builder::new()
                .enable_push(false)
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .handshake(stream)
                .await;
            let (connection, driver) = shaken.map_err(failed)?;
            // Its error is that of all streams too.
            tokio::spawn(async { drop(driver.await) });
            Ok(connection)
        })?;
        Ok(Self::on(connection))
    }

    /// Another client with the same connection.
    pub(crate) fn beside(&self) -> Self {
        Self::on(self.connection.clone())
    }

    fn on(connection: SendRequest<Bytes>) -> Self {
        Self {
            connection,
            replies: VecDeque::new(),
            body: None,
            uploads: JoinSet::new(),
        }
    }

    /// Sends a request on a new stream, and reads nothing yet. Its body is sent as the server makes
    /// room for it.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let request = request(method, target, fields, body)?;
        let (connection, uploads) = (self.connection.clone(), &mut self.uploads);
        let reply = wait(async {
            // It is not ready while there are as many streams as the server allows.
            let mut connection = connection.ready().await.map_err(failed)?;
            let sent = connection.send_request(request, body.is_empty());
            let (reply, stream) = sent.map_err(failed)?;
            if !body.is_empty() {
                uploads.spawn(upload(stream, Bytes::copy_from_slice(body)));
            }
            Ok(reply)
        })?;
        self.replies.push_back(reply);
        Ok(())
    }

    /// Reads the head of the oldest reply. What is left of the one before is not wanted any more.
    pub(crate) fn head(&mut self) -> io::Result<Reply> {
        let reply = self.replies.pop_front().expect("a request comes first");
        let reply = wait(async { reply.await.map_err(failed) })?;
        let head = head(&reply);
        self.body = Some(reply.into_body());
        Ok(head)
    }

    /// Reads the body behind the head that was read last.
    pub(crate) fn body(
        &mut self,
        method: &str,
        head: &Reply,
        piece: &mut impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut body = self.body.take().expect("a head comes first");
        while let Some(bytes) = wait(async { body.data().await.transpose().map_err(failed) })? {
            if !bytes.is_empty() && !has_body(method, head.status) {
                return Err(malformed("body where there is none"));
            }
            piece(&bytes);
            let released = body.flow_control().release_capacity(bytes.len());
            released.map_err(failed)?;
        }
        wait(async { body.trailers().await.map_err(failed) })?;
        Ok(())
    }
}

/// The address of a *tunnel* for one connection: what is sent there reaches this server over TLS,
/// above which HTTP/2 was chosen. So whoever sends frames by hand needs to know nothing of TLS.
pub(super) fn tunnel(server: SocketAddr) -> io::Result<SocketAddr> {
    let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let server = wire::tcp(server)?;
    RUNTIME.spawn(async move {
        let (mut inside, _) = TcpListener::from_std(listener)?.accept().await?;
        let mut outside = over_tls(server).await?;
        // A side that breaks off ends the other one.
        copy_bidirectional(&mut inside, &mut outside).await
    });
    Ok(address)
}

/// Shakes hands, and checks that HTTP/2 was chosen.
async fn over_tls(stream: net::TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nonblocking(true)?;
    let connector = TlsConnector::from(tls(b"h2"));
    let connecting = connector.connect(server_name(), TcpStream::from_std(stream)?);
    let stream = connecting.await?;
    let protocol = stream.get_ref().1.alpn_protocol();
    assert_eq!(protocol, Some(&b"h2"[..]), "the server speaks HTTP/2");
    Ok(stream)
}

/// Sends a body. A server that answers early may not want all of it.
async fn upload(mut stream: SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = match poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(0)) => continue,
            Some(Ok(room)) => room,
            Some(Err(_)) | None => return,
        };
        let piece = body.split_to(room.min(body.len()));
        if stream.send_data(piece, body.is_empty()).is_err() {
            return;
        }
    }
}

/// A well-formed request, with the same fields as in HTTP/1.
fn request(
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Request<()>> {
    let uri = Uri::builder()
        .scheme("https")
        .authority("localhost")
        .path_and_query(target);
    let method = Method::from_bytes(method.as_bytes()).map_err(io::Error::other)?;
    let mut request = Request::builder()
        .method(method)
        .uri(uri.build().map_err(io::Error::other)?);
    for (name, value) in fields {
        request = request.header(*name, latin(value));
    }
    if !body.is_empty() {
        request = request.header(CONTENT_LENGTH, body.len());
    }
    request.body(()).map_err(io::Error::other)
}

fn head<T>(reply: &Response<T>) -> Reply {
    let fields = reply.headers().iter();
    Reply {
        status: reply.status().as_u16(),
        fields: fields
            .map(|(name, value)| (name.as_str().to_owned(), from_latin(value.as_bytes())))
            .collect(),
        body: Vec::new(),
    }
}

/// A stream or a connection that the server ends is one that is reset.
fn failed(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error.into_io().expect("it says so"),
        false if error.is_remote() => io::Error::new(ErrorKind::ConnectionReset, error),
        false => io::Error::new(ErrorKind::InvalidData, error),
    }
}

/// Waits for what the connections' threads do.
fn wait<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    RUNTIME.block_on(async {
        let done = tokio::time::timeout(PATIENCE, work).await;
        done.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    })
}
