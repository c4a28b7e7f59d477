//! The mailbox: its receiver does not sleep while a wanted message is there, and its senders learn
//! the fate of their messages.

use std::sync::Arc;
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;

use super::tested::{MailError, Mailbox, Settings, Wake, Wanted};
use crate::check::Model;
use crate::message::{Content, Message};
use crate::pid::Pid;
use crate::sync::timeout;

/// All models of the mailbox.
pub const MODELS: &[Model] = &[
    Model {
        name: "a message wakes its receiver",
        run: || received(&[1], Wanted::Any, &[1]),
    },
    Model {
        name: "one of two messages wakes a receiver that wants either",
        run: || received(&[1, 2], Wanted::Any, &[1, 2]),
    },
    Model {
        name: "a message wakes a receiver that wants no other",
        run: || received(&[1, 2], Wanted::From(pid(2)), &[2]),
    },
    Model {
        name: "a receiver that waits for a process hears of its end",
        run: || ends(false),
    },
    Model {
        name: "the last message of a process comes before its end",
        run: || ends(true),
    },
    Model {
        name: "a message that is waited for is either taken or withdrawn",
        run: taken_or_withdrawn,
    },
    Model {
        name: "a receiver that stopped waiting has lost nothing",
        run: stopped_waiting,
    },
    Model {
        name: "a sender that waits hears of the receiver's end",
        run: closed,
    },
];

const NO_PATIENCE: Duration = Duration::ZERO;
const PATIENCE: Duration = Duration::MAX;

fn mailbox() -> Arc<Mailbox> {
    Arc::new(Mailbox::new(Settings {
        messages: 4,
        bytes: 4,
    }))
}

fn pid(number: u64) -> Pid {
    Pid::new(number).expect("nobody has 0")
}

fn message(sender: u64) -> Message {
    Message {
        sender: pid(sender),
        content: Content::Data {
            tag: 0,
            bytes: Vec::new(),
        },
    }
}

fn send(mailbox: &Mailbox, sender: u64) {
    mailbox.send(message(sender)).map(Wake::wake).expect("there is room");
}

/// Each sender sends a message, and the receiver gets one of the messages that it wants.
fn received(senders: &'static [u64], wanted: Wanted, expected: &[u64]) {
    let mailbox = mailbox();
    for sender in senders {
        let mailbox = Arc::clone(&mailbox);
        thread::spawn(move || send(&mailbox, *sender));
    }
    let message = block_on(mailbox.receive(wanted, None)).expect("nobody has ended");
    assert!(expected.contains(&message.sender.get()));
}

/// A process sends a message, or none, and ends. This tells the receiver of the end as the table
/// does.
fn ends(sends: bool) {
    let (own, other) = (mailbox(), mailbox());
    {
        let (own, other) = (Arc::clone(&own), Arc::clone(&other));
        thread::spawn(move || {
            if sends {
                send(&own, 2);
            }
            other.close();
            own.interrupt().wake();
        });
    }
    let received = block_on(own.receive(Wanted::From(pid(2)), Some(&other)));
    match received {
        Ok(message) => assert!(sends && message.sender == pid(2)),
        Err(error) => assert!(!sends && error == MailError::NoProcess),
    }
}

fn taken_or_withdrawn() {
    let mailbox = mailbox();
    let sender = {
        let mailbox = Arc::clone(&mailbox);
        thread::spawn(move || {
            let (wake, posted) = mailbox.post(message(2)).expect("nobody has ended");
            wake.wake();
            block_on(posted.taken(NO_PATIENCE))
        })
    };
    let first = mailbox.try_receive(Wanted::Any);
    let sent = sender.join().expect("it knows");
    let later = mailbox.try_receive(Wanted::Any);
    assert!(later.is_none(), "nobody waits for this message");
    match sent {
        Ok(()) => assert!(first.is_some(), "it was not taken"),
        Err(error) => assert!(first.is_none() && error == MailError::TimedOut),
    }
}

fn stopped_waiting() {
    let mailbox = mailbox();
    {
        let mailbox = Arc::clone(&mailbox);
        thread::spawn(move || send(&mailbox, 2));
    }
    let received = block_on(timeout(NO_PATIENCE, mailbox.receive(Wanted::Any, None)));
    if received.is_err() {
        block_on(mailbox.receive(Wanted::Any, None)).expect("nobody has ended");
    }
}

fn closed() {
    let mailbox = mailbox();
    let sender = {
        let mailbox = Arc::clone(&mailbox);
        thread::spawn(move || {
            let (wake, posted) = mailbox.post(message(2))?;
            wake.wake();
            block_on(posted.taken(PATIENCE))
        })
    };
    let taken = mailbox.try_receive(Wanted::Any).is_some();
    mailbox.close();
    let sent = sender.join().expect("it knows");
    let expected = if taken { Ok(()) } else { Err(MailError::NoProcess) };
    assert_eq!(sent, expected);
}
