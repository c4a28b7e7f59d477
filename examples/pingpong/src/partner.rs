//! The processes that the root talks to. They have ended when it has.

use std::cell::RefCell;
use std::time::Instant;

use wasm_pool_guest::mailbox::{self, Data, Incoming, Message, Outgoing, Pid};
use wasm_pool_guest::process;
use wasm_pool_guest::talk::{self, Answer};

use crate::{Outcome, PATIENCE};

/// Those that live as long as the root.
pub(crate) struct Partners {
    /// Returns what it is sent.
    pub(crate) echo: Pid,
    /// Does the same, and replies to calls, by one call to the host for each message.
    pub(crate) server: Pid,
    /// Takes what it is sent.
    pub(crate) taker: Pid,
    /// Leaves what it is sent in its mailbox, until it is told to [`Partners::drain`] it.
    pub(crate) sink: Pid,
    /// The call in which the sink waits.
    waiting: RefCell<Message>,
}

impl Partners {
    pub(crate) fn start() -> Outcome<Self> {
        let partner = |role: &str| {
            // Monitored: otherwise the root would wait for ever for one that has ended.
            process::spawn_monitor(&[role.into()])
        };
        let sink = partner(SINK)?;
        Ok(Self {
            echo: partner(ECHO)?,
            server: partner(SERVER)?,
            taker: partner(TAKER)?,
            sink,
            waiting: RefCell::new(mailbox::receive_from(sink)?),
        })
    }

    /// Has the sink take so many messages. How many nanoseconds that took.
    pub(crate) fn drain(&self, how: Drain, count: usize) -> Outcome<u64> {
        let mut order = (count as u64).to_le_bytes().to_vec();
        if matches!(how, Drain::TryReceive) {
            order.push(0);
        }
        talk::reply(&self.waiting.borrow(), order)?;
        let done = mailbox::receive_from(self.sink)?;
        let Incoming::Call(Data { bytes, .. }) = &done.content else {
            return Err("the sink has ended".into());
        };
        let nanoseconds = u64::from_le_bytes(bytes.as_slice().try_into()?);
        self.waiting.replace(done);
        Ok(nanoseconds)
    }
}

const ECHO: &str = "echo";
const SERVER: &str = "server";
const TAKER: &str = "taker";
const SINK: &str = "sink";
/// Says one thing and ends.
pub(crate) const HELLO: &str = "hello";

pub(crate) fn spawn(role: &str) -> Result<Pid, process::ErrorCode> {
    process::spawn(&[role.into()])
}

pub(crate) fn run(root: Pid, args: &[String]) {
    match args.first().map(String::as_str) {
        Some(ECHO) => echo(),
        Some(SERVER) => serve(),
        Some(TAKER) => take(),
        Some(SINK) => sink(root),
        Some(HELLO) => hello(root),
        _ => unreachable!("the root starts only these"),
    }
}

fn echo() {
    loop {
        let message = mailbox::receive();
        if let Incoming::Data(data) = message.content {
            let _has_ended = mailbox::send(message.sender, Outgoing::Data(data));
        }
    }
}

fn serve() {
    talk::serve(|mut message| {
        let bytes = match &mut message.content {
            Incoming::Data(data) | Incoming::Call(data) => std::mem::take(&mut data.bytes),
            Incoming::Request(_) | Incoming::Down(_) => return None,
        };
        Answer::reply(&message, bytes)
    })
}

fn take() {
    loop {
        drop(mailbox::receive());
    }
}

fn hello(root: Pid) {
    let _has_ended = talk::send(root, 0, &[]);
}

/// How the sink empties its mailbox.
#[derive(Clone, Copy)]
pub(crate) enum Drain {
    Receive,
    TryReceive,
}

/// Waits in a call to the root, past everything in its mailbox, for the order to take so many
/// messages: their number, and a byte more for `TryReceive`. The next call says how long that took.
fn sink(root: Pid) {
    let mut nanoseconds: u64 = 0;
    while let Ok(order) = talk::call(root, &nanoseconds.to_le_bytes(), PATIENCE) {
        let Some((count, how)) = order.split_first_chunk() else {
            return;
        };
        let count = u64::from_le_bytes(*count);
        let start = Instant::now();
        if how.is_empty() {
            for _ in 0..count {
                drop(mailbox::receive());
            }
        } else {
            for _ in 0..count {
                drop(mailbox::try_receive());
            }
        }
        nanoseconds = start.elapsed().as_nanos() as u64;
    }
}
