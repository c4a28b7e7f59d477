//! HTTP/2: what holds for a connection holds for each stream, and no client has more of the host
//! than by any number of connections.

mod hostile;
mod streams;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::support::Server;

/// A well-behaved client: one connection in the clear.
struct Peer {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
}

/// What comes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered(u16, Vec<u8>),
    /// The head has come, and then the stream was reset.
    Broken(u16),
    Reset(Option<Reason>),
}

impl Peer {
    fn connect(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let requests = runtime.block_on(async {
            let stream = TcpStream::connect(server.address()).await;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(1 << 20);
            builder.initial_connection_window_size(8 << 20);
            let handshake = builder.handshake(stream.expect("a connection")).await;
            let (requests, connection) = handshake.expect("HTTP/2");
            tokio::spawn(connection);
            requests
        });
        Self { runtime, requests }
    }

    /// Sends a request, and waits for nothing but room for it.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> ResponseFuture {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://localhost{path}"));
        let request = request.body(()).expect("a request");
        let ready = self.requests.clone().ready();
        let mut requests = self.runtime.block_on(ready).expect("room");
        let sent = requests.send_request(request, body.is_empty());
        let (response, mut stream) = sent.expect("it is sent");
        if !body.is_empty() {
            let sent = stream.send_data(Bytes::copy_from_slice(body), true);
            sent.expect("the body is sent");
        }
        response
    }

    fn answer(&self, response: ResponseFuture) -> Outcome {
        self.runtime.block_on(async {
            let response = match response.await {
                Ok(response) => response,
                Err(error) => return Outcome::Reset(error.reason()),
            };
            let status = response.status().as_u16();
            match collect(response.into_body()).await {
                Some(body) => Outcome::Answered(status, body),
                None => Outcome::Broken(status),
            }
        })
    }

    fn get(&self, path: &str) -> Outcome {
        self.answer(self.ask("GET", path, b""))
    }

    fn status(&self, path: &str) -> u16 {
        match self.get(path) {
            Outcome::Answered(status, _) => status,
            other @ (Outcome::Broken(_) | Outcome::Reset(_)) => panic!("{path}: {other:?}"),
        }
    }
}

async fn collect(mut body: RecvStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        bytes.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len()).ok()?;
    }
    body.trailers().await.ok()?;
    Some(bytes)
}
