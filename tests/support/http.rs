//! A blocking HTTP client. It is small, checks replies strictly, and speaks what the server's door
//! speaks. Over HTTP/1, it can send any bytes.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::door::Address;
use super::h2::Http2;
use super::http1::Http1;
use super::wire::Wire;

/// A client with one connection. Replies are read in the order in which requests were sent.
pub(crate) struct Client(Spoken);

enum Spoken {
    Http1(Http1),
    Http2(Http2),
}

const NO_BYTES: &str =
    "only a connection of HTTP/1 can do this: name this test in tests/doors.rs, with the reason";

/// A complete response.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: impl Into<Address>) -> Self {
        Self::try_connect(address).expect("a connection to the server")
    }

    pub(crate) fn try_connect(address: impl Into<Address>) -> io::Result<Self> {
        let spoken = match address.into() {
            Address::Http2(address) => Spoken::Http2(Http2::connect(address)?),
            address @ (Address::Http1(_)
            | Address::Tls(_)
            | Address::Unix(_)
            | Address::Nowhere) => Spoken::Http1(Http1::connect(&address)?),
        };
        Ok(Self(spoken))
    }

    /// A client over TLS, behind a proxy that passes bytes on and sends this header before them.
    pub(crate) fn passed_on(address: SocketAddr, header: &[u8]) -> Self {
        let wire = Wire::passed_on(address, header);
        Self(Spoken::Http1(Http1::on(wire.expect("a connection"))))
    }

    /// Another client with the same connection, if requests of several may be on it at a time.
    pub(crate) fn beside(&self) -> Option<Self> {
        match &self.0 {
            Spoken::Http1(_) => None,
            Spoken::Http2(http2) => Some(Self(Spoken::Http2(http2.beside()))),
        }
    }

    pub(crate) fn get(&mut self, target: &str) -> Reply {
        self.request("GET", target, &[], b"")
    }

    /// Sends a well-formed request and reads its reply.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.try_request(method, target, fields, body)
            .unwrap_or_else(|error| panic!("no reply to {method} {target}: {error}"))
    }

    pub(crate) fn try_request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply> {
        self.try_ask(method, target, fields, body)?;
        self.reply(method)
    }

    /// Sends a well-formed request, and reads nothing yet.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &[u8]) {
        self.try_ask(method, target, &[], body)
            .expect("the request is sent");
    }

    /// Sends several requests with the same method at once, each with a target and a body.
    pub(crate) fn ask_all(&mut self, method: &str, requests: &[(String, String)]) {
        match &mut self.0 {
            Spoken::Http1(http1) => {
                let request = |(target, body): &(String, String)| {
                    request_bytes(method, target, &[], body.as_bytes())
                };
                let all: Vec<_> = requests.iter().flat_map(request).collect();
                http1.wire.write_all(&all).expect("all requests are sent");
            }
            Spoken::Http2(_) => {
                for (target, body) in requests {
                    self.ask(method, target, body.as_bytes());
                }
            }
        }
    }

    pub(crate) fn try_ask(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        match &mut self.0 {
            Spoken::Http1(http1) => http1
                .wire
                .write_all(&request_bytes(method, target, fields, body)),
            Spoken::Http2(http2) => http2.ask(method, target, fields, body),
        }
    }

    /// Sends any bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.http1().wire.write_all(bytes)
    }

    /// Sends any bytes from a thread of its own, so that the reply can be read meanwhile. Whoever
    /// answers early may not read all of them.
    pub(crate) fn send_meanwhile(&mut self, bytes: Vec<u8>) {
        let sent = self.http1().wire.write_meanwhile(bytes);
        sent.expect("a second handle");
    }

    /// Closes the sending side, and keeps receiving.
    pub(crate) fn finish_sending(&mut self) -> io::Result<()> {
        self.http1().wire.finish()
    }

    /// Resets the connection, like a client whose machine has crashed, or that has no use for the
    /// answer. Dropping a client only closes it, which tells the server only that no more bytes
    /// will come. A client of HTTP/2 that is dropped resets its streams.
    pub(crate) fn reset(self) {
        match self.0 {
            Spoken::Http1(http1) => http1.wire.reset(),
            Spoken::Http2(http2) => drop(http2),
        }
    }

    /// Reads the reply to a request with this method.
    pub(crate) fn reply(&mut self, method: &str) -> io::Result<Reply> {
        let mut reply = self.head()?;
        let mut body = Vec::new();
        self.body(method, &reply, |bytes| body.extend_from_slice(bytes))?;
        reply.body = body;
        Ok(reply)
    }

    /// Reads a status line and fields, but not the body.
    pub(crate) fn head(&mut self) -> io::Result<Reply> {
        match &mut self.0 {
            Spoken::Http1(http1) => http1.head(),
            Spoken::Http2(http2) => http2.head(),
        }
    }

    /// Reads the body that belongs to `head`, piece by piece.
    pub(crate) fn body(
        &mut self,
        method: &str,
        head: &Reply,
        mut piece: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        match &mut self.0 {
            Spoken::Http1(http1) => http1.body(method, head, &mut piece),
            Spoken::Http2(http2) => http2.body(method, head, &mut piece),
        }
    }

    /// All bytes until the server closes. A reset counts as a close.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        self.http1().rest()
    }

    /// Whether there are unread bytes from the server, or an unread close.
    pub(crate) fn has_news(&mut self) -> bool {
        self.http1().wire.has_news()
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        match &self.0 {
            Spoken::Http1(http1) => http1.wire.local_address(),
            Spoken::Http2(_) => panic!("{NO_BYTES}"),
        }
    }

    /// Reads this many bytes, whatever they mean.
    pub(crate) fn exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.http1().exact(bytes)
    }

    /// The connection, whose bytes are HTTP/1.
    fn http1(&mut self) -> &mut Http1 {
        match &mut self.0 {
            Spoken::Http1(http1) => http1,
            Spoken::Http2(_) => panic!("{NO_BYTES}"),
        }
    }
}

impl Reply {
    /// The first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|field| field.0 == name)
            .map(|field| field.1.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The process that answered. The server must run with `--expose-pid`.
    pub(crate) fn pid(&self) -> u64 {
        let pid = self
            .field("x-wasm-pid")
            .unwrap_or_else(|| panic!("no pid in {self:?}"));
        pid.parse().expect("a pid is a number")
    }

    /// The number of the request, from an error page.
    pub(crate) fn request_id(&self) -> u64 {
        let text = self.text();
        let digits: String = text
            .rsplit_once("request ")
            .map(|(_, after)| after.chars().take_while(char::is_ascii_digit).collect())
            .unwrap_or_default();
        digits
            .parse()
            .unwrap_or_else(|_| panic!("no request id in {text:?}"))
    }
}

/// A well-formed request. A body gets its `content-length`.
pub(crate) fn request_bytes(
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
    for (name, value) in fields {
        bytes.extend(format!("{name}: ").bytes());
        bytes.extend(latin(value));
        bytes.extend(b"\r\n");
    }
    if !body.is_empty() {
        bytes.extend(format!("content-length: {}\r\n", body.len()).bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Values of fields may have any byte from 0x80 up. ISO 8859-1 decodes all of them without loss.
pub(crate) fn from_latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The reverse. Letters that ISO 8859-1 does not have are sent in UTF-8.
pub(crate) fn latin(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for letter in text.chars() {
        match u8::try_from(letter) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend(letter.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

/// Whether the reply with this status to a request with this method has a body, be it empty.
pub(crate) fn has_body(method: &str, status: u16) -> bool {
    method != "HEAD" && !matches!(status, 204 | 304)
}

pub(crate) fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("malformed {what}"))
}
