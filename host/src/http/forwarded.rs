//! *Forwarded* requests: a proxy that the operator trusts names the client for whom it asks, in
//! `Forwarded` (RFC 7239) or `X-Forwarded-For`. Whatever anybody else says there is not believed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName};

use crate::message::Scheme;
use crate::settings::TrustedProxies;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a proxy says of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// The client's `address:port`, with port 0 if the proxy has not said it.
    pub(super) client: Option<Arc<str>>,
    pub(super) scheme: Option<Scheme>,
}

/// One proxy's words about whoever it got the request from.
#[derive(Clone, Copy, Debug, Default)]
struct Hop {
    client: Option<SocketAddr>,
    scheme: Option<Scheme>,
}

/// What the fields of a request say. The last proxy, which is trusted, has added the last words;
/// those before count as long as the proxies that they name are trusted, too.
///
/// A proxy adds one of the two fields, and may pass the other on as it came from the client. So if
/// both are there and don't agree, neither is believed.
pub(super) fn named(headers: &HeaderMap, trusted: &TrustedProxies) -> Named {
    let standard = || last_untrusted(&hops(headers), trusted);
    let usual = || last_untrusted(&x_hops(headers), trusted).client;
    let are_there = [FORWARDED, X_FORWARDED_FOR].map(|name| headers.contains_key(name));
    let (client, stated) = match are_there {
        [false, false] => (None, None),
        [false, true] => (usual(), None),
        [true, false] => {
            let Hop { client, scheme } = standard();
            (client, scheme)
        }
        [true, true] => {
            let (Hop { client, scheme }, usual) = (standard(), usual());
            let agree = client.map(|client| client.ip()) == usual.map(|client| client.ip());
            if !agree {
                return Named::default();
            }
            (client, scheme)
        }
    };
    let scheme = match (stated, x_scheme(headers)) {
        (Some(one), Some(other)) if one != other => None,
        (one, other) => one.or(other),
    };
    Named {
        client: client.map(|client| client.to_string().into()),
        scheme,
    }
}

/// The words about the last client that is no trusted proxy itself. What can't be read ends the
/// chain: the address behind it counts.
fn last_untrusted(hops: &[Hop], trusted: &TrustedProxies) -> Hop {
    let mut last = Hop::default();
    for hop in hops.iter().rev() {
        let Some(client) = hop.client else {
            break;
        };
        last = *hop;
        if !trusted.has(client.ip()) {
            break;
        }
    }
    last
}

/// The elements of all `Forwarded` fields.
fn hops(headers: &HeaderMap) -> Vec<Hop> {
    let fields = values(headers, FORWARDED).into_iter();
    fields
        .flat_map(|field| split(field, ','))
        .map(hop)
        .collect()
}

/// The addresses of all `X-Forwarded-For` fields.
fn x_hops(headers: &HeaderMap) -> Vec<Hop> {
    let fields = values(headers, X_FORWARDED_FOR).into_iter();
    let addresses = fields.flat_map(|field| field.split(',')).map(address);
    let hop = |client| Hop {
        client,
        scheme: None,
    };
    addresses.map(hop).collect()
}

/// The values of all fields of this name: none, if one of them is no text.
fn values(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
    let values = headers.get_all(name).into_iter();
    let values: Result<_, _> = values.map(|value| value.to_str()).collect();
    values.unwrap_or_default()
}

/// One element: `for=192.0.2.7;proto=https`.
fn hop(element: &str) -> Hop {
    let mut hop = Hop::default();
    for pair in split(element, ';') {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        let value = value.trim();
        let quoted = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        let value = quoted.unwrap_or(value);
        if value.contains('"') {
            return Hop::default(); // a quote without an end may hide where the next element begins
        }
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => hop.client = address(value),
            "proto" => hop.scheme = scheme(value),
            _ => {}
        }
    }
    hop
}

/// The scheme that the last proxy states.
fn x_scheme(headers: &HeaderMap) -> Option<Scheme> {
    let stated = headers.get_all(X_FORWARDED_PROTO).iter().next_back()?;
    stated.to_str().ok()?.rsplit(',').next().and_then(scheme)
}

/// The parts between separators that do not stand in quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |char| {
        is_quoted ^= char == '"';
        char == separator && !is_quoted
    })
}

/// An address, perhaps with a port. IPv6 addresses may stand in brackets. The identifiers that hide
/// an address (RFC 7239, section 6.3) are none.
fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let ip = bare.unwrap_or(text).parse::<IpAddr>();
    match ip {
        Ok(ip) => Some((ip, 0).into()),
        Err(_) => text.parse().ok(),
    }
}

fn scheme(text: &str) -> Option<Scheme> {
    match text.trim().to_ascii_lowercase().as_str() {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    /// The client and the scheme that these fields name, if 10.0.0.0/8 is trusted.
    fn named(fields: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::from_str(value).expect("a value");
            headers.append(HeaderName::from_static(name), value);
        }
        let trusted = TrustedProxies {
            networks: vec!["10.0.0.0/8".parse().expect("a network")],
            unix: false,
        };
        let Named { client, scheme } = super::named(&headers, &trusted);
        let scheme = scheme.map(|scheme| format!(" {scheme}"));
        format!(
            "{}{}",
            client.as_deref().unwrap_or("-"),
            scheme.unwrap_or_default()
        )
    }

    #[test]
    fn fields() {
        const F: &str = "forwarded";
        const X: &str = "x-forwarded-for";
        const P: &str = "x-forwarded-proto";
        #[rustfmt::skip] // one line per case
        let cases: &[(&[(&'static str, &str)], &str)] = &[
            (&[], "-"),
            (&[(X, "192.0.2.7")], "192.0.2.7:0"),
            (&[(X, "192.0.2.7:4711")], "192.0.2.7:4711"),
            (&[(X, "2001:db8::7")], "[2001:db8::7]:0"),
            (&[(X, "[2001:db8::7]:4711")], "[2001:db8::7]:4711"),
            (&[(X, "192.0.2.6, 192.0.2.7")], "192.0.2.7:0"),
            (&[(X, "192.0.2.6"), (X, "192.0.2.7")], "192.0.2.7:0"),
            (&[(X, "192.0.2.6, 192.0.2.7,10.1.1.1 , 10.2.2.2")], "192.0.2.7:0"),
            (&[(X, "10.1.1.1, 10.2.2.2")], "10.1.1.1:0"),
            (&[(X, "192.0.2.7, nonsense, 10.2.2.2")], "10.2.2.2:0"),
            (&[(X, "nonsense")], "-"),
            (&[(X, "")], "-"),
            (&[(X, "192.0.2.7"), (P, "https")], "192.0.2.7:0 https"),
            (&[(X, "192.0.2.7"), (P, "https, HTTP")], "192.0.2.7:0 http"),
            (&[(X, "192.0.2.7"), (P, "gopher")], "192.0.2.7:0"),
            (&[(P, "https")], "- https"),
            (&[(P, "https"), (F, "for=192.0.2.7;proto=http")], "192.0.2.7:0"),
            (&[(F, "for=192.0.2.7")], "192.0.2.7:0"),
            (&[(F, "For=\"[2001:db8::7]:4711\";proto=https;by=10.1.1.1")], "[2001:db8::7]:4711 https"),
            (&[(F, "for=192.0.2.6, for=192.0.2.7;proto=http, for=10.1.1.1;proto=https")], "192.0.2.7:0 http"),
            (&[(F, "for=\"_a,b\";proto=https")], "-"),
            (&[(F, "for=unknown")], "-"),
            (&[(F, "for=192.0.2.7"), (X, "192.0.2.7")], "192.0.2.7:0"),
            (&[(F, "for=192.0.2.66"), (X, "192.0.2.7")], "-"),
            (&[(F, "for=unknown"), (X, "192.0.2.7")], "-"),
            (&[(F, "for=1.2.3.4;x=\", for=192.0.2.7")], "-"),
            (&[(F, "for=1.2.3.4;x=\", for=\"[2001:db8::7]\"")], "-"),
        ];
        for (fields, expected) in cases {
            assert_eq!(named(fields), *expected, "{fields:?}");
        }
    }
}
