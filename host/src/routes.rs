//! *Routes* say which requests belong to which pool: by the host that a request names, and by its
//! path. The most specific route wins.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

/// A pattern of requests: `[HOST]/PATH`. Without a host it matches any. A host may begin with `*.`,
/// which stands for any names below it. A path that ends in `/*` matches everything below it, and
/// the path before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    host: HostPattern,
    /// The path; of a route that ends in `/*`, what stands before the `/`.
    path: String,
    is_prefix: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HostPattern {
    Any,
    /// All names that end in this, which begins with a dot.
    Below(String),
    Exactly(String),
}

/// Why a text is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError(&'static str);

/// All routes of a host.
#[derive(Debug)]
pub(crate) struct Routes {
    /// The most specific first, each with the number of its pool.
    routes: Box<[(Route, usize)]>,
    /// Whether one of them names a host. If not, nobody needs to look for that of a request.
    name_hosts: bool,
}

/// The pool that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Routed {
    /// The number of the pool.
    pub(crate) pool: usize,
    /// The bytes of the path that the route itself names.
    pub(crate) prefix: usize,
}

impl Route {
    /// The route that all requests match.
    #[must_use]
    pub fn all() -> Self {
        Self {
            host: HostPattern::Any,
            path: String::new(),
            is_prefix: true,
        }
    }

    /// Whether a request for this host and path matches.
    fn matches(&self, host: &str, path: &str) -> bool {
        let host_matches = match &self.host {
            HostPattern::Any => true,
            HostPattern::Below(end) => {
                let start = host.len().checked_sub(end.len());
                start.is_some_and(|start| {
                    start > 0 && host.as_bytes()[start..].eq_ignore_ascii_case(end.as_bytes())
                })
            }
            HostPattern::Exactly(name) => host.eq_ignore_ascii_case(name),
        };
        host_matches
            && match path.strip_prefix(&*self.path) {
                Some(rest) if self.is_prefix => rest.is_empty() || rest.starts_with('/'),
                Some(rest) => rest.is_empty(),
                None => false,
            }
    }

    /// Orders routes: a host counts before a path, a longer one before a shorter one, and a path
    /// without `*` before one of the same length with it.
    fn specificity(&self) -> (usize, usize, usize, bool) {
        let (kind, length) = match &self.host {
            HostPattern::Any => (0, 0),
            HostPattern::Below(end) => (1, end.len()),
            HostPattern::Exactly(name) => (2, name.len()),
        };
        (kind, length, self.path.len(), !self.is_prefix)
    }
}

impl Routes {
    /// The routes of each pool. Of two equal routes, the first pool's counts.
    pub(crate) fn new<'a>(pools: impl IntoIterator<Item = &'a [Route]>) -> Self {
        let mut routes: Vec<_> = (0..)
            .zip(pools)
            .flat_map(|(pool, routes)| routes.iter().map(move |route| (route.clone(), pool)))
            .collect();
        routes.sort_by_key(|(route, _)| Reverse(route.specificity()));
        let names_host = |(route, _): &(Route, _)| route.host != HostPattern::Any;
        Self {
            name_hosts: routes.iter().any(names_host),
            routes: routes.into(),
        }
    }

    /// The pool of a request. `host` may have a port. A target without a path, such as `*`, has the
    /// path `/`.
    pub(crate) fn find<'a>(&self, host: impl FnOnce() -> &'a str, path: &str) -> Option<Routed> {
        let host = match self.name_hosts {
            true => without_port(host()),
            false => "",
        };
        let path = if path.starts_with('/') { path } else { "/" };
        let mut routes = self.routes.iter();
        let (route, pool) = routes.find(|(route, _)| route.matches(host, path))?;
        Some(Routed {
            pool: *pool,
            prefix: if route.is_prefix { route.path.len() } else { 0 },
        })
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        Some(_) | None => host,
    }
}

impl FromStr for Route {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let slash = text.find('/').ok_or(RouteError("it has no path"))?;
        let (host, path) = text.split_at(slash);
        let host = match host.strip_prefix('*') {
            _ if host.is_empty() => HostPattern::Any,
            Some(end) if end.starts_with('.') && is_name(&end[1..]) => {
                HostPattern::Below(end.to_ascii_lowercase())
            }
            None if is_name(host) => HostPattern::Exactly(host.to_ascii_lowercase()),
            Some(_) | None => return Err(RouteError("what stands before its path is no host")),
        };
        let (path, is_prefix) = match path.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (path, false),
        };
        if path.contains('*') {
            return Err(RouteError("a * may only stand at the end, behind a /"));
        }
        if path.contains(['?', '#']) || path.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(RouteError(
                "a path has no ?, no # and no spaces, and other characters as %XX",
            ));
        }
        Ok(Self {
            host,
            path: path.to_owned(),
            is_prefix,
        })
    }
}

/// Whether this may be the host of a request, without a port.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(is_plain),
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostPattern::Any => {}
            HostPattern::Below(end) => write!(f, "*{end}")?,
            HostPattern::Exactly(name) => f.write_str(name)?,
        }
        f.write_str(&self.path)?;
        f.write_str(if self.is_prefix { "/*" } else { "" })
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.0;
        write!(
            f,
            "{why}; give [HOST]/PATH, such as /api/*, /about, example.org/* or *.example.org/api/*"
        )
    }
}

impl std::error::Error for RouteError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_most_specific_route_wins() {
        let texts = [
            "/*",
            "/api/*",
            "/api/v2/*",
            "/api",
            "example.org/*",
            "*.example.org/*",
            "*.a.example.org/api/*",
            "[::1]/*",
        ];
        let pools = texts.map(|text| [route(text)]);
        let routes = Routes::new(pools.iter().map(|pool| &pool[..]));
        for (host, path, expected) in [
            ("x", "/", "/*"),
            ("x", "*", "/*"),
            ("x", "/apiary", "/*"),
            ("x", "/api", "/api"),
            ("x", "/api/", "/api/*"),
            ("x", "/api/v1/x", "/api/*"),
            ("x", "/api/v2", "/api/v2/*"),
            ("x", "/api/v2/x", "/api/v2/*"),
            ("x", "/API/v2", "/*"),
            ("example.org", "/api/", "example.org/*"),
            ("EXAMPLE.org:8080", "/", "example.org/*"),
            ("a.example.org", "/api/x", "*.example.org/*"),
            ("b.a.example.org:80", "/api/x", "*.a.example.org/api/*"),
            ("b.a.example.org", "/apix", "*.example.org/*"),
            (".example.org", "/", "/*"),
            ("badexample.org", "/", "/*"),
            ("[::1]:80", "/", "[::1]/*"),
            ("[::1]", "/", "[::1]/*"),
            ("", "/", "/*"),
        ] {
            let found = routes.find(|| host, path).map(|routed| texts[routed.pool]);
            assert_eq!(found, Some(expected), "{host}{path}");
        }
    }

    #[test]
    fn a_prefix_is_what_the_route_names() {
        let routes = [route("/api/*"), route("/")];
        let routes = Routes::new([&routes[..]]);
        let prefix = |path| routes.find(|| "", path).map(|routed| routed.prefix);
        assert_eq!(prefix("/api/x"), Some(4));
        assert_eq!(prefix("/api"), Some(4));
        assert_eq!(prefix("/"), Some(0));
        assert_eq!(prefix("/x"), None);
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for text in [
            "",
            "*",
            "api",
            "/api*",
            "/*/api",
            "/a*b/*",
            "/a b",
            "/ü",
            "/a?b",
            "a b/*",
            "*x/*",
            "*./*",
            "x:80/*",
            "[x]/*",
            "http://x/*",
        ] {
            assert!(text.parse::<Route>().is_err(), "{text:?}");
        }
        for text in [
            "/",
            "/*",
            "/a/*",
            "/a%20b",
            "x/*",
            "*.x.y/z",
            "[::1]/",
            "127.0.0.1/*",
        ] {
            assert_eq!(route(text).to_string(), text);
        }
    }
}
