//! *CGI/1.1* (RFC 3875) turns a request into environment variables, and the beginning of a
//! program's output into the head of a response. This file knows the rules, and neither processes
//! nor streams.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::body::Body;
use crate::message::{Request, Scheme};
use crate::text;

/// Fields that are not passed on as `HTTP_` variables.
const LEFT_OUT: [&str; 12] = [
    // These have variables of their own.
    "content-length",
    "content-type",
    // The host's secrets, if it ever checks them (RFC 3875, section 4.1.18).
    "authorization",
    "proxy-authorization",
    // Programs take `HTTP_PROXY` for the proxy of their own requests.
    "proxy",
    // These belong to the connection (RFC 9110, section 7.6.1).
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields of a response that belong to the connection. Old programs send them, and the host has its
/// own.
const OF_THE_CONNECTION: [&str; 2] = ["connection", "keep-alive"];

/// The status of a response that has a `Location` and no `Status`. A path counts as an address too:
/// a local redirect, which RFC 3875 describes in section 6.2.2, would need a second process.
const FOUND: u16 = 302;

const OK: u16 = 200;

/// The variables of a request.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// Names and values.
    pub(super) set: Vec<(String, String)>,
    /// Names of variables whose values can't be passed to a program: they are not UTF-8, or have a
    /// NUL.
    pub(super) unfit: Vec<String>,
}

/// The head of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Names in lower case, and values.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// The length of the body, as far as a field states it.
    pub(super) length: Option<u64>,
}

/// The variables for a request.
pub(super) fn variables(request: &Request) -> Variables {
    let mut variables = Variables::default();
    variables.add_constants();
    variables.add_target(request);
    variables.add_addresses(request);
    variables.add_body(request);
    variables.add_fields(request);
    variables
}

impl Variables {
    fn add_constants(&mut self) {
        self.add("GATEWAY_INTERFACE", "CGI/1.1");
        self.add("SERVER_PROTOCOL", "HTTP/1.1");
        self.add(
            "SERVER_SOFTWARE",
            concat!("wasm-pool-host/", env!("CARGO_PKG_VERSION")),
        );
        // There is one program, and all paths are its.
        self.add("SCRIPT_NAME", "");
        // php-cgi takes the first for the folder of its scripts, and refuses without the second.
        self.add("DOCUMENT_ROOT", "/");
        self.add("REDIRECT_STATUS", "200");
    }

    fn add_target(&mut self, request: &Request) {
        let query = request.query.as_deref();
        let target = match query {
            None => Cow::Borrowed(&*request.path),
            Some(query) => Cow::Owned(format!("{}?{query}", request.path)),
        };
        self.add("REQUEST_METHOD", &request.method);
        self.add("REQUEST_URI", &target);
        self.add("QUERY_STRING", query.unwrap_or_default());
        // The target of `OPTIONS *` is no path.
        let path = Some(&*request.path).filter(|path| path.starts_with('/'));
        let path = decoded(path.unwrap_or_default());
        self.add_bytes("SCRIPT_FILENAME", &path);
        self.add_bytes("PATH_INFO", &path);
    }

    fn add_addresses(&mut self, request: &Request) {
        match request.client.parse::<SocketAddr>() {
            Ok(client) => {
                self.add("REMOTE_ADDR", &client.ip().to_canonical().to_string());
                self.add("REMOTE_PORT", &client.port().to_string());
            }
            Err(_other) => self.add("REMOTE_ADDR", &request.client),
        }
        let host = request.headers.get("host");
        let host = host.and_then(|host| std::str::from_utf8(host).ok());
        let (own_name, port) = parted(&request.server);
        let name = host
            .map(|host| parted(host).0)
            .filter(|name| !name.is_empty());
        self.add("SERVER_NAME", name.unwrap_or(own_name));
        let (usual_port, is_https) = match request.scheme {
            Scheme::Http => ("80", false),
            Scheme::Https => ("443", true),
        };
        self.add("SERVER_PORT", port.unwrap_or(usual_port));
        self.add("REQUEST_SCHEME", request.scheme.name());
        if is_https {
            self.add("HTTPS", "on");
        }
    }

    fn add_body(&mut self, request: &Request) {
        let length = match &request.body {
            Body::Bytes(bytes) => bytes.len(),
            Body::File(_) | Body::Stream(_) => 0,
        };
        if length > 0 {
            self.add("CONTENT_LENGTH", &length.to_string());
        }
        if let Some(kind) = request.headers.get("content-type") {
            self.add_bytes("CONTENT_TYPE", kind);
        }
    }

    /// Adds a variable for all fields of each name.
    fn add_fields(&mut self, request: &Request) {
        let mut fields: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for (name, value) in request.headers.iter() {
            // With `_`, two fields would have one variable, and a client could replace what a proxy
            // has set. Other characters make no name of a variable.
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            if LEFT_OUT.contains(&name) || !name.bytes().all(fits) {
                continue;
            }
            let separator: &[u8] = if name == "cookie" { b"; " } else { b", " };
            fields
                .entry(name)
                .and_modify(|joined| {
                    joined.extend_from_slice(separator);
                    joined.extend_from_slice(value);
                })
                .or_insert_with(|| value.to_vec());
        }
        for (name, value) in fields {
            let name = format!("HTTP_{}", name.replace('-', "_").to_ascii_uppercase());
            self.add_bytes(&name, &value);
        }
    }

    fn add(&mut self, name: &str, value: &str) {
        self.add_bytes(name, value.as_bytes());
    }

    fn add_bytes(&mut self, name: &str, value: &[u8]) {
        match std::str::from_utf8(value) {
            Ok(value) if !value.contains('\0') => {
                self.set.push((name.to_owned(), value.to_owned()))
            }
            Ok(_) | Err(_) => self.unfit.push(name.to_owned()),
        }
    }
}

/// A path without percent-encoding. A `%` that encodes nothing stays.
fn decoded(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let encoded = match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                digit(*high).zip(digit(*low)).map(|digits| (digits, after))
            }
            _ => None,
        };
        match encoded {
            Some(((high, low), after)) => {
                decoded.push(high << 4 | low);
                rest = after;
            }
            None => decoded.push(byte),
        }
    }
    decoded
}

fn digit(letter: u8) -> Option<u8> {
    let digit = char::from(letter).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// A host and its port. An IPv6 address keeps its brackets, as `SERVER_NAME` wants it.
fn parted(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
        Some(_) | None => (host, None),
    }
}

/// The end of the head in this output: behind the first empty line. Lines end with LF or CRLF. The
/// first `seen` bytes were searched before.
pub(super) fn end_of_head(output: &[u8], seen: usize) -> Option<usize> {
    // An empty line may have begun in the last two bytes that were searched.
    let from = seen.saturating_sub(2);
    let ends = memchr::memchr_iter(b'\n', &output[from..]).map(|at| from + at);
    let mut ends = ends.filter(|&at| {
        let line = output[..at].strip_suffix(b"\r").unwrap_or(&output[..at]);
        line.is_empty() || line.ends_with(b"\n")
    });
    ends.next().map(|at| at + 1)
}

/// Reads a head.
///
/// # Errors
/// What is malformed, as the rest of a sentence about the program.
pub(super) fn parse(head: &[u8]) -> Result<Head, String> {
    let mut status = None;
    let mut length = None;
    let mut headers = Vec::new();
    for line in head.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue; // the end of the head
        }
        let (name, value) = field(line)?;
        match &*name {
            "status" if status.is_some() => return Err("it printed two Status fields".into()),
            "status" => status = Some(code(value)?),
            name if OF_THE_CONNECTION.contains(&name) => {}
            "content-length" => {
                length = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                headers.push((name, value.to_vec()));
            }
            _ => headers.push((name, value.to_vec())),
        }
    }
    let has = |wanted: &str| headers.iter().any(|(name, _)| name == wanted);
    let status = match status {
        Some(status) => status,
        None if has("location") => FOUND,
        None if has("content-type") => OK,
        None => return Err("its head has neither Content-Type, nor Status, nor Location".into()),
    };
    Ok(Head {
        status,
        headers,
        length,
    })
}

/// The name of a field in lower case, and its value.
fn field(line: &[u8]) -> Result<(String, &[u8]), String> {
    let shown = || shown(line);
    if line.starts_with(b"HTTP/") {
        return Err(format!(
            "its head begins with a status line, {}: CGI has a Status field instead",
            shown()
        ));
    }
    let colon = memchr::memchr(b':', line);
    let Some((name, value)) = colon.map(|at| (&line[..at], &line[at + 1..])) else {
        return Err(format!("its head has a line without a colon: {}", shown()));
    };
    let name = std::str::from_utf8(name).ok();
    let name = name.filter(|name| !name.is_empty() && !name.contains(char::is_whitespace));
    match name {
        Some(name) => Ok((name.to_ascii_lowercase(), value.trim_ascii())),
        None => Err(format!("its head has a line that is no field: {}", shown())),
    }
}

/// The number in `404 Not Found`. The text behind it is optional, and HTTP clients ignore it.
fn code(status: &[u8]) -> Result<u16, String> {
    let number = status.split(|byte| byte.is_ascii_whitespace()).next();
    let number = number.filter(|number| number.len() == 3 && number.iter().all(u8::is_ascii_digit));
    let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
    number.ok_or_else(|| format!("its Status is no number of three digits: {}", shown(status)))
}

/// The beginning of a line, for the log.
pub(super) fn shown(line: &[u8]) -> String {
    text::quoted(&String::from_utf8_lossy(line)).to_string()
}
