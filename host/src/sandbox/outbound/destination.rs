//! Which servers may be reached. A server is checked twice: its name and port before anything is
//! done, and its address once the name is resolved. Otherwise a public name that leads to a private
//! address would open the user's own network to guests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::Scheme;
use wasmtime_wasi_http::Error;

use crate::settings::Destination;

/// The server of one request.
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) is_tls: bool,
}

pub(super) enum Host {
    /// In lower case.
    Name(String),
    Address(IpAddr),
}

/// Why a server can't be reached.
#[derive(Clone, Copy)]
pub(super) enum Obstacle {
    Unnamed,
    /// One of the addresses of the name.
    Address(IpAddr),
}

impl Target {
    /// # Errors
    /// If the URI names no server.
    pub(super) fn of(uri: &Uri) -> Result<Self, Error> {
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let host = authority.host();
        // Otherwise a port that is no number would count as none.
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => default_port(is_tls),
            Some(_) => authority.port_u16().ok_or(Error::HttpRequestUriInvalid)?,
            None => return Err(Error::HttpRequestUriInvalid), // a user's name
        };
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match literal.unwrap_or(host).parse::<IpAddr>() {
            Ok(address) => Host::Address(address.to_canonical()),
            Err(_) if literal.is_some() || host.is_empty() => {
                return Err(Error::HttpRequestUriInvalid);
            }
            Err(_) => Host::Name(host.to_ascii_lowercase()),
        };
        Ok(Self { host, port, is_tls })
    }

    /// Whether the user named this server.
    pub(super) fn is_named(&self, named: &[Destination]) -> bool {
        named.iter().any(|named| {
            self.has_port_of(named)
                && match &self.host {
                    Host::Name(name) => covers(&named.host, name),
                    Host::Address(address) => is_literally(named, *address),
                }
        })
    }

    /// Whether this server may be reached at this address of its name. Addresses that are not
    /// public have to be named themselves.
    pub(super) fn may_be_at(&self, address: IpAddr, named: &[Destination]) -> bool {
        let address = address.to_canonical();
        // This name means loopback, and here the user named it.
        let is_local = matches!(&self.host, Host::Name(name) if name == "localhost");
        let mut named = named.iter();
        is_public(address)
            || (is_local && address.is_loopback())
            || named.any(|named| self.has_port_of(named) && is_literally(named, address))
    }

    fn has_port_of(&self, named: &Destination) -> bool {
        named.port.unwrap_or(default_port(self.is_tls)) == self.port
    }
}

fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

/// Whether a user who named `named` meant this name too.
fn covers(named: &str, name: &str) -> bool {
    match named.strip_prefix("*.") {
        None => named.eq_ignore_ascii_case(name),
        Some(parent) => {
            let at = name.len().checked_sub(parent.len());
            let parts = at.and_then(|at| name.split_at_checked(at));
            parts.is_some_and(|(label, rest)| {
                rest.eq_ignore_ascii_case(parent) && label.len() > 1 && label.ends_with('.')
            })
        }
    }
}

fn is_literally(named: &Destination, address: IpAddr) -> bool {
    let literal = named.host.parse::<IpAddr>();
    literal.is_ok_and(|literal| literal.to_canonical() == address)
}

/// Whether an address is anybody's, and not of this machine or of a network that it is in. The
/// standard library's `is_global` is not stable. The registries are IANA's for special addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(embedded) => is_public_v4(embedded),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = match address.octets() {
        [0 | 10 | 127, ..] => true,  // this network, private, loopback
        [100, 64..=127, ..] => true, // behind a provider's NAT
        [169, 254, ..] => true,      // link-local: metadata of cloud machines
        [172, 16..=31, ..] => true,  // private
        [192, 0, 0, _] => true,      // protocol assignments
        [192, 168, ..] => true,      // private
        [198, 18..=19, ..] => true,  // benchmarks within a network
        [224..=255, ..] => true,     // multicast, reserved, broadcast
        _ => false,
    };
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let is_special = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => true, // unspecified, loopback
        [0x64, 0xff9b, 1, ..] => true,        // a network's own translation to IPv4
        [0x100, 0, 0, 0, ..] => true,         // discarded
        [0x2001, 0..=0x1ff, ..] => true,      // protocol assignments, Teredo
        [0xfc00..=0xfdff, ..] => true,        // private
        [0xfe00..=0xffff, ..] => true,        // link-local, site-local, multicast
        _ => false,
    };
    !is_special
}

/// The IPv4 address that a gateway would make of this address.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => of(high, low), // compatible, mapped
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of(high, low),  // NAT64
        [0x2002, high, low, ..] => of(high, low),                // 6to4
        _ => None,
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{port}"),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}:{port}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("a guest may not ask this server: it is not allowed"),
            Self::Address(address) => write!(
                f,
                "a guest may not ask this server: its name leads to {address}, which is not public \
                 and not allowed by itself"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<Destination> {
        let of = |name: &&str| match name.rsplit_once('/') {
            Some((host, port)) => Destination {
                host: host.into(),
                port: port.parse().ok(),
            },
            None => Destination {
                host: (*name).into(),
                port: None,
            },
        };
        names.iter().map(of).collect()
    }

    fn target(uri: &str) -> Result<Target, Error> {
        Target::of(&uri.parse().expect("a URI"))
    }

    #[test]
    fn a_server_is_reached_if_its_name_and_port_are_named() {
        #[rustfmt::skip] // one line per case
        let cases = [
            ("http://example.org/", "example.org", true),
            ("http://EXAMPLE.org/", "example.org", true),
            ("https://example.org/", "example.org", true),
            ("http://example.org:80/", "example.org", true),
            ("http://example.org:443/", "example.org", false),
            ("https://example.org:443/", "example.org", true),
            ("http://example.org:8080/", "example.org", false),
            ("http://example.org:8080/", "example.org/8080", true),
            ("http://example.org/", "example.org/8080", false),
            ("http://a.example.org/", "example.org", false),
            ("http://a.example.org/", "*.example.org", true),
            ("http://a.b.example.org/", "*.example.org", true),
            ("http://example.org/", "*.example.org", false),
            ("http://badexample.org/", "*.example.org", false),
            ("http://.example.org/", "*.example.org", false),
            ("http://example.org./", "example.org", false),
            ("http://10.0.0.1/", "10.0.0.1", true),
            ("http://10.0.0.2/", "10.0.0.1", false),
            ("http://[::1]:81/", "::1/81", true),
            ("http://[::ffff:10.0.0.1]/", "10.0.0.1", true),
            ("http://1.10.0.0.1/", "*.10.0.0.1", true),
        ];
        for (uri, name, is_named) in cases {
            let target = target(uri).expect("a server");
            assert_eq!(target.is_named(&named(&[name])), is_named, "{uri} {name}");
        }
    }

    #[test]
    fn what_names_no_server_is_invalid() {
        for uri in [
            "/path",
            "http://a:99999/",
            "http://user@a/",
            "http://a:b@c/",
        ] {
            assert!(target(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn private_addresses_have_to_be_named_themselves() {
        #[rustfmt::skip] // one line per case
        let cases: &[(&str, &[&str], bool)] = &[
            ("93.184.215.14", &["a.org"], true),
            ("2606:2800:21f::1", &["a.org"], true),
            ("127.0.0.1", &["a.org"], false),
            ("127.0.0.1", &["a.org", "127.0.0.1"], true),
            ("127.0.0.1", &["a.org", "127.0.0.1/81"], false),
            ("::ffff:127.0.0.1", &["a.org", "127.0.0.1"], true),
            ("::ffff:127.0.0.1", &["a.org"], false),
            ("::127.0.0.1", &["a.org"], false),
            ("64:ff9b::10.0.0.1", &["a.org"], false),
            ("64:ff9b::8.8.8.8", &["a.org"], true),
            ("2002:a00:1::", &["a.org"], false),
            ("0.0.0.0", &["a.org"], false),
            ("10.1.2.3", &["a.org"], false),
            ("100.64.0.1", &["a.org"], false),
            ("169.254.169.254", &["a.org"], false),
            ("172.16.0.1", &["a.org"], false),
            ("172.32.0.1", &["a.org"], true),
            ("192.168.0.1", &["a.org"], false),
            ("224.0.0.1", &["a.org"], false),
            ("255.255.255.255", &["a.org"], false),
            ("::", &["a.org"], false),
            ("::1", &["a.org"], false),
            ("fe80::1", &["a.org"], false),
            ("fd00::1", &["a.org"], false),
            ("ff02::1", &["a.org"], false),
        ];
        for (address, names, may) in cases {
            let target = target("http://a.org/").expect("a server");
            let address = address.parse().expect("an address");
            assert_eq!(target.may_be_at(address, &named(names)), *may, "{address}");
        }
        let localhost = target("http://localhost/").expect("a server");
        let is_reached = |address: &str| {
            let address = address.parse().expect("an address");
            localhost.may_be_at(address, &named(&["localhost"]))
        };
        assert!(is_reached("127.0.0.1") && is_reached("::1"));
        assert!(!is_reached("10.0.0.1"));
    }
}
