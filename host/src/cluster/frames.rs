//! *Frames* are what hosts say to each other: a small head in postcard's form, and behind it the
//! bytes of a body. Whoever reads one trusts nothing in it: what doesn't fit is dropped and
//! counted.
//!
//! The version is in the subject (`wph1`), so other versions don't hear each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::settings::Role;
use crate::exit::Exit;

/// The most fields of one head. A head of 64 KiB has fewer.
const MAX_FIELDS: usize = 4096;

/// The most exchanges that one probe asks for. Further ones are in the next.
pub(super) const MAX_PROBED: usize = 4096;

/// One message between two hosts. The bytes of a body stand behind it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Frame<'a> {
    /// From the front of an exchange to its worker.
    ToWorker {
        front: u32,
        id: u64,
        #[serde(borrow)]
        what: ToWorker<'a>,
    },
    /// From the worker of an exchange to its front.
    ToFront {
        worker: u32,
        id: u64,
        #[serde(borrow)]
        what: ToFront<'a>,
    },
    /// Asks the worker what it knows of these exchanges.
    Probe {
        front: u32,
        exchanges: Vec<Progress>,
    },
    /// The answer to a probe: what was asked for, and what is known of it.
    Known {
        worker: u32,
        asked: Vec<u64>,
        exchanges: Vec<Progress>,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum ToWorker<'a> {
    /// A request, with the first bytes of its body behind it.
    Ask {
        /// The time of the last beat that the front has heard of the worker.
        beat: u64,
        /// How much of the response's body may be sent.
        window: u64,
        /// The length of the request's body, if it is known.
        length: Option<u64>,
        /// Whether the bytes behind this are all of it.
        is_whole: bool,
        #[serde(borrow)]
        head: RequestHead<'a>,
    },
    /// More of the request's body.
    Body(#[serde(borrow)] Part<'a>),
    /// So much of the response's body may be sent in all.
    Allowed(u64),
    /// Nobody wants the response any more.
    Cancel,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum ToFront<'a> {
    /// The request was not begun, and may be asked elsewhere.
    Refused { why: Refusal, load: Load },
    /// The response, with the first bytes of its body behind it.
    Answer {
        pid: u64,
        load: Load,
        status: u16,
        /// The length of the body, if it is known.
        length: Option<u64>,
        /// Whether the bytes behind this are all of it.
        is_whole: bool,
        #[serde(borrow)]
        fields: Vec<(&'a str, &'a [u8])>,
    },
    /// The request was begun, and there is no response.
    Failed {
        pid: Option<u64>,
        load: Load,
        why: Failure,
    },
    /// More of the response's body.
    Body(#[serde(borrow)] Part<'a>),
    /// So much of the request's body may be sent in all.
    Allowed(u64),
}

/// A part of a body.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Part<'a> {
    /// The bytes behind this.
    Bytes { offset: u64, is_last: bool },
    /// The fields behind the body, which end it.
    Trailers {
        offset: u64,
        #[serde(borrow)]
        fields: Vec<(&'a str, &'a [u8])>,
    },
    /// The rest is missing.
    Broken,
}

/// The head of a request.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RequestHead<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    #[serde(borrow)]
    pub(super) fields: Vec<(&'a str, &'a [u8])>,
    pub(super) client: &'a str,
    pub(super) server: &'a str,
    pub(super) is_https: bool,
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) id: u64,
    /// The bytes of the body that this side has sent; one more once that has ended.
    pub(super) sent: u64,
    /// How much this side lets the other send in all.
    pub(super) allowed: u64,
}

/// How busy a host is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// The most processes that its pools may have.
    pub(crate) seats: u32,
    /// Requests that processes have.
    pub(crate) running: u32,
    /// Requests that wait for a process.
    pub(crate) waiting: u32,
}

/// Why a request was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// As many requests run and wait as may.
    Busy,
    /// The host is stopping, or its operator wants no requests.
    Draining,
    /// The request was on its way for too long.
    Stale,
    /// No pool there has a route for it.
    NoRoute,
    /// Its processes can't be started. The next try comes after so many milliseconds, if known.
    Failing(Option<u64>),
}

/// Why a request that was begun has no response. The variants are those of `Unanswered`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Stopping,
    Late,
    /// The exit of the process, as its place in [`Exit::ALL`].
    Ended(u8),
    BadResponse,
    BadBody,
    BodyTooLarge,
    Disk,
}

/// A host says that it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Beat {
    pub(super) number: u32,
    /// The number of this beat.
    pub(super) count: u64,
    /// Milliseconds since this host has joined, by its own clock.
    pub(super) at: u64,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) version: String,
    pub(super) module: String,
    pub(super) address: String,
    /// The pools that serve what is pushed.
    pub(super) follows: BTreeMap<String, Follows>,
    pub(super) load: Load,
    pub(super) is_draining: bool,
    /// Whether this is the last one.
    pub(super) has_left: bool,
}

/// What a pool has that serves what is pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Follows {
    /// A module with a digest that begins with these digits.
    Serves(String),
    /// The module in this object, whose trial was cut short. The pool waits for another one.
    Waits(String),
}

/// The most pools of a host that serve what is pushed: each is in every beat.
pub(super) const MAX_FOLLOWED: usize = 16;

/// The longest beat, in bytes: names are short.
const MAX_BEAT: usize = 4 << 10;

impl Failure {
    pub(crate) fn of_exit(exit: Exit) -> Self {
        Self::Ended(u8::try_from(exit.index()).unwrap_or_default())
    }

    /// The exit of this place. Of a code, the number is not told.
    pub(crate) fn exit(place: u8) -> Exit {
        let exit = Exit::ALL.get(usize::from(place));
        exit.copied().unwrap_or(Exit::Stopped)
    }
}

impl Load {
    /// How many requests there are for each process: 0 is idle, 1 is busy, 2 is full.
    pub(crate) fn share(self, also: u32) -> f64 {
        let requests = self.running.saturating_add(self.waiting).max(also);
        f64::from(requests) / f64::from(self.seats.max(1))
    }
}

impl Beat {
    pub(super) fn encode(&self) -> Bytes {
        // Fails only for types that these are not.
        postcard::to_allocvec(self).unwrap_or_default().into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let beat: Self = match bytes.len() {
            0..=MAX_BEAT => postcard::from_bytes(bytes).ok()?,
            _ => return None,
        };
        let texts = [&beat.name, &beat.version, &beat.module, &beat.address];
        let is_plain = |text: &&String| !text.chars().any(char::is_control);
        let follows = beat
            .follows
            .iter()
            .flat_map(|(pool, Follows::Serves(what) | Follows::Waits(what))| [pool, what]);
        let is_plain = texts.into_iter().chain(follows).all(|text| is_plain(&text));
        is_plain.then_some(beat)
    }
}

impl<'a> Frame<'a> {
    /// The frame with these bytes behind it.
    pub(super) fn encode(&self, body: &[u8]) -> Bytes {
        let head = postcard::to_allocvec(self).unwrap_or_default();
        if body.is_empty() {
            return head.into();
        }
        let mut frame = head;
        frame.extend_from_slice(body);
        frame.into()
    }

    /// The frame, and the bytes behind it.
    pub(super) fn decode(payload: &'a Bytes) -> Option<(Self, Bytes)> {
        let (frame, rest): (Self, _) = postcard::take_from_bytes(payload).ok()?;
        frame.is_bounded().then(|| (frame, payload.slice_ref(rest)))
    }

    fn is_bounded(&self) -> bool {
        match self {
            Self::ToWorker { what, .. } => match what {
                ToWorker::Ask { head, .. } => head.fields.len() <= MAX_FIELDS,
                ToWorker::Body(part) => part.is_bounded(),
                ToWorker::Allowed(_) | ToWorker::Cancel => true,
            },
            Self::ToFront { what, .. } => match what {
                ToFront::Answer { fields, .. } => fields.len() <= MAX_FIELDS,
                ToFront::Body(part) => part.is_bounded(),
                ToFront::Refused { .. } | ToFront::Failed { .. } | ToFront::Allowed(_) => true,
            },
            Self::Probe { exchanges, .. } => exchanges.len() <= MAX_PROBED,
            Self::Known {
                asked, exchanges, ..
            } => asked.len() <= MAX_PROBED && exchanges.len() <= MAX_PROBED,
        }
    }
}

impl Part<'_> {
    fn is_bounded(&self) -> bool {
        match self {
            Self::Trailers { fields, .. } => fields.len() <= MAX_FIELDS,
            Self::Bytes { .. } | Self::Broken => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<(Frame<'static>, &'static [u8])> {
        let head = RequestHead {
            method: "GET",
            path: "/a",
            query: Some("b=c"),
            fields: vec![("host", b"x"), ("accept", b"*/*")],
            client: "1.2.3.4:5",
            server: "6.7.8.9:10",
            is_https: true,
        };
        let ask = ToWorker::Ask {
            beat: 7,
            window: 16384,
            length: Some(3),
            is_whole: true,
            head,
        };
        let load = Load::default();
        let answer = ToFront::Answer {
            pid: 1 << 44 | 3,
            load,
            status: 200,
            length: None,
            is_whole: false,
            fields: vec![("content-type", b"text/plain")],
        };
        let trailers = Part::Trailers {
            offset: 9,
            fields: vec![("x", b"y")],
        };
        let progress = Progress {
            id: 1,
            sent: 2,
            allowed: 3,
        };
        let to_front = |what| Frame::ToFront {
            worker: 2,
            id: 3,
            what,
        };
        let to_worker = |what| Frame::ToWorker {
            front: 1,
            id: 3,
            what,
        };
        vec![
            (to_worker(ask), b"abc"),
            (to_worker(ToWorker::Body(trailers)), b""),
            (to_worker(ToWorker::Cancel), b""),
            (to_front(answer), b"body"),
            (to_front(ToFront::Body(Part::Broken)), b""),
            (
                Frame::Known {
                    worker: 2,
                    asked: vec![1, 2],
                    exchanges: vec![progress],
                },
                b"",
            ),
        ]
    }

    #[test]
    fn what_is_said_is_heard() {
        for (frame, body) in samples() {
            let payload = frame.encode(body);
            assert_eq!(Frame::decode(&payload), Some((frame, Bytes::from(body))));
        }
    }

    /// Changed bytes are another frame or none. Reading them never panics, and takes no more memory
    /// than they have.
    #[test]
    fn what_is_garbled_is_read_without_harm() {
        for (frame, body) in samples() {
            let payload = frame.encode(body);
            for at in 0..payload.len() {
                let cut = payload.slice(..at);
                let _any = Frame::decode(&cut);
                let _any = Beat::decode(&cut);
                for byte in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut changed = payload.to_vec();
                    changed[at] = byte;
                    let _any = Frame::decode(&Bytes::from(changed));
                }
            }
        }
    }

    #[test]
    fn a_head_with_too_many_fields_is_none() {
        let fields = vec![("a", &b"b"[..]); MAX_FIELDS + 1];
        let trailers = Part::Trailers { offset: 0, fields };
        let frame = Frame::ToWorker {
            front: 1,
            id: 1,
            what: ToWorker::Body(trailers),
        };
        assert_eq!(Frame::decode(&frame.encode(b"")), None);
    }
}
