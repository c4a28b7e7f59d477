//! The processes that the root talks to. They have ended when it has.

use std::time::Instant;

use wasm_pool_guest::mailbox::{self, Content, Data, Pid};
use wasm_pool_guest::{process, talk};

use crate::Outcome;

/// Those that live as long as the root.
pub(crate) struct Partners {
    /// Returns what it is sent.
    pub(crate) echo: Pid,
    /// Takes what it is sent.
    pub(crate) taker: Pid,
    /// Leaves what it is sent in its mailbox, until it has an [`order`] to drain it.
    pub(crate) sink: Pid,
}

impl Partners {
    pub(crate) fn start() -> Outcome<Self> {
        let partner = |role: &str| {
            // Monitored: otherwise the root would wait for ever for one that has ended.
            process::spawn_monitor(&[role.into()])
        };
        Ok(Self {
            echo: partner(ECHO)?,
            taker: partner(TAKER)?,
            sink: partner(SINK)?,
        })
    }
}

const ECHO: &str = "echo";
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
        Some(TAKER) => take(),
        Some(SINK) => sink(root),
        Some(HELLO) => hello(root),
        _ => unreachable!("the root starts only these"),
    }
}

fn echo() {
    loop {
        let message = mailbox::receive();
        let _has_ended = mailbox::send(message.sender, message.content);
    }
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

/// The order has this tag and the number of messages, and `TryReceive` a byte more.
const ORDER: u64 = 1;

pub(crate) fn order(sink: Pid, how: Drain, count: usize) -> Result<(), mailbox::ErrorCode> {
    let mut bytes = (count as u64).to_le_bytes().to_vec();
    if matches!(how, Drain::TryReceive) {
        bytes.push(0);
    }
    talk::send(sink, ORDER, &bytes)
}

/// Waits for an order past everything else in its mailbox, then takes that.
fn sink(root: Pid) {
    while let Ok(order) = mailbox::receive_reply(root, ORDER, u32::MAX) {
        let Content::Data(Data { bytes, .. }) = order.content else {
            return;
        };
        let Some((count, how)) = bytes.split_first_chunk() else {
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
        let nanoseconds = start.elapsed().as_nanos() as u64;
        let _has_ended = talk::send(root, 0, &nanoseconds.to_le_bytes());
    }
}
