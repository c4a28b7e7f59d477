//! Checks the target of a request, and the host that it names. Both checks are plain functions of
//! text. This file doesn't know hyper's types.

use std::net::Ipv6Addr;

/// A target, as hyper has split it. An empty path means that the client sent none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) scheme: Option<&'a str>,
    pub(super) authority: Option<&'a str>,
    pub(super) path: &'a str,
}

/// Whether this server answers for such a target (RFC 9112, section 3.2): a path, or a whole URL
/// with its host. `*` means the whole server, and is valid only with `OPTIONS`.
pub(super) fn is_target(method: &str, target: Target<'_>) -> bool {
    match (target.scheme, target.authority) {
        (None, None) if target.path == "*" => method == "OPTIONS",
        (None, None) => target.path.starts_with('/'),
        (Some(scheme), Some(authority)) => {
            (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
                && is_host(authority.as_bytes())
                && !authority.is_empty()
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Whether this is `uri-host [":" port]` (RFC 9112, section 3.2; RFC 3986, section 3.2.2). An empty
/// host is valid: a client sends it if its URL has no host. A port without a host is not valid.
pub(super) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.first() {
        Some(b'[') => match host.iter().position(|byte| *byte == b']') {
            Some(end) if is_literal(&host[1..end]) => host.split_at(end + 1),
            Some(_) | None => return false,
        },
        Some(_) | None => {
            let end = host.iter().position(|byte| *byte == b':');
            let (name, port) = host.split_at(end.unwrap_or(host.len()));
            if !is_name(name) {
                return false;
            }
            (name, port)
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => !name.is_empty() && digits.iter().all(u8::is_ascii_digit),
        [..] => false,
    }
}

/// Whether this is a `reg-name`. IPv4 addresses are among them.
fn is_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if is_plain(*byte) => rest,
            [..] => return false,
        }
    }
}

/// Whether this is the text between brackets: an IPv6 address, or one of a later version.
fn is_literal(literal: &[u8]) -> bool {
    match literal {
        [b'v' | b'V', later @ ..] => {
            let dot = later.iter().position(|byte| *byte == b'.').unwrap_or(0);
            let (version, address) = later.split_at(dot);
            let is_address = |byte: &u8| is_plain(*byte) || *byte == b':';
            !version.is_empty()
                && version.iter().all(u8::is_ascii_hexdigit)
                && address.len() > 1
                && address[1..].iter().all(is_address)
        }
        [..] => std::str::from_utf8(literal).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()),
    }
}

/// Whether RFC 3986 has this byte in `unreserved` or `sub-delims`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "",
            "x",
            "x:80",
            "x:",
            "example.org",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "[::ffff:127.0.0.1]:",
            "[v1.a:b]",
            "%41.x",
            "a_b",
            "a!$&'()*+,;=b",
        ] {
            assert!(is_host(host.as_bytes()), "{host:?}");
        }
        for host in [
            " ",
            "a b",
            ":80",
            "x:y",
            "x:80:80",
            "x:-1",
            "a@b",
            "a/b",
            "a?b",
            "a#b",
            "a\tb",
            "ü",
            "%4",
            "%zz",
            "::1",
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "[::1%eth0]",
            "[1.2.3.4]",
            "[v.a]",
            "[v1]",
            "[v1.]",
            "x,y z",
            "http://x",
            "\"x\"",
        ] {
            assert!(!is_host(host.as_bytes()), "{host:?}");
        }
    }
}
