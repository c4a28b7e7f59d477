//! A *client* that sends one request on its own connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest silence of a server before it answers: longer than a host waits for a guest.
const PATIENCE: Duration = Duration::from_secs(40);

/// A whole response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

/// A request that was sent. Dropping it closes its connection.
pub(crate) struct Pending(TcpStream);

pub(crate) fn ask(address: SocketAddr, path: &str) -> io::Result<Answer> {
    send(address, path)?.answer()
}

pub(crate) fn send(address: SocketAddr, path: &str) -> io::Result<Pending> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let fields = format!("host: {address}\r\nconnection: close");
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes())?;
    Ok(Pending(stream))
}

impl Pending {
    /// Waits for the whole response, whatever its status.
    ///
    /// # Errors
    /// If the server closes the connection before the whole response, or is silent for too long.
    pub(crate) fn answer(mut self) -> io::Result<Answer> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        Answer::parse(bytes).ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// Whether no byte has come back so far.
    pub(crate) fn is_unanswered(&self) -> io::Result<bool> {
        self.0.set_nonblocking(true)?;
        match self.0.peek(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            peeked => peeked.map(|_| false),
        }
    }
}

impl Answer {
    pub(crate) fn is_good(&self) -> bool {
        self.status == 200
    }

    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let field = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.trim())
    }

    fn parse(mut bytes: Vec<u8>) -> Option<Self> {
        const END: &[u8] = b"\r\n\r\n";
        let end = bytes.windows(END.len()).position(|four| four == END)?;
        let body = bytes.split_off(end + END.len());
        let head = String::from_utf8(bytes).ok()?;
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let answer = Self { status, head, body };
        let length: usize = answer.field("content-length")?.parse().ok()?;
        (answer.body.len() == length).then_some(answer)
    }
}
