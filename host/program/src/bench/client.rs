//! A *client* that asks once, on a connection of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may be silent before it is answered. Longer than a host waits for a guest.
const PATIENCE: Duration = Duration::from_secs(40);

/// A whole response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// A request that was sent.
pub(super) struct Pending(TcpStream);

pub(super) fn ask(address: SocketAddr, path: &str) -> io::Result<Answer> {
    send(address, path)?.answer()
}

pub(super) fn send(address: SocketAddr, path: &str) -> io::Result<Pending> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let fields = format!("host: {address}\r\nconnection: close");
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes())?;
    Ok(Pending(stream))
}

impl Pending {
    /// The whole response, whatever its status. A server that closes before is an error.
    pub(super) fn answer(mut self) -> io::Result<Answer> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        parse(&bytes).ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    const END: &[u8] = b"\r\n\r\n";
    let end = bytes.windows(END.len()).position(|four| four == END)?;
    let (head, body) = bytes.split_at(end + END.len());
    let head = std::str::from_utf8(head).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length: usize = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok())?
    })?;
    (body.len() == length).then(|| Answer {
        status,
        body: body.to_owned(),
    })
}
