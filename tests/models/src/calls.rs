//! Calls: a caller does not sleep while its reply is there, and learns if no reply will come.
//! Caller and replier agree on which came first, the reply or the deadline.

use std::future::poll_fn;
use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use super::tested::{Caller, Calls, NoReply, Slot};
use crate::check::Model;
use crate::sync::{Instant, NEVER};

/// All models of calls.
pub const MODELS: &[Model] = &[
    Model { name: "a reply wakes its caller", run: replied },
    Model { name: "a caller is told that no reply will come", run: let_go },
    Model { name: "a reply comes in time or nobody waits for it", run: in_time_or_not },
    Model { name: "a late reply is not the next call's", run: || late(Some(1)) },
    Model { name: "the end of a late server is not the next call's", run: || late(None) },
    Model { name: "a call has its own deadline after an earlier one", run: || deadlines(SOON, LATER) },
    Model { name: "a call has its own deadline before an earlier one", run: || deadlines(NEVER, SOON) },
];

const SOON: Instant = Instant(1);
const LATER: Instant = Instant(2);

fn new() -> Calls {
    Calls::new(Arc::new(Slot::default()))
}

/// A process that replies with this byte, or ends. It returns whether the caller was waiting.
fn serve(caller: Caller, byte: Option<u8>) -> JoinHandle<bool> {
    thread::spawn(move || byte.is_some_and(|byte| caller.reply(vec![byte])))
}

fn wait(calls: &mut Calls, deadline: Instant) -> Result<Vec<u8>, NoReply> {
    block_on(poll_fn(|cx| calls.poll(cx, deadline)))
}

fn replied() {
    let mut calls = new();
    for byte in [1, 2] {
        let server = serve(calls.begin(), Some(byte));
        assert_eq!(wait(&mut calls, NEVER), Ok(vec![byte]));
        assert!(server.join().expect("it ends"), "the caller waited");
    }
}

fn let_go() {
    let mut calls = new();
    let _server = serve(calls.begin(), None);
    assert_eq!(wait(&mut calls, NEVER), Err(NoReply::Ended));
}

fn in_time_or_not() {
    let mut calls = new();
    let server = serve(calls.begin(), Some(1));
    let result = wait(&mut calls, SOON);
    let in_time = server.join().expect("it ends");
    let expected = if in_time { Ok(vec![1]) } else { Err(NoReply::TimedOut) };
    assert_eq!(result, expected);
}

/// The caller gives up the first call while the server replies or ends.
fn late(byte: Option<u8>) {
    let mut calls = new();
    let _late = serve(calls.begin(), byte);
    calls.give_up();
    let server = serve(calls.begin(), Some(2));
    assert_eq!(wait(&mut calls, NEVER), Ok(vec![2]));
    assert!(server.join().expect("it ends"), "the caller waited");
}

/// After a call with one deadline, a call with another deadline gets no reply.
fn deadlines(first: Instant, second: Instant) {
    let mut calls = new();
    let _server = serve(calls.begin(), Some(1));
    let _replied_or_late = wait(&mut calls, first);
    let _silent = calls.begin();
    assert_eq!(wait(&mut calls, second), Err(NoReply::TimedOut));
}
