//! A *message* crosses the wall around a process: data between processes, an HTTP request on its
//! way in, a response on its way out. Messages are plain, owned and finite, so that neither side
//! can reach into the other's memory. They know nothing of sockets, hyper or wasm: `http` and
//! `sandbox` translate, each at its own wall.

use std::fmt;
use std::sync::Arc;

use crate::body::Body;
use crate::call::Caller;
use crate::exit::Exit;
use crate::pid::Pid;
use crate::text;

/// An entry of a process's mailbox.
#[derive(Debug)]
pub(crate) struct Message {
    /// The process that sent the message. For a request from outside this is its client; for
    /// [`Content::Down`], the process that ended.
    pub sender: Pid,
    pub content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// Bytes from a process, which may be the receiver itself.
    Data {
        /// Chosen by the sender.
        tag: u64,
        bytes: Vec<u8>,
    },
    /// Bytes from another process, which waits for the reply.
    Call { caller: Caller, bytes: Vec<u8> },
    /// A request, with the duty to answer it.
    Request { client: Pid, request: Box<Request> },
    /// A monitored process has ended.
    Down { pid: Pid, exit: Exit },
}

/// A whole request: its head and its body.
#[derive(Debug)]
pub struct Request {
    /// The request's number, unique while the host runs. Log lines and error pages show it. 0 is a
    /// request of the host's own, which no sum of requests counts.
    pub id: u64,
    /// `GET`, `HEAD`, `POST`, …
    pub method: String,
    /// The path as the client sent it, still percent-encoded.
    pub path: String,
    /// The part of the target after the first `?`.
    pub query: Option<String>,
    /// The header fields, with lower-case names. Fields of one name stand together, in the order
    /// they came.
    pub headers: Headers,
    /// The body.
    pub body: Body,
    /// The client's `address:port`. The port is 0 if a proxy has named the client without it. The
    /// client of a Unix socket is `unix:`.
    pub client: Arc<str>,
    /// The `address:port` that the client has connected to.
    pub server: Arc<str>,
    /// How the client asked: in the clear, or over TLS.
    pub scheme: Scheme,
}

/// The scheme of a request's URL (RFC 9110, section 4.2). A proxy may have ended TLS before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A process's answer. `http` has not yet checked that it is valid HTTP.
#[derive(Debug)]
pub struct Response {
    /// Any number: `http` checks it.
    pub status: u16,
    /// Names and values, as the guest wrote them.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Body,
}

/// Header fields in one piece of memory: a request costs two allocations for all its fields.
#[derive(Debug, Default)]
pub struct Headers {
    /// Name, value, name, value, …, without separators.
    bytes: Vec<u8>,
    /// The end of each name and the end of its value, as offsets in `bytes`.
    ends: Vec<(usize, usize)>,
}

/// For whoever traces the process that takes it.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sender, bytes) = (self.sender.get(), self.content.weight());
        match &self.content {
            Content::Data { tag, .. } => write!(f, "data from {sender}, tag {tag}, {bytes} bytes"),
            Content::Call { .. } => write!(f, "call from {sender}, {bytes} bytes"),
            Content::Request { request, .. } => {
                let (id, method, path) = (request.id, &request.method, &request.path);
                let (method, path) = (text::quoted(method), text::quoted(path));
                write!(f, "request {id} of client {sender}: {method} {path}")
            }
            Content::Down { pid, exit } => write!(f, "down {}: {exit}", pid.get()),
        }
    }
}

impl Content {
    /// The bytes that the content takes up in a mailbox.
    #[must_use]
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Data { bytes, .. } | Self::Call { bytes, .. } => bytes.len(),
            Self::Request { request, .. } => request.weight(),
            Self::Down { .. } => 0,
        }
    }
}

impl Response {
    /// The bytes of the body that were copied out of the process. A file counts as 0.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.body.bytes().len() as u64
    }
}

impl Response {
    /// The size of the head in bytes: names, values and their bookkeeping.
    #[must_use]
    pub fn head(&self) -> usize {
        let fields = self.headers.iter();
        let bytes: usize = fields.map(|(name, value)| name.len() + value.len()).sum();
        size_of_val(&*self.headers) + bytes
    }
}

impl Request {
    /// The number of a request that no client has sent.
    pub(crate) const OWN: u64 = 0;

    /// Whether the host asks this by itself.
    #[must_use]
    pub(crate) fn is_own(&self) -> bool {
        self.id == Self::OWN
    }

    /// The size of the request in bytes: head and body.
    #[must_use]
    pub fn weight(&self) -> usize {
        let query = self.query.as_ref().map_or(0, String::len);
        let line =
            self.method.len() + self.path.len() + query + self.client.len() + self.server.len();
        size_of::<Self>() + line + self.headers.weight() + self.body.bytes().len()
    }
}

impl Headers {
    /// Reserves room for this many fields of a usual length, at most 100.
    #[must_use]
    pub fn with_capacity(fields: usize) -> Self {
        const USUAL_FIELD_BYTES: usize = 48;
        const USUAL_FIELDS: usize = 100;
        let fields = fields.min(USUAL_FIELDS);
        Self {
            bytes: Vec::with_capacity(fields * USUAL_FIELD_BYTES),
            ends: Vec::with_capacity(fields),
        }
    }

    fn weight(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.ends)
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.bytes.extend_from_slice(name.as_bytes());
        let name_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((name_end, self.bytes.len()));
    }

    /// The value of the first field of this lower-case name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.iter();
        fields.find_map(|(field, value)| (field == name).then_some(value))
    }

    /// All fields in order, as names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(name_end, value_end)| {
            let name = std::str::from_utf8(&self.bytes[start..name_end]).unwrap_or_default();
            let value = &self.bytes[name_end..value_end];
            start = value_end;
            (name, value)
        })
    }
}
