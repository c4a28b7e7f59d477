//! A blocking HTTP/1.1 client over a bare socket. It is small, checks replies strictly, and can
//! send any bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::PATIENCE;

/// One connection. Replies are read in the order in which requests were sent.
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes that were read and belong to the next reply.
    ahead: Vec<u8>,
}

/// A complete response.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("a connection to the server")
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            ahead: Vec::new(),
        })
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
        self.send(&request_bytes(method, target, fields, body))?;
        self.reply(method)
    }

    /// Sends a well-formed request, and reads nothing yet.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &[u8]) {
        self.send(&request_bytes(method, target, &[], body))
            .expect("the request is sent");
    }

    /// Sends any bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends any bytes from a thread of its own, so that the reply can be read meanwhile. Whoever
    /// answers early may not read all of them.
    pub(crate) fn send_meanwhile(&self, bytes: Vec<u8>) {
        let mut stream = self.stream.try_clone().expect("a second handle");
        std::thread::spawn(move || stream.write_all(&bytes));
    }

    /// Closes the sending side, and keeps receiving.
    pub(crate) fn finish_sending(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Resets the connection, like a client whose machine has crashed, or that has no use for the
    /// answer. Dropping a client only closes it, which tells the server only that no more bytes
    /// will come.
    pub(crate) fn reset(self) {
        set_socket_linger(&self.stream, Some(Duration::ZERO))
            .expect("a socket's linger can be set");
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
        loop {
            let head = self.until(b"\r\n\r\n")?;
            let reply = parse_head(&head)?;
            if reply.status >= 200 {
                return Ok(reply);
            }
        }
    }

    /// Reads the body that belongs to `head`, piece by piece.
    pub(crate) fn body(
        &mut self,
        method: &str,
        head: &Reply,
        mut piece: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        if method == "HEAD" || matches!(head.status, 204 | 304) {
            return Ok(());
        }
        if head.field("transfer-encoding") == Some("chunked") {
            return self.chunks(&mut piece);
        }
        match head.field("content-length") {
            Some(length) => self.exactly(
                length.parse().map_err(|_| malformed("content-length"))?,
                &mut piece,
            ),
            None => self.everything(&mut piece),
        }
    }

    /// All bytes until the server closes. A reset counts as a close.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.everything(&mut |bytes| rest.extend_from_slice(bytes)) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
            _ => Ok(rest),
        }
    }

    /// Whether there are unread bytes from the server, or an unread close.
    pub(crate) fn has_news(&self) -> bool {
        self.stream
            .set_nonblocking(true)
            .expect("a socket that can be made non-blocking");
        let news = self.stream.peek(&mut [0]);
        self.stream
            .set_nonblocking(false)
            .expect("a socket that can be made blocking");
        !matches!(news, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("the client's address")
    }

    /// Reads this many bytes, whatever they mean.
    pub(crate) fn exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let mut at = 0;
        self.exactly(bytes.len() as u64, &mut |piece: &[u8]| {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        })
    }

    fn chunks(&mut self, piece: &mut impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let line = self.until(b"\r\n")?;
            let size = std::str::from_utf8(&line[..line.len() - 2])
                .ok()
                .and_then(|line| u64::from_str_radix(line.split(';').next()?.trim(), 16).ok())
                .ok_or_else(|| malformed("chunk size"))?;
            if size == 0 {
                while self.until(b"\r\n")? != b"\r\n" {}
                return Ok(());
            }
            self.exactly(size, piece)?;
            if self.until(b"\r\n")? != b"\r\n" {
                return Err(malformed("end of chunk"));
            }
        }
    }

    fn exactly(&mut self, mut length: u64, piece: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while length > 0 {
            if self.ahead.is_empty() && self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let take = self
                .ahead
                .len()
                .min(usize::try_from(length).unwrap_or(usize::MAX));
            piece(&self.ahead[..take]);
            self.ahead.drain(..take);
            length -= take as u64;
        }
        Ok(())
    }

    fn everything(&mut self, piece: &mut impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            piece(&self.ahead);
            self.ahead.clear();
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self
                .ahead
                .windows(end.len())
                .position(|window| window == end)
            {
                return Ok(self.ahead.drain(..at + end.len()).collect());
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 64 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.ahead.extend_from_slice(&buffer[..count]);
        Ok(count)
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
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn parse_head(head: &[u8]) -> io::Result<Reply> {
    // Field values may have any byte from 0x80 up. ISO 8859-1 decodes all of them without loss.
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|line| line.get(2..5)?.parse().ok())
        .ok_or_else(|| malformed("status line"))?;
    let fields = lines
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("field"))?;
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect::<io::Result<_>>()?;
    Ok(Reply {
        status,
        fields,
        body: Vec::new(),
    })
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("malformed {what}"))
}
