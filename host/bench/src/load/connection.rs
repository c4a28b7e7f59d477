//! A *connection* of the load, and the response that it is receiving.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::response::Head;
use super::{Load, Question};

/// The bytes of a response that an error shows.
const EXCERPT_BYTES: usize = 200;

/// The outcome of a read.
pub(crate) enum Received {
    /// No bytes for now. An event tells when there are more.
    Nothing,
    /// This share of a response.
    Part(f64),
    /// The last share of a response.
    Complete {
        share: f64,
        took: Duration,
        is_ok: bool,
    },
    /// The server closed the connection, as it should.
    Closed,
}

/// Sends one request again and again, and receives the responses.
pub(crate) struct Connection<'a> {
    address: SocketAddr,
    token: Token,
    load: &'a Load<'a>,
    body: &'a [u8],
    /// The normal request, and the request that provokes a fault.
    requests: [String; 2],
    stream: TcpStream,
    state: State,
    /// Whether the current request is to provoke a fault.
    is_fault: bool,
    asked: Instant,
    /// The bytes of the response's head so far.
    head: Vec<u8>,
    /// Whether a body was compared once. Later bodies need only have the right length.
    is_compared: bool,
}

/// The state of the connection.
#[derive(Clone, Copy)]
enum State {
    /// The client may ask.
    Idle,
    /// The request is not sent yet: the server is still accepting the connection.
    Asking,
    Head,
    /// This many bytes of the body have arrived.
    Body(Head, usize),
    /// The response is complete, and the server must close the connection. If the client closed
    /// first, its port would stay occupied for a minute, and ports would run out.
    Closing,
}

impl<'a> Connection<'a> {
    pub(crate) fn open(
        address: SocketAddr,
        load: &'a Load<'a>,
        question: Question<'a>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let connection = if load.keep_alive {
            "keep-alive"
        } else {
            "close"
        };
        let fields = format!("host: {address}\r\nconnection: {connection}");
        let request = |path| format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n");
        let fault = load.fault.map_or(question.path, |(path, _)| path);
        Ok(Self {
            address,
            token,
            load,
            body: question.body,
            requests: [question.path, fault].map(request),
            stream: connect(address, registry, token)?,
            state: State::Idle,
            is_fault: false,
            asked: Instant::now(),
            head: Vec::new(),
            is_compared: false,
        })
    }

    /// Sends a request, on a new connection if the last was closed.
    pub(crate) fn ask(&mut self, is_fault: bool, registry: &Registry) -> io::Result<()> {
        self.is_fault = is_fault;
        self.asked = Instant::now();
        if matches!(self.state, State::Closing) {
            self.stream = connect(self.address, registry, self.token)?;
        }
        self.head.clear();
        self.state = State::Asking;
        self.send()
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    fn send(&mut self) -> io::Result<()> {
        let request = self.requests[usize::from(self.is_fault)].as_bytes();
        match self.stream.write(request) {
            Ok(bytes) if bytes == request.len() => self.state = State::Head,
            // A request fits the socket's buffer, which is empty.
            Ok(_) => return Err(io::Error::other("a socket took half of a request")),
            Err(error) if is_not_yet(&error) => {}
            Err(error) => return Err(explained(&error, "can't ask", self.address)),
        }
        Ok(())
    }

    /// Reads once. Events report only new bytes, so the caller must repeat this until it returns
    /// [`Received::Nothing`], or until the connection is idle.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        if matches!(self.state, State::Asking) {
            self.send()?;
        }
        let got = match self.stream.read(buffer) {
            Ok(got) => got,
            Err(error) if is_not_yet(&error) => return Ok(Received::Nothing),
            Err(error) => return Err(explained(&error, "can't read from", self.address)),
        };
        let bytes = &buffer[..got];
        match (self.state, got) {
            (State::Closing, 0) => Ok(Received::Closed),
            (_, 0) => Err(wrong("cut off by the server", &self.head)),
            (State::Head, _) => self.head(bytes),
            (State::Body(head, before), _) => self.body(head, before, bytes, got),
            (State::Idle | State::Asking | State::Closing, _) => {
                Err(wrong("longer than it says", bytes))
            }
        }
    }

    fn head(&mut self, bytes: &[u8]) -> io::Result<Received> {
        let before = self.head.len();
        let Some(head) = Head::read(&mut self.head, bytes).map_err(|what| wrong(&what, bytes))?
        else {
            return Ok(Received::Part(0.0)); // counted in its share once the head is parsed
        };
        if !head.is_ok && !self.is_fault {
            return Err(wrong("not 200", &self.head));
        }
        if head.is_ok && head.body_bytes != self.body.len() {
            let what = format!("not of {} bytes", self.body.len());
            return Err(wrong(&what, &self.head));
        }
        if head.is_ok && head.closes && self.load.keep_alive {
            return Err(wrong("the last on a connection to be kept", &self.head));
        }
        let rest = &bytes[head.bytes - before..];
        self.body(head, 0, rest, bytes.len())
    }

    /// Takes more of the body. `got` bytes have arrived, of which some may belong to the head.
    fn body(
        &mut self,
        head: Head,
        before: usize,
        bytes: &[u8],
        got: usize,
    ) -> io::Result<Received> {
        let so_far = before + bytes.len();
        if so_far > head.body_bytes {
            return Err(wrong("longer than it says", &self.head));
        }
        if head.is_ok && !self.is_compared && self.body[before..so_far] != *bytes {
            return Err(wrong("not what was asked for", &self.head));
        }
        let share = got as f64 / (head.bytes + head.body_bytes) as f64;
        if so_far < head.body_bytes {
            self.state = State::Body(head, so_far);
            return Ok(Received::Part(share));
        }
        self.is_compared |= head.is_ok;
        self.state = if head.closes || !self.load.keep_alive {
            State::Closing
        } else {
            State::Idle
        };
        Ok(Received::Complete {
            share,
            took: self.asked.elapsed(),
            is_ok: head.is_ok,
        })
    }
}

/// Begins to connect. An event tells when the connection is established.
fn connect(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<TcpStream> {
    let connected = TcpStream::connect(address);
    let mut stream = connected.map_err(|error| explained(&error, "can't connect to", address))?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted
    )
}

fn explained(error: &io::Error, what: &str, address: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {address}: {error}"))
}

fn wrong(what: &str, response: &[u8]) -> io::Error {
    let excerpt = &response[..response.len().min(EXCERPT_BYTES)];
    let excerpt = String::from_utf8_lossy(excerpt);
    io::Error::other(format!("a response that is {what}: {excerpt:?}"))
}
