//! *Frames* are what hosts say to each other: a small head in postcard's form, and behind it the
//! bytes of a body. Whoever reads one trusts nothing in it: what doesn't fit is dropped and
//! counted.
//!
//! The version is in the subject (`wph1`), so other versions don't hear each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::settings::Role;
use crate::call::NoReply;
use crate::exit::Exit;
use crate::mailbox::MailError;
use crate::peers::Way;
use crate::pid::Pid;

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
    /// From a host, for processes of another one.
    Mail {
        host: u32,
        /// The number of the connection.
        epoch: u64,
        #[serde(borrow)]
        mail: Mail<'a>,
    },
}

/// What goes between two hosts for their processes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Mail<'a> {
    /// The next piece.
    Numbered {
        number: u64,
        #[serde(borrow)]
        what: Post<'a>,
    },
    /// So many pieces have come, and messages to these did not reach them.
    Taken {
        number: u64,
        missed: Vec<(u64, Missed)>,
    },
    /// So many pieces were sent. The answer is what has come.
    Sent { number: u64 },
    /// An earlier connection is over. The frame has the number of the next one.
    Lost,
}

/// A piece of mail. The bytes of a message stand behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Post<'a> {
    /// The bytes behind this are a part of those of the next piece.
    Part,
    /// A message whose sender doesn't wait.
    Data {
        #[serde(borrow)]
        address: Address<'a>,
        tag: u64,
    },
    /// A message whose sender waits for so long until it is taken.
    Wait {
        id: u64,
        #[serde(borrow)]
        address: Address<'a>,
        tag: u64,
        time_ms: u32,
    },
    /// A call whose sender waits for so long for the reply.
    Call {
        id: u64,
        #[serde(borrow)]
        address: Address<'a>,
        tag: u64,
        time_ms: u32,
    },
    /// Nobody waits for this any more.
    Withdraw { id: u64 },
    /// The sender wants to know of the receiver's end.
    Watch {
        id: u64,
        #[serde(borrow)]
        address: Address<'a>,
    },
    /// The sender no longer wants to know of the receiver's end.
    Forget {
        #[serde(borrow)]
        address: Address<'a>,
    },
    /// The sender has ended, which the receiver wants to know. The exit, as its place in
    /// [`Exit::ALL`], and its code.
    Ended {
        #[serde(borrow)]
        address: Address<'a>,
        exit: u8,
        code: u32,
    },
    /// What has come of what was asked with this number.
    Done { id: u64, done: Done },
    /// The reply to the call of this number.
    Reply { id: u64 },
}

/// From whom and for whom a piece of mail is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Address<'a> {
    /// The name of the program.
    program: &'a str,
    from: u64,
    to: u64,
}

/// Why a message did not reach its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Missed {
    NoProcess,
    Full,
}

/// What has come of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Done {
    Taken,
    NoProcess,
    NotYours,
    Full,
    TimedOut,
    Unreachable,
    TooLarge,
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
    /// The root processes of its programs.
    pub(super) roots: Vec<(String, u64)>,
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
/// The most programs whose root processes are told.
pub(super) const MAX_ROOTS: usize = 8;

/// The longest name of a program whose root process is told, in bytes.
pub(super) const MAX_PROGRAM: usize = 64;

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
        let is_bounded = beat.roots.len() <= MAX_ROOTS;
        (is_bounded && is_plain).then_some(beat)
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
            // No more than the frame has bytes.
            Self::Mail { .. } => true,
        }
    }
}

impl<'a> Address<'a> {
    pub(super) fn of(way: Way<'a>) -> Self {
        Self {
            program: way.program,
            from: way.from.get(),
            to: way.to.get(),
        }
    }

    /// The way of what has come from this host.
    pub(super) fn way(self, host: u32) -> Option<Way<'a>> {
        let (from, to) = (Pid::new(self.from)?, Pid::new(self.to)?);
        (from.host() == host).then_some(Way {
            program: self.program,
            from,
            to,
        })
    }
}

impl Done {
    pub(super) fn of(done: Result<(), MailError>) -> Self {
        match done {
            Ok(()) => Self::Taken,
            Err(MailError::NoProcess) => Self::NoProcess,
            Err(MailError::NotYours) => Self::NotYours,
            Err(MailError::Full) => Self::Full,
            Err(MailError::TooLarge) => Self::TooLarge,
            Err(MailError::TimedOut) => Self::TimedOut,
            Err(MailError::Unreachable) => Self::Unreachable,
        }
    }
}

impl From<Done> for Result<(), MailError> {
    fn from(done: Done) -> Self {
        match done {
            Done::Taken => Ok(()),
            Done::NoProcess => Err(MailError::NoProcess),
            Done::NotYours => Err(MailError::NotYours),
            Done::Full => Err(MailError::Full),
            Done::TooLarge => Err(MailError::TooLarge),
            Done::TimedOut => Err(MailError::TimedOut),
            Done::Unreachable => Err(MailError::Unreachable),
        }
    }
}

impl From<NoReply> for Done {
    fn from(why: NoReply) -> Self {
        match why {
            NoReply::Ended => Self::NoProcess,
            NoReply::Full => Self::Full,
            NoReply::TooLarge => Self::TooLarge,
            NoReply::TimedOut => Self::TimedOut,
            NoReply::Unreachable => Self::Unreachable,
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
        let address = Address {
            program: "main",
            from: 2 << 44 | 1,
            to: 1 << 44 | 3,
        };
        let call = Post::Call {
            id: 1,
            address,
            tag: 2,
            time_ms: 1000,
        };
        let ended = Post::Ended {
            address,
            exit: 1,
            code: 7,
        };
        let mail = |mail| Frame::Mail {
            host: 2,
            epoch: 1,
            mail,
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
            (
                mail(Mail::Numbered {
                    number: 7,
                    what: call,
                }),
                b"question",
            ),
            (
                mail(Mail::Numbered {
                    number: 8,
                    what: ended,
                }),
                b"",
            ),
            (
                mail(Mail::Taken {
                    number: 9,
                    missed: vec![(1 << 44 | 3, Missed::Full)],
                }),
                b"",
            ),
            (mail(Mail::Lost), b""),
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
