//! HTTP/2 by hand: single frames, also such as no client would send (RFC 9113, RFC 7541).

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;
use super::h2::tunnel;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it was read.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection on which frames are sent and read one by one.
pub(crate) struct Frames(TcpStream);

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![high, middle, low, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field as a literal that nobody needs to remember.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        put_length(&mut bytes, text.len());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541, section 5.1).
fn put_length(bytes: &mut Vec<u8>, length: usize) {
    const MOST: usize = 127;
    if length < MOST {
        bytes.push(length as u8);
        return;
    }
    bytes.push(MOST as u8);
    let mut left = length - MOST;
    while left >= 128 {
        bytes.push((left % 128) as u8 | 128);
        left /= 128;
    }
    bytes.push(left as u8);
}

/// The fields of a request, compressed by nothing.
pub(crate) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
    ];
    let fields = pseudo.iter().chain(more);
    fields
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

/// A whole request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields = request("GET", path, &[]);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields)
}

/// More bytes for a stream, or with 0 for the connection.
pub(crate) fn window(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// The client does not want a stream any more.
pub(crate) fn cancel(stream: u32) -> Vec<u8> {
    const CANCEL: u32 = 8;
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

impl Frames {
    /// Connects, and says what every client says first.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut frames = Self::connect_silently(address);
        frames.send(PREFACE);
        frames.send(&frame(SETTINGS, 0, 0, &[]));
        frames
    }

    /// The same over TLS, with HTTP/2 chosen by ALPN.
    pub(crate) fn connect_over_tls(address: SocketAddr) -> Self {
        Self::connect(tunnel(address).expect("a connection"))
    }

    pub(crate) fn connect_silently(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("it is sent");
    }

    /// The next frame but acknowledgements. `None` if the server has closed.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).ok()?;
            let [high, middle, low, kind, flags, stream @ ..] = head;
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).ok()?;
            if kind == SETTINGS && flags & ACK == 0 {
                self.0.write_all(&frame(SETTINGS, ACK, 0, &[])).ok()?;
            } else if !matches!((kind, flags & ACK), (SETTINGS | PING, ACK)) {
                let stream = u32::from_be_bytes(stream);
                return Some(Frame {
                    kind,

                    stream,
                    payload,
                });
            }
        }
    }

    /// The next frame that is wanted. `None` if the server closes before.
    pub(crate) fn wait(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        std::iter::from_fn(|| self.next()).find(wanted)
    }

    /// The first byte of a response's head, which is the index of a usual status (RFC 7541,
    /// appendix A).
    pub(crate) fn is_ok(&mut self, stream: u32) -> bool {
        const OK: u8 = 0x88;
        let head = self.wait(|frame| frame.stream == stream && frame.kind == HEADERS);
        head.is_some_and(|head| head.payload.first() == Some(&OK))
    }

    /// Sends these bytes again and again. Returns whether the server ends the connection before
    /// that is over.
    pub(crate) fn flood(self, bytes: &[u8], times: usize) -> bool {
        self.flood_by(times, |_| bytes.to_vec())
    }

    /// The same with other bytes each time.
    pub(crate) fn flood_by(self, times: usize, mut bytes: impl FnMut(u32) -> Vec<u8>) -> bool {
        let mut writer = self.0.try_clone().expect("a second handle");
        std::thread::scope(|scope| {
            // Whoever sends and never reads could wait for ever.
            let reader = scope.spawn(move || {
                let mut stream = self.0;
                let mut scratch = [0; 4096];
                while stream.read(&mut scratch).is_ok_and(|count| count > 0) {}
            });
            let mut sent = (0..times as u32).map(|at| writer.write_all(&bytes(at)));
            let is_over = sent.any(|sent| sent.is_err());
            let _gone = writer.shutdown(Shutdown::Both);
            reader.join().expect("the reader ends");
            is_over
        })
    }
}
