//! The usual patterns of processes that talk, made short: answering a client, and the client-server pattern,
//! in which a message that asks and the message that replies look like one procedure call.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::Response;
use crate::mailbox::{self, Content, Data, ErrorCode, Message, Pid};
use crate::process;

/// Tags from here up are those of calls; a program's own are below.
pub const FIRST_CALL_TAG: u64 = 1 << 63;

/// Each call has a tag of its own, so that the late reply to an earlier one is never taken for its reply.
static NEXT_CALL: AtomicU64 = AtomicU64::new(FIRST_CALL_TAG);

/// Sends `bytes` to `server` and waits for its reply, for at most `timeout`. Whatever else arrives
/// meanwhile stays in the mailbox, in its order.
///
/// The reply to a call that has timed out may still come: as a message whose tag [is a call's](is_call) and
/// that nobody waits for. Drop it.
///
/// # Errors
/// Those of [`mailbox::send`]; [`ErrorCode::NoProcess`] also where the server ends before it replies, or is
/// this process itself; and [`ErrorCode::TimedOut`].
pub fn call(server: Pid, bytes: &[u8], timeout: Duration) -> Result<Vec<u8>, ErrorCode> {
    if server == mailbox::self_() {
        return Err(ErrorCode::NoProcess);
    }
    let tag = NEXT_CALL.fetch_add(1, Ordering::Relaxed) | FIRST_CALL_TAG;
    send(server, tag, bytes)?;
    let reply = mailbox::receive_reply(server, tag, milliseconds(timeout))?;
    match reply.content {
        Content::Data(data) => Ok(data.bytes),
        Content::Request(_) | Content::Response(_) | Content::Down(_) => Ok(Vec::new()), // have no tag
    }
}

/// Replies to a call, or to any other message with a tag: to its sender, with its tag.
///
/// # Errors
/// Those of [`mailbox::send`]: the caller may be gone.
pub fn reply(asked: &Message, bytes: &[u8]) -> Result<(), ErrorCode> {
    match &asked.content {
        Content::Data(data) => send(asked.sender, data.tag, bytes),
        Content::Request(_) | Content::Response(_) | Content::Down(_) => Err(ErrorCode::NotYours),
    }
}

/// Whether a tag is that of a call, and wants a [`reply`].
pub fn is_call(tag: u64) -> bool {
    tag >= FIRST_CALL_TAG
}

/// Sends bytes with a tag. Who has them in a `Vec` spares a copy with [`mailbox::send`].
///
/// # Errors
/// Those of [`mailbox::send`].
pub fn send(to: Pid, tag: u64, bytes: &[u8]) -> Result<(), ErrorCode> {
    let bytes = bytes.to_vec();
    mailbox::send(to, Content::Data(Data { tag, bytes }))
}

/// Answers a client whose request this process holds.
///
/// # Errors
/// [`ErrorCode::NoProcess`] where the client has left or its time was up, and those of [`mailbox::send`].
pub fn respond(client: Pid, response: Response) -> Result<(), ErrorCode> {
    mailbox::send(client, Content::Response(response))
}

/// Ends this process, with code 0 as `normal`. As an exit code of `wasm-pool-host run`, 255 is the largest.
pub fn exit(code: u32) -> ! {
    process::exit(code);
    unreachable!("the host does not return from `exit`")
}

/// Whole milliseconds, rounded up: a wait that is not over too early.
pub fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
