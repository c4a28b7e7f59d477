//! Finds the start and the end of each head in the bytes of a connection. Also finds the flaws of a
//! head that hyper doesn't report: hyper drops a fragment silently, and accepts a head of any size
//! that arrives in one read.
//!
//! [`Scan`] finds the end of a head, [`Framing`] the end of the body behind it. Both are plain
//! functions of bytes. Only hyper decides what a request means. A head ends where hyper's parser
//! ends it, at the first empty line behind the request line.

use memchr::memchr;

/// The largest head in bytes: request line and all fields. nginx and Apache accept half of this by
/// default.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;

/// The largest `Content-Length`. No file is larger, and many programs read larger lengths as
/// negative numbers.
const MAX_LENGTH: u64 = i64::MAX as u64;

/// The first byte of TLS: a record with a handshake (RFC 8446, section 5.1). No method has it.
pub(super) const HANDSHAKE: u8 = 22;

/// A flaw in a head, visible in its bytes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Flaw {
    /// The request line alone has more than [`MAX_HEAD_BYTES`].
    LineTooLong = 1,
    /// The whole head has more than [`MAX_HEAD_BYTES`].
    HeadTooLarge,
    /// `Content-Length` is more than [`MAX_LENGTH`].
    Length,
    /// The request target has a `#` and a fragment. Clients must not send fragments.
    Fragment,
    /// The client speaks HTTP/2.
    Http2,
    /// A header of the PROXY protocol.
    ProxyHeader,
    /// The client speaks TLS.
    Tls,
}

impl Flaw {
    /// The reverse of `as u8`.
    pub(super) fn from_u8(number: u8) -> Option<Self> {
        [
            Self::LineTooLong,
            Self::HeadTooLarge,
            Self::Length,
            Self::Fragment,
            Self::Http2,
            Self::ProxyHeader,
            Self::Tls,
        ]
        .into_iter()
        .find(|flaw| *flaw as u8 == number)
    }
}

/// Looks for the end of one head, whose bytes may arrive in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// The start of the line that has not ended yet.
    line: usize,
    /// There is no further end of a line before this position.
    searched: usize,
    /// Whether the request line has ended. Empty lines before it don't count.
    request_line: bool,
    fragment: bool,
}

/// A complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// Its length in bytes, the empty line included.
    pub(super) length: usize,
    /// Whether its target has a fragment.
    pub(super) fragment: bool,
}

impl Scan {
    /// Continues the search. `bytes` are all bytes since the head began. `None` if the head goes on
    /// behind them.
    ///
    /// # Errors
    /// Any [`Flaw`] except [`Flaw::Fragment`]. The search stops at the flaw.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Result<Option<Whole>, Flaw> {
        while let Some(found) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + found;
            let line = &bytes[self.line..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.searched = end + 1;
            self.line = self.searched;
            if !self.request_line {
                if line.len() > MAX_HEAD_BYTES {
                    return Err(Flaw::LineTooLong);
                }
                if let Some(other) = other_protocol(bytes, line) {
                    return Err(other);
                }
                self.request_line = !line.is_empty();
                self.fragment = has_fragment(line);
            } else if line.is_empty() {
                let (length, fragment) = (self.searched, self.fragment);
                return if length > MAX_HEAD_BYTES {
                    Err(Flaw::HeadTooLarge)
                } else {
                    Ok(Some(Whole { length, fragment }))
                };
            } else if is_endless(line) {
                return Err(Flaw::Length);
            }
        }
        self.searched = bytes.len();
        if !self.request_line && bytes.get(self.line) == Some(&HANDSHAKE) {
            return Err(Flaw::Tls);
        }
        match bytes.len() > MAX_HEAD_BYTES {
            false => Ok(None),
            true if self.line > 0 => Err(Flaw::HeadTooLarge),
            true => Err(Flaw::LineTooLong),
        }
    }
}

/// Which protocol begins with this line, if it is one that some flag has the host speak. `bytes`
/// are all bytes since the head began. A request of HTTP/1 has no such line: its target is a path,
/// a URL or `*`, and its version is 1.
fn other_protocol(bytes: &[u8], line: &[u8]) -> Option<Flaw> {
    /// Version 2 of the PROXY protocol, up to the end of its third line.
    const PROXY_2: &[u8] = b"\r\n\r\n\0\r\n";
    let begins = |start: &[u8]| line.starts_with(start);
    match line {
        [HANDSHAKE, ..] => Some(Flaw::Tls),
        [0] if bytes.starts_with(PROXY_2) => Some(Flaw::ProxyHeader),
        [b'P', ..] if begins(b"PRI * HTTP/2") => Some(Flaw::Http2),
        [b'P', ..] if begins(b"PROXY TCP") || begins(b"PROXY UNKNOWN") => Some(Flaw::ProxyHeader),
        _ => None,
    }
}

/// Whether the target of this request line has a fragment. A `#` in the method is none.
fn has_fragment(line: &[u8]) -> bool {
    let target = memchr(b'#', line).and_then(|_| memchr(b' ', line));
    target.is_some_and(|target| memchr(b'#', &line[target..]).is_some())
}

/// Whether this field line is a `Content-Length` beyond [`MAX_LENGTH`]. hyper reports the two
/// largest `u64` as a head that is too large. It refuses by itself a value that is no `u64`.
fn is_endless(line: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    line.first().is_some_and(|byte| byte | 0x20 == b'c')
        && line
            .get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
        && std::str::from_utf8(&line[NAME.len()..]).is_ok_and(
            |value| matches!(value.trim().parse(), Ok(length @ 0_u64..) if length > MAX_LENGTH),
        )
}

/// Looks for the end of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes are left.
    Length(u64),
    /// The size line of a chunk. `size` is the value of the digits so far.
    Size { size: u64, ended: bool },
    /// This many bytes of a chunk are left, its line end included.
    Chunk(u64),
    /// A line behind the last chunk. `empty`: it has no bytes yet, or only a CR. An empty line ends
    /// the body.
    Trailer { empty: bool, cr: bool },
    /// The body has ended.
    Over,
}

impl Framing {
    /// A chunked body.
    pub(super) const CHUNKED: Self = Self::Size {
        size: 0,
        ended: false,
    };

    /// Returns how many of these bytes belong to the body. The last byte of the body leads to
    /// [`Framing::Over`].
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let left = &bytes[at..];
            match self {
                Self::Over => break,
                Self::Length(count) => {
                    at += skip(count, left);
                    if *count == 0 {
                        *self = Self::Over;
                    }
                }
                Self::Chunk(count) => {
                    at += skip(count, left);
                    if *count == 0 {
                        *self = Self::CHUNKED;
                    }
                }
                Self::Size { size, ended } => {
                    at += 1;
                    match (char::from(left[0]).to_digit(16), left[0]) {
                        (_, b'\n') if *size == 0 => *self = Self::TRAILER,
                        (_, b'\n') => *self = Self::Chunk(size.saturating_add(2)),
                        // hyper refuses a size that overflows.
                        (Some(digit), _) if !*ended => {
                            *size = size.saturating_mul(16).saturating_add(digit.into());
                        }
                        _ => *ended = true,
                    }
                }
                Self::Trailer { empty, cr } => {
                    at += 1;
                    *self = match (left[0], *empty, *cr) {
                        (b'\n', true, true) => Self::Over,
                        (b'\n', false, true) => Self::TRAILER,
                        (byte, empty, _) => Self::Trailer {
                            empty: empty && byte == b'\r',
                            cr: byte == b'\r',
                        },
                    };
                }
            }
        }
        at
    }

    const TRAILER: Self = Self::Trailer {
        empty: true,
        cr: false,
    };
}

/// Reduces the count by the number of these bytes, at most to 0. Returns the difference.
fn skip(count: &mut u64, bytes: &[u8]) -> usize {
    let here = usize::try_from(*count).map_or(bytes.len(), |count| count.min(bytes.len()));
    *count -= here as u64;
    here
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Result<Option<Whole>, Flaw>;

    /// The result of a scan of these bytes. Whole and byte by byte give the same.
    fn scan(bytes: &[u8]) -> Seen {
        let at_once = Scan::default().look(bytes);
        let mut scan = Scan::default();
        let bytewise = (1..=bytes.len())
            .map(|end| scan.look(&bytes[..end]))
            .find(|seen| *seen != Ok(None))
            .unwrap_or(Ok(None));
        assert_eq!(at_once, bytewise, "{:?}", String::from_utf8_lossy(bytes));
        at_once
    }

    #[test]
    fn heads_end_at_their_first_empty_line() {
        let whole = |length| {
            let fragment = false;
            Ok(Some(Whole { length, fragment }))
        };
        #[rustfmt::skip] // one line per case
        let cases: &[(&[u8], Seen)] = &[
            (b"", Ok(None)),
            (b"\r\n\r\n", Ok(None)),
            (b"GET / HTTP/1.1\r\nhost: x\r\n", Ok(None)),
            (b"GET / HTTP/1.1\r\nhost: x\r\n\r", Ok(None)),
            (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", whole(27)),
            (b"GET / HTTP/1.1\nhost: x\n\n", whole(24)),
            (b"GET / HTTP/1.1\r\n\r\nGET /", whole(18)),
            (b"\r\n\nGET / HTTP/1.1\r\n\r\nmore", whole(21)),
            (b"GET / HTTP/1.1\r\nx: #\r\n\r\n", whole(24)),
            (b"G#T / HTTP/1.1\r\n\r\n", whole(18)),
            (b"GET /#a HTTP/1.1\r\n\r\n", Ok(Some(Whole { length: 20, fragment: true }))),
            (b"G#T /# HTTP/1.1\r\n\r\n", Ok(Some(Whole { length: 19, fragment: true }))),
            (b"GET / HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n\r\n", whole(55)),
            (b"GET / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n", Err(Flaw::Length)),
            (b"GET / HTTP/1.1\r\ncontent-length:18446744073709551615 \r\n", Err(Flaw::Length)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(Flaw::Http2)),
            (b"PRI * HTTP/1.1\r\n\r\n", whole(18)),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nGET / HTTP/1.1\r\n\r\n", Err(Flaw::ProxyHeader)),
            (b"PROXY UNKNOWN\r\n", Err(Flaw::ProxyHeader)),
            (b"PROXY / HTTP/1.1\r\n\r\n", whole(20)),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Err(Flaw::ProxyHeader)),
            (b"\0\r\n\r\n", whole(5)),
            (b"\x16\x03\x01\x02\0\x01", Err(Flaw::Tls)),
            (b"\x16\x03\x01\n\0\x01", Err(Flaw::Tls)),
            (b"GET / HTTP/1.1\r\n\x16\x03\r\n\r\n", whole(22)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                scan(bytes),
                *expected,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn the_limit_holds_at_its_number() {
        let head = |line: usize, fields: usize| {
            let mut head = b"GET /".to_vec();
            head.resize(line, b'x');
            head.extend(b"\r\nx: ");
            head.resize(line + fields, b'x');
            head.extend(b"\r\n\r\n");
            head
        };
        let most = head(100, MAX_HEAD_BYTES - 104);
        assert_eq!(most.len(), MAX_HEAD_BYTES);
        assert!(Scan::default().look(&most).expect("no flaw").is_some());
        let more = head(100, MAX_HEAD_BYTES - 103);
        assert_eq!(Scan::default().look(&more), Err(Flaw::HeadTooLarge));
        let more = head(MAX_HEAD_BYTES, 100);
        assert_eq!(Scan::default().look(&more), Err(Flaw::HeadTooLarge));
        let more = head(MAX_HEAD_BYTES + 1, 100);
        assert_eq!(Scan::default().look(&more), Err(Flaw::LineTooLong));
        assert_eq!(
            Scan::default().look(&more[..=MAX_HEAD_BYTES]),
            Err(Flaw::LineTooLong)
        );
        assert_eq!(Scan::default().look(&more[..MAX_HEAD_BYTES]), Ok(None));
    }

    #[test]
    fn bodies_end_where_they_end() {
        #[rustfmt::skip] // one line per case
        let cases: &[(Framing, &[u8], Option<usize>)] = &[
            (Framing::Length(4), b"bodyGET", Some(4)),
            (Framing::Length(4), b"bod", None),
            (Framing::CHUNKED, b"0\r\n\r\nGET", Some(5)),
            (Framing::CHUNKED, b"4\r\nbody\r\n0\r\n\r\nGET", Some(14)),
            (Framing::CHUNKED, b"A;x=y\r\n0\r\n\r\n 67 9\r\n0;0\r\n\r\nGET", Some(26)),
            (Framing::CHUNKED, b"1 \r\nx\r\n00\r\nx: y\r\nz:\r\n\r\nGET", Some(23)),
            (Framing::CHUNKED, b"0\r\nx: \n\r\ny\r\n\r\nGET", Some(14)),
            (Framing::CHUNKED, b"0\r\n\n\r\n\r\nGET", Some(8)),
            (Framing::CHUNKED, b"ffffffffffffffffffff\r\n0\r\n\r\nGET", None),
        ];
        for (start, bytes, expected) in cases {
            let mut framing = *start;
            let taken = framing.take(bytes);
            let ended = (framing == Framing::Over).then_some(taken);
            assert_eq!(ended, *expected, "{:?}", String::from_utf8_lossy(bytes));
            let mut framing = *start;
            let bytewise: usize = bytes.chunks(1).map(|byte| framing.take(byte)).sum();
            assert_eq!(bytewise, taken, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
