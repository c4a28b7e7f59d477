//! A *message* is what crosses the wall around a process: an HTTP request on its way in, a response on its
//! way out. Both are plain, owned and finite, so that neither side can reach into the other's memory. They
//! know nothing of sockets, of hyper or of wasm; `http` and `sandbox` translate, each at its own wall.

use std::sync::Arc;

use crate::files::OpenFile;

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
    /// The body; its size was bounded while it was read.
    pub body: Vec<u8>,
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

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// Bytes, copied out of the process.
    Bytes(Vec<u8>),
    /// Part of a file that the process gave away.
    File(FileSlice),
}

/// Bytes `offset .. offset + length` of an open file.
#[derive(Debug)]
pub struct FileSlice {
    /// The process that opened it holds it no longer.
    pub file: OpenFile,
    /// In bytes, from the start of the file.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
}

/// Header fields in one piece of memory: a request costs two allocations for them, however many there are.
#[derive(Debug, Default)]
pub struct Headers {
    /// Name, value, name, value, …
    bytes: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<(usize, usize)>,
}

impl Headers {
    /// Room for this many fields of a usual length.
    #[must_use]
    pub fn with_capacity(fields: usize) -> Self {
        const USUAL_FIELD_BYTES: usize = 48;
        Self {
            bytes: Vec::with_capacity(fields * USUAL_FIELD_BYTES),
            ends: Vec::with_capacity(fields),
        }
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
