//! The PROXY protocol: a proxy that passes bytes on unread says in front of them whose they are
//! (HAProxy's `proxy-protocol.txt`, versions 1 and 2). Only proxies that the operator trusts are
//! asked, and these must say it.

use std::io;
use std::net::SocketAddr;

use ppp::{PartialResult, v1, v2};

use super::wire::Plain;

/// The longest header of version 1, its line end included.
const MAX_LINE_BYTES: usize = 107;

/// The longest header of version 2 that is read. Senders keep to what fits one packet, 536 bytes.
const MAX_HEADER_BYTES: usize = 4 << 10;

/// The two ends of the connection that the proxy has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// Reads the header. `None` if the connection is the proxy's own, as for its health checks.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if there is no valid header; otherwise as reading.
pub(super) async fn read(plain: &mut Plain<'_>) -> io::Result<Option<Passed>> {
    loop {
        if let Some((passed, length)) = parse(plain.look().await?)? {
            plain.drop_ahead(length);
            return Ok(passed);
        }
    }
}

/// The meaning and the length of a header. `None` if it goes on behind these bytes.
fn parse(bytes: &[u8]) -> io::Result<Option<(Option<Passed>, usize)>> {
    if is_beginning(bytes, v1::PROTOCOL_PREFIX.as_bytes()) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        return match end {
            Some(end) if end < MAX_LINE_BYTES => line(&bytes[..=end]).map(Some),
            None if bytes.len() < MAX_LINE_BYTES => Ok(None),
            Some(_) | None => Err(invalid("a line that is too long")),
        };
    }
    let header = v2::Header::try_from(bytes);
    match &header {
        Ok(header) if header.len() <= MAX_HEADER_BYTES => Ok(Some((passed(header), header.len()))),
        Ok(_) => Err(invalid("it is too long")),
        Err(_) if header.is_incomplete() && bytes.len() < MAX_HEADER_BYTES => Ok(None),
        Err(error) => Err(invalid(error)),
    }
}

/// Whether these bytes may be the beginning of something that begins with `prefix`.
fn is_beginning(bytes: &[u8], prefix: &[u8]) -> bool {
    let common = bytes.len().min(prefix.len());
    bytes[..common] == prefix[..common]
}

fn line(line: &[u8]) -> io::Result<(Option<Passed>, usize)> {
    let header = v1::Header::try_from(line).map_err(invalid)?;
    let passed = match header.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(ends) => Some(Passed {
            client: (ends.source_address, ends.source_port).into(),
            server: (ends.destination_address, ends.destination_port).into(),
        }),
        v1::Addresses::Tcp6(ends) => Some(Passed {
            client: (ends.source_address, ends.source_port).into(),
            server: (ends.destination_address, ends.destination_port).into(),
        }),
    };
    Ok((passed, line.len()))
}

fn passed(header: &v2::Header<'_>) -> Option<Passed> {
    match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ends)) => Some(Passed {
            client: (ends.source_address, ends.source_port).into(),
            server: (ends.destination_address, ends.destination_port).into(),
        }),
        (v2::Command::Proxy, v2::Addresses::IPv6(ends)) => Some(Passed {
            client: (ends.source_address, ends.source_port).into(),
            server: (ends.destination_address, ends.destination_port).into(),
        }),
        (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_))
        | (v2::Command::Local, _) => None,
    }
}

fn invalid(why: impl std::fmt::Display) -> io::Error {
    let why = format!("no header of the PROXY protocol: {why}");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Result<Option<(Option<(String, String)>, usize)>, ()>;

    /// What is seen in these bytes. They may come one by one.
    fn seen(bytes: &[u8]) -> Seen {
        let see = |bytes: &[u8]| match parse(bytes) {
            Ok(None) => Ok(None),
            Ok(Some((passed, length))) => {
                let ends = passed.map(|ends| (ends.client.to_string(), ends.server.to_string()));
                Ok(Some((ends, length)))
            }
            Err(_) => Err(()),
        };
        let whole = see(bytes);
        let mut pieces = (1..=bytes.len()).map(|end| see(&bytes[..end]));
        let bytewise = pieces.find(|seen| *seen != Ok(None)).unwrap_or(Ok(None));
        assert_eq!(whole, bytewise, "{:?}", String::from_utf8_lossy(bytes));
        whole
    }

    fn ends(client: &str, server: &str, length: usize) -> Seen {
        Ok(Some((Some((client.into(), server.into())), length)))
    }

    #[test]
    fn lines() {
        let four = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\nGET / HTTP/1.1\r\n";
        assert_eq!(seen(four), ends("192.0.2.7:4711", "198.51.100.1:80", 43));
        let six = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n\x16\x03";
        assert_eq!(
            seen(six),
            ends("[2001:db8::7]:4711", "[2001:db8::1]:443", 45)
        );
        assert_eq!(seen(b"PROXY UNKNOWN\r\nGET"), Ok(Some((None, 15))));
        assert_eq!(seen(b"PROXY TCP4 192.0.2.7 198.51."), Ok(None));
        for invalid in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXY TCP4 192.0.2.700 198.51.100.1 4711 80\r\n",
            b"PROXY TCP5 192.0.2.7 198.51.100.1 4711 80\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\n",
            &[b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
        ] {
            assert_eq!(
                seen(invalid),
                Err(()),
                "{:?}",
                String::from_utf8_lossy(invalid)
            );
        }
    }

    #[test]
    fn binary_headers() {
        let header = |command: u8, family: u8, addresses: &[u8]| {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
            header.extend([command, family]);
            header.extend((addresses.len() as u16).to_be_bytes());
            header.extend(addresses);
            header
        };
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 80];
        let more = [&four[..], &[4, 0, 1, 0]].concat();
        let (client, server) = ("192.0.2.7:4711", "198.51.100.1:80");
        assert_eq!(seen(&header(0x21, 0x11, &four)), ends(client, server, 28));
        assert_eq!(seen(&header(0x21, 0x11, &more)), ends(client, server, 32));
        assert_eq!(seen(&header(0x20, 0, &[])), Ok(Some((None, 16))));
        assert_eq!(seen(&header(0x21, 0, &[])), Ok(Some((None, 16))));
        assert_eq!(seen(&header(0x21, 0x11, &four)[..20]), Ok(None));
        assert_eq!(seen(&header(0x31, 0x11, &four)), Err(()));
        assert_eq!(seen(&header(0x21, 0x11, &four[..8])), Err(()));
        assert_eq!(seen(&header(0x21, 0x11, &[0; 5000])), Err(()));
    }
}
