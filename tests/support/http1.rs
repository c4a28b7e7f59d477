//! A connection of HTTP/1.1: bytes are sent as they are, and replies are read strictly.

use std::io::{self, ErrorKind};

use super::door::Address;
use super::http::{Reply, from_latin, has_body, malformed};
use super::wire::Wire;

pub(crate) struct Http1 {
    pub(crate) wire: Wire,
    /// Bytes that were read and belong to the next reply.
    ahead: Vec<u8>,
}

impl Http1 {
    pub(crate) fn connect(address: &Address) -> io::Result<Self> {
        Wire::connect(address).map(Self::on)
    }

    pub(crate) fn on(wire: Wire) -> Self {
        Self {
            wire,
            ahead: Vec::new(),
        }
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

    /// Reads the body that belongs to `head`.
    pub(crate) fn body(
        &mut self,
        method: &str,
        head: &Reply,
        piece: &mut impl FnMut(&[u8]),
    ) -> io::Result<()> {
        if !has_body(method, head.status) {
            return Ok(());
        }
        if head.field("transfer-encoding") == Some("chunked") {
            return self.chunks(piece);
        }
        match head.field("content-length") {
            Some(length) => self.exactly(
                length.parse().map_err(|_| malformed("content-length"))?,
                piece,
            ),
            None => self.everything(piece),
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
        let count = self.wire.read(&mut buffer)?;
        self.ahead.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

fn parse_head(head: &[u8]) -> io::Result<Reply> {
    let text = from_latin(head);
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
