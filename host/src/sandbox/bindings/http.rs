//! The types of `http` as they cross the wall. An incoming request is borrowed, so that it is
//! copied only once. A guest's values are lifted within bounds. The derives check every field
//! against the module's view of the contract before the module runs.

use wasmtime::Result;
use wasmtime::component::{ComponentType, HasData, Lift, Linker, Lower, Resource};

use crate::files::OpenFile;
use crate::message;
use crate::sandbox::lifted::{Bounded, Bulk};

/// A request on its way in.
#[derive(ComponentType, Lower, Clone, Copy, Debug)]
#[component(record)]
pub struct Request<'a> {
    pub id: u64,
    pub method: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a [HeaderParam<'a>],
    pub body: &'a [u8],
    pub client: &'a str,
    pub scheme: Scheme,
}

/// How a client has asked.
#[derive(ComponentType, Lift, Lower, Clone, Copy, Debug)]
#[component(enum)]
#[repr(u8)]
pub enum Scheme {
    #[component(name = "http")]
    Http,
    #[component(name = "https")]
    Https,
}

/// A header field of a request on its way in.
#[derive(ComponentType, Lower, Clone, Copy, Debug)]
#[component(record)]
pub struct HeaderParam<'a> {
    pub name: &'a str,
    pub value: &'a [u8],
}

/// The result of `handle`.
pub type Response = Bounded<Answer>;

/// A response on its way out.
#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<Header>,
    pub body: Body,
}

#[derive(ComponentType, Lift, Debug)]
#[component(variant)]
pub enum Body {
    #[component(name = "bytes")]
    Bytes(Bulk),
    #[component(name = "file")]
    File(FileSlice),
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub struct FileSlice {
    pub file: Resource<OpenFile>,
    pub offset: u64,
    pub length: u64,
}

#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub struct Header {
    pub name: String,
    pub value: Vec<u8>,
}

/// A request that a process forwards.
#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub struct Forwarded {
    id: u64,
    method: String,
    path: String,
    query: Option<String>,
    headers: Vec<Header>,
    body: Bulk,
    client: String,
    scheme: Scheme,
}

/// `bindgen!` expects these three items of an interface's stand-in. This one has no functions.
#[expect(dead_code)]
pub trait Host {}

#[expect(dead_code)]
pub trait HostWithStore<T> {}

#[expect(dead_code)]
pub fn add_to_linker<T, D: HasData>(_: &mut Linker<T>, _: fn(&mut T) -> D::Data<'_>) -> Result<()> {
    Ok(())
}

impl From<message::Scheme> for Scheme {
    fn from(scheme: message::Scheme) -> Self {
        match scheme {
            message::Scheme::Http => Self::Http,
            message::Scheme::Https => Self::Https,
        }
    }
}

impl From<Scheme> for message::Scheme {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Http => Self::Http,
            Scheme::Https => Self::Https,
        }
    }
}

impl Forwarded {
    pub(in crate::sandbox) fn body(&self) -> &[u8] {
        &self.body.0
    }
}

impl From<Forwarded> for message::Request {
    fn from(request: Forwarded) -> Self {
        let mut headers = message::Headers::with_capacity(request.headers.len());
        for header in &request.headers {
            headers.push(&header.name, &header.value);
        }
        Self {
            id: request.id,
            method: request.method,
            path: request.path,
            query: request.query,
            headers,
            body: request.body.0.into(),
            client: request.client.into(),
            server: "".into(), // guests of this contract don't learn it
            scheme: request.scheme.into(),
        }
    }
}
