//! Messages in the form in which they cross the wall. `bindgen!` would make each as large as its
//! largest case, the head of a request, and move it several times. Here large cases are boxed, so
//! that a received message is small. The derives check every field against the module's view of the
//! contract before the module runs.

use wasmtime::component::{ComponentType, Lift, Lower};

use super::bindings::http::{self as http_types, Answer, Forwarded};
use super::bindings::program::wasm_pool::worker::http;
use crate::body::Body;
use crate::mailbox::MailError;
use crate::router::Router;
use crate::{exit, message};

/// The number of a process or a client. Not yet checked.
pub(super) type Pid = u64;

/// A message from a guest.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum Sent {
    #[component(name = "data")]
    Data(Data),
    #[component(name = "reply")]
    Reply(Data),
    #[component(name = "request")]
    Request(Forward),
    #[component(name = "response")]
    Response(Answer),
}

/// A message to a guest.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct Message {
    sender: Pid,
    content: Received,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
pub(super) enum Received {
    #[component(name = "data")]
    Data(Data),
    #[component(name = "call")]
    Call(Data),
    #[component(name = "request")]
    Request(Box<ClientRequest>),
    #[component(name = "down")]
    Down(Down),
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Data {
    pub(super) tag: u64,
    pub(super) bytes: Vec<u8>,
}

/// A request that a process forwards.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Forward {
    pub(super) client: Pid,
    pub(super) request: Forwarded,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct ClientRequest {
    pub(super) client: Pid,
    pub(super) request: http::Request,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct Down {
    pid: Pid,
    exit: Exit,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
pub(super) enum Exit {
    #[component(name = "normal")]
    Normal,
    #[component(name = "code")]
    Code(u32),
    #[component(name = "trap")]
    Trap,
    #[component(name = "killed")]
    Killed,
    #[component(name = "memory")]
    Memory,
    #[component(name = "deadline")]
    Deadline,
    #[component(name = "host-lost")]
    HostLost,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(super) enum ErrorCode {
    #[component(name = "no-process")]
    NoProcess,
    #[component(name = "mailbox-full")]
    MailboxFull,
    #[component(name = "too-large")]
    TooLarge,
    #[component(name = "not-yours")]
    NotYours,
    #[component(name = "timed-out")]
    TimedOut,
    #[component(name = "unreachable")]
    Unreachable,
}

impl ErrorCode {
    /// The name in the contract.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NoProcess => "no-process",
            Self::MailboxFull => "mailbox-full",
            Self::TooLarge => "too-large",
            Self::NotYours => "not-yours",
            Self::TimedOut => "timed-out",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Sent {
    /// The bytes that were copied, beside names and numbers.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Data(data) | Self::Reply(data) => data.bytes.len(),
            Self::Request(forward) => forward.request.body().len(),
            Self::Response(answer) => match &answer.body {
                http_types::Body::Bytes(bytes) => bytes.0.len(),
                http_types::Body::File(_) => 0,
            },
        }
    }
}

/// For whoever traces the process.
impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.weight();
        match self {
            Self::Data(Data { tag, .. }) => write!(f, "data, tag {tag}, {bytes} bytes"),
            Self::Reply(Data { tag, .. }) => write!(f, "reply {tag}, {bytes} bytes"),
            Self::Request(Forward { client, .. }) => write!(f, "request of client {client}"),
            Self::Response(answer) => match &answer.body {
                http_types::Body::Bytes(_) => {
                    write!(f, "response {}, {bytes} bytes", answer.status)
                }
                http_types::Body::File(file) => {
                    let (file, length) = (file.file.rep(), file.length);
                    write!(
                        f,
                        "response {}, {length} bytes of file {file}",
                        answer.status
                    )
                }
            },
        }
    }
}

impl Message {
    /// Converts a message for the guest. The right to reply to a call goes to the router.
    pub(super) fn new(message: message::Message, router: &mut Router) -> Self {
        let content = match message.content {
            message::Content::Data { tag, bytes } => Received::Data(Data { tag, bytes }),
            message::Content::Call { caller, bytes } => {
                let tag = caller.tag();
                router.hold(message.sender, caller);
                Received::Call(Data { tag, bytes })
            }
            message::Content::Request { client, request } => {
                Received::Request(Box::new(ClientRequest {
                    client: client.get(),
                    request: (*request).into(),
                }))
            }
            message::Content::Down { pid, exit } => Received::Down(Down {
                pid: pid.get(),
                exit: exit.into(),
            }),
        };
        Self {
            sender: message.sender.get(),
            content,
        }
    }
}

impl From<exit::Exit> for Exit {
    fn from(exit: exit::Exit) -> Self {
        match exit {
            exit::Exit::Normal => Self::Normal,
            exit::Exit::Code(code) => Self::Code(code),
            // A violation of the contract counts as a trap.
            exit::Exit::Trap | exit::Exit::Stack | exit::Exit::Response => Self::Trap,
            exit::Exit::Memory => Self::Memory,
            exit::Exit::Deadline => Self::Deadline,
            exit::Exit::HostLost => Self::HostLost,
            exit::Exit::Killed
            | exit::Exit::ClientLeft
            | exit::Exit::Served
            | exit::Exit::Grown
            | exit::Exit::Idle
            | exit::Exit::Stopped => Self::Killed,
        }
    }
}

impl From<MailError> for ErrorCode {
    fn from(error: MailError) -> Self {
        match error {
            MailError::NoProcess => Self::NoProcess,
            MailError::Full => Self::MailboxFull,
            MailError::TooLarge => Self::TooLarge,
            MailError::NotYours => Self::NotYours,
            MailError::TimedOut => Self::TimedOut,
            MailError::Unreachable => Self::Unreachable,
        }
    }
}

impl From<message::Request> for http::Request {
    fn from(request: message::Request) -> Self {
        let headers = request.headers.iter().map(|(name, value)| http::Header {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        Self {
            headers: headers.collect(),
            id: request.id,
            method: request.method,
            path: request.path,
            query: request.query,
            body: match request.body {
                Body::Bytes(bytes) => bytes.into(),
                Body::File(_) | Body::Stream(_) => Vec::new(), // bodies are collected before this
            },
            client: (*request.client).to_owned(),
            scheme: match request.scheme {
                message::Scheme::Http => http::Scheme::Http,
                message::Scheme::Https => http::Scheme::Https,
            },
        }
    }
}
