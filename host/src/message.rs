//! A *message* is what crosses the wall around a process: what processes say to each other, an HTTP
//! request on its way in, a response on its way out. All are plain, owned and finite, so that
//! neither side can reach into the other's memory. They know nothing of sockets, of hyper or of
//! wasm; `http` and `sandbox` translate, each at its own wall.

use std::sync::Arc;

use crate::body::Body;
use crate::call::Caller;
use crate::exit::Exit;
use crate::pid::Pid;

/// What a process finds in its mailbox.
#[derive(Debug)]
pub(crate) struct Message {
    /// Who sent it: a process; for a request from outside, its client; for the news of an end, the
    /// process that ended.
    pub sender: Pid,
    /// What it says.
    pub content: Content,
}

/// What a message says.
#[derive(Debug)]
pub(crate) enum Content {
    /// Bytes, from another process or from the same.
    Data {
        /// Of the sender's choice.
        tag: u64,
        /// Copied out of the sender.
        bytes: Vec<u8>,
    },
    /// Bytes, from another process that waits for the reply.
    Call {
        /// The process that waits.
        caller: Caller,
        /// Copied out of the sender.
        bytes: Vec<u8>,
    },
    /// A request, and with it the duty to answer.
    Request {
        /// Who waits.
        client: Pid,
        /// What for.
        request: Box<Request>,
    },
    /// A monitored process has ended.
    Down {
        /// The process that ended.
        pid: Pid,
        /// Why the process ended.
        exit: Exit,
    },
}

/// A request, whole: its head and its body.
#[derive(Debug)]
pub struct Request {
    /// The host's number for it, unique while the host runs. Log lines and error pages name it.
    pub id: u64,
    /// `GET`, `HEAD`, `POST`, …
    pub method: String,
    /// As it was sent, still percent-encoded.
    pub path: String,
    /// What followed the first `?`.
    pub query: Option<String>,
    /// The fields, with lower-case names. Those of one name stand together, in the order they came.
    pub headers: Headers,
    /// The body. Processes of today's kinds are sent it whole.
    pub body: Body,
    /// `address:port` of the client.
    pub client: Arc<str>,
}

/// What a process answered, not yet known to be good HTTP.
#[derive(Debug)]
pub struct Response {
    /// Any number: `http` judges it.
    pub status: u16,
    /// Names and values as the guest wrote them.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What follows the head.
    pub body: Body,
}

/// Header fields in one piece of memory: a request costs two allocations for them, however many
/// there are.
#[derive(Debug, Default)]
pub struct Headers {
    /// Name, value, name, value, …
    bytes: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<(usize, usize)>,
}

impl Content {
    /// What it weighs in a mailbox, in bytes.
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
    /// Bytes of its body that were copied out of the process; none of a file is.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.body.bytes().len() as u64
    }
}

impl Response {
    /// What its head weighs, in bytes: names, values, and what keeps them apart.
    #[must_use]
    pub fn head(&self) -> usize {
        let fields = self.headers.iter();
        let bytes: usize = fields.map(|(name, value)| name.len() + value.len()).sum();
        size_of_val(&*self.headers) + bytes
    }
}

impl Request {
    /// What it weighs, head and body, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let query = self.query.as_ref().map_or(0, String::len);
        let line = self.method.len() + self.path.len() + query + self.client.len();
        size_of::<Self>() + line + self.headers.weight() + self.body.bytes().len()
    }
}

impl Headers {
    /// Room for this many fields of a usual length.
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

    /// Adds a field behind the others.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.bytes.extend_from_slice(name.as_bytes());
        let name_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((name_end, self.bytes.len()));
    }

    /// All fields, in order: names and values.
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
