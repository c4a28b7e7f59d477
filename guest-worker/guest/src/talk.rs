//! The usual patterns of processes that talk, made short: answering a client, and the client-server
//! pattern, in which a call and its reply look like one procedure call.

use alloc::vec::Vec;
use core::time::Duration;

use crate::Response;
use crate::mailbox::{self, Data, ErrorCode, Incoming, Message, Outgoing, Pid};
use crate::process;

/// A server's answer to a message, with its receiver.
#[derive(Debug)]
pub struct Answer {
    to: Pid,
    content: Outgoing,
}

impl Answer {
    /// The reply to a call. The answer to data is data for its sender, with the same tag. None for
    /// other messages: they have no tag.
    pub fn reply(asked: &Message, bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        let content = match &asked.content {
            Incoming::Call(Data { tag, .. }) => Outgoing::Reply(Data { tag: *tag, bytes }),
            Incoming::Data(Data { tag, .. }) => Outgoing::Data(Data { tag: *tag, bytes }),
            Incoming::Request(_) | Incoming::Down(_) => return None,
        };
        let to = asked.sender;
        Some(Self { to, content })
    }

    /// The response for a client whose request this process holds.
    pub fn response(client: Pid, response: Response) -> Self {
        Self {
            to: client,
            content: Outgoing::Response(response),
        }
    }
}

/// Receives messages for ever. Each goes to `deal`, and the answer goes out with the call that
/// receives the next one. An answer that can't be sent is dropped: the caller or the client has
/// gone, or the answer is too large for it.
///
/// ```no_run
/// use wasm_pool_guest::mailbox::{Incoming, Message};
/// use wasm_pool_guest::talk::{self, Answer};
/// use wasm_pool_guest::{Response, program};
///
/// program!(run);
///
/// fn run() {
///     talk::serve(|message: Message| match &message.content {
///         Incoming::Call(call) => Answer::reply(&message, call.bytes.to_ascii_uppercase()),
///         Incoming::Request(asked) => {
///             Some(Answer::response(asked.client, Response::text(200, "call me\n")))
///         }
///         Incoming::Data(_) | Incoming::Down(_) => None,
///     })
/// }
/// ```
pub fn serve(mut deal: impl FnMut(Message) -> Option<Answer>) -> ! {
    let mut message = mailbox::receive();
    loop {
        let next =
            deal(message).map(|Answer { to, content }| mailbox::send_and_receive(to, content));
        message = match next {
            Some(Ok(message)) => message,
            Some(Err(_)) | None => mailbox::receive(),
        };
    }
}

/// Sends `bytes` to `server` and waits for its reply, for at most `timeout`. All messages that
/// arrive meanwhile stay in the mailbox, in their order.
///
/// # Errors
/// Those of [`mailbox::call`]: [`ErrorCode::NoProcess`] also where the server ends before it
/// replies, or is this process itself; [`ErrorCode::TimedOut`]; and [`ErrorCode::Unreachable`]
/// where its host is lost.
pub fn call(server: Pid, bytes: &[u8], timeout: Duration) -> Result<Vec<u8>, ErrorCode> {
    mailbox::call(server, bytes, milliseconds(timeout))
}

/// Replies to a call; or to data, with data for its sender that has the same tag.
///
/// # Errors
/// Those of [`mailbox::send`]: the caller may be gone. [`ErrorCode::NotYours`] for other messages.
pub fn reply(asked: &Message, bytes: impl Into<Vec<u8>>) -> Result<(), ErrorCode> {
    let Answer { to, content } = Answer::reply(asked, bytes).ok_or(ErrorCode::NotYours)?;
    mailbox::send(to, content)
}

/// Sends bytes with a tag. A sender that has the bytes in a `Vec` spares a copy with
/// [`mailbox::send`].
///
/// # Errors
/// Those of [`mailbox::send`].
pub fn send(to: Pid, tag: u64, bytes: &[u8]) -> Result<(), ErrorCode> {
    let bytes = bytes.to_vec();
    mailbox::send(to, Outgoing::Data(Data { tag, bytes }))
}

/// Answers a client whose request this process holds.
///
/// # Errors
/// [`ErrorCode::NoProcess`] where the client has left or its time was up, and those of
/// [`mailbox::send`].
pub fn respond(client: Pid, response: Response) -> Result<(), ErrorCode> {
    mailbox::send(client, Outgoing::Response(response))
}

/// Ends this process, with code 0 as `normal`. As an exit code of `wasm-pool-host run`, 255 is the
/// largest.
pub fn exit(code: u32) -> ! {
    process::exit(code);
    unreachable!("the host does not return from `exit`")
}

/// The number of the host of a process, as [`cluster::here`](crate::cluster::here) gives it there.
pub fn host_of(pid: Pid) -> u32 {
    const SERIAL_BITS: u32 = 44;
    (pid >> SERIAL_BITS) as u32
}

/// Whole milliseconds, rounded up: a wait that is not over too early.
pub fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
