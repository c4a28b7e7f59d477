//! The *load*: keep-alive connections that each ask again as soon as they are answered, all driven by one
//! thread, since the servers need the cores. Every response is checked; its time is kept.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

/// As many as the targets speak of: enough that a server with few cores is never idle.
const CONNECTIONS: usize = 32;

/// Before times are kept: caches are warm by then, and a pool has grown.
const WARM_UP: Duration = Duration::from_millis(500);

/// How long all connections together may be silent. Servers that take this long are broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than any response here has; one read takes all of it.
const RESPONSE_BYTES: usize = 4096;

/// What is asked for, again and again, and what must come back.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
}

/// How a server did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Asks a server for this long.
pub(crate) fn run(
    address: SocketAddr,
    question: Question<'_>,
    duration: Duration,
) -> io::Result<Sample> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for number in 0..CONNECTIONS {
        let mut connection = Connection::open(address, question)?;
        let source = &mut connection.stream;
        poll.registry()
            .register(source, Token(number), Interest::READABLE)?;
        connections.push(connection);
    }
    for connection in &mut connections {
        connection.ask()?;
    }
    let begin = Instant::now() + WARM_UP;
    let end = begin + duration;
    let mut times = Vec::with_capacity(1 << 20);
    let mut events = Events::with_capacity(CONNECTIONS);
    loop {
        match poll.poll(&mut events, Some(PATIENCE)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        if events.is_empty() {
            return Err(ErrorKind::TimedOut.into());
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            if !connection.receive()? {
                continue;
            }
            let now = Instant::now();
            if now >= end {
                return Ok(Sample::of(times, duration));
            }
            if now >= begin {
                times.push(now - connection.asked);
            }
            connection.ask()?;
        }
    }
}

/// One question, one answer, the same question again.
struct Connection<'a> {
    stream: mio::net::TcpStream,
    /// The question as bytes.
    request: String,
    body: &'a [u8],
    asked: Instant,
    response: [u8; RESPONSE_BYTES],
    /// Bytes of the response so far.
    got: usize,
    /// The body was compared once: after that its length must do.
    compared: bool,
}

impl<'a> Connection<'a> {
    fn open(address: SocketAddr, question: Question<'a>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: mio::net::TcpStream::from_std(stream),
            request: format!("GET {} HTTP/1.1\r\nhost: {address}\r\n\r\n", question.path),
            body: question.body,
            asked: Instant::now(),
            response: [0; RESPONSE_BYTES],
            got: 0,
            compared: false,
        })
    }

    fn ask(&mut self) -> io::Result<()> {
        self.got = 0;
        self.asked = Instant::now();
        // So few bytes fit the socket's buffer, which is empty.
        self.stream.write_all(self.request.as_bytes())
    }

    /// Whether the response is complete. Events tell of what is new: what has not come by now will be one.
    fn receive(&mut self) -> io::Result<bool> {
        loop {
            match self.stream.read(&mut self.response[self.got..]) {
                Ok(0) => return Err(wrong("closed, or too long", self.so_far())),
                Ok(more) => self.got += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            if self.is_complete()? {
                return Ok(true);
            }
        }
    }

    fn is_complete(&mut self) -> io::Result<bool> {
        const END: &[u8] = b"\r\n\r\n";
        let response = self.so_far();
        let Some(end) = response.windows(END.len()).position(|bytes| bytes == END) else {
            return Ok(false);
        };
        let (head, body) = response.split_at(end + END.len());
        if !head.starts_with(b"HTTP/1.1 200 ") {
            return Err(wrong("not 200", response));
        }
        if body.len() > self.body.len() || self.is_first_and_other(body) {
            return Err(wrong("not what was asked for", response));
        }
        let is_complete = body.len() == self.body.len();
        self.compared |= is_complete;
        Ok(is_complete)
    }

    fn is_first_and_other(&self, body: &[u8]) -> bool {
        !self.compared && !self.body.starts_with(body)
    }

    fn so_far(&self) -> &[u8] {
        &self.response[..self.got]
    }
}

fn wrong(what: &str, response: &[u8]) -> io::Error {
    let response = String::from_utf8_lossy(response);
    io::Error::other(format!("a response that is {what}: {response:?}"))
}

impl Sample {
    fn of(mut times: Vec<Duration>, duration: Duration) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times.get(index).copied().unwrap_or(PATIENCE)
        };
        Self {
            per_second: times.len() as f64 / duration.as_secs_f64(),
            p50: at(0.50),
            p99: at(0.99),
        }
    }
}
