use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake as Waking, Waker};
use std::time::Duration;

use super::{IDLE_CAPACITY, MailError, Mailbox, Settings, Wake, Wanted};
use crate::exit::Exit;
use crate::message::{Content, Message};
use crate::pid::Pid;

const NO_TIME: Duration = Duration::ZERO;

fn mailbox() -> Arc<Mailbox> {
    Arc::new(Mailbox::new(Settings {
        messages: 2,
        bytes: 10,
    }))
}

fn pid(number: u64) -> Pid {
    Pid::new(number).expect("nobody has 0")
}

/// A message of this many bytes.
fn message(sender: u64, bytes: usize) -> Message {
    Message {
        sender: pid(sender),
        content: Content::Data {
            tag: 0,
            bytes: vec![0; bytes],
        },
    }
}

fn down(of: u64) -> Message {
    Message {
        sender: pid(of),
        content: Content::Down {
            pid: pid(of),
            exit: Exit::Normal,
        },
    }
}

fn send(mailbox: &Mailbox, sender: u64, bytes: usize) -> Result<(), MailError> {
    mailbox.send(message(sender, bytes)).map(Wake::wake)
}

/// The sender of the received message, or 0 if there is none.
fn take(mailbox: &Mailbox, wanted: Wanted) -> u64 {
    let message = mailbox.try_receive(wanted);
    message.map_or(0, |message| message.sender.get())
}

#[derive(Default)]
struct Wakings(AtomicUsize);

impl Waking for Wakings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn messages_come_in_their_order() {
    let mailbox = mailbox();
    assert_eq!(send(&mailbox, 1, 0), Ok(()));
    assert_eq!(send(&mailbox, 2, 0), Ok(()));
    assert_eq!(take(&mailbox, Wanted::From(pid(2))), 2);
    assert_eq!(take(&mailbox, Wanted::From(pid(2))), 0);
    assert_eq!(take(&mailbox, Wanted::Any), 1);
    assert_eq!(take(&mailbox, Wanted::Any), 0);
}

#[test]
fn a_mailbox_is_bounded_in_messages_and_in_bytes() {
    let mailbox = mailbox();
    assert_eq!(send(&mailbox, 1, 11), Err(MailError::Full));
    assert_eq!(send(&mailbox, 1, 10), Ok(()));
    assert_eq!(send(&mailbox, 2, 1), Err(MailError::Full));
    assert_eq!(send(&mailbox, 2, 0), Ok(()));
    assert_eq!(send(&mailbox, 3, 0), Err(MailError::Full));
    assert_eq!(take(&mailbox, Wanted::Any), 1);
    assert_eq!(
        send(&mailbox, 3, 10),
        Ok(()),
        "its place and its bytes are free"
    );
}

#[test]
fn ends_have_places_of_their_own() {
    let mailbox = mailbox();
    assert!(mailbox.reserve() && mailbox.reserve());
    assert!(!mailbox.reserve(), "there are as many as messages");
    assert_eq!(send(&mailbox, 1, 0), Ok(()));
    assert_eq!(send(&mailbox, 2, 0), Ok(()));
    assert!(
        mailbox.deliver(down(3)).is_some(),
        "also where the mailbox is full"
    );
    for sender in [1, 2, 3, 0] {
        assert_eq!(take(&mailbox, Wanted::Any), sender);
    }
    assert!(mailbox.reserve(), "the place is free again");
}

#[test]
fn a_receiver_is_woken_by_what_it_wants() {
    let mailbox = mailbox();
    let wakings = Arc::new(Wakings::default());
    let waker = Waker::from(Arc::clone(&wakings));
    let polled = mailbox.poll_receive(&Context::from_waker(&waker), Wanted::From(pid(2)));
    assert!(polled.is_pending());
    assert_eq!(send(&mailbox, 1, 0), Ok(()));
    assert_eq!(wakings.0.load(Ordering::Relaxed), 0);
    assert_eq!(send(&mailbox, 2, 0), Ok(()));
    assert_eq!(wakings.0.load(Ordering::Relaxed), 1);
}

#[test]
fn nobody_is_woken_that_stopped_waiting() {
    let mailbox = mailbox();
    let wakings = Arc::new(Wakings::default());
    let waker = Waker::from(Arc::clone(&wakings));
    {
        let receive = pin!(mailbox.receive(Wanted::Any, None));
        assert!(receive.poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(send(&mailbox, 1, 0), Ok(()));
    assert_eq!(wakings.0.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_message_that_is_waited_for_does_not_count_and_is_withdrawn() {
    let mailbox = mailbox();
    assert_eq!(send(&mailbox, 1, 10), Ok(()));
    let (_, posted) = mailbox.post(message(2, 10)).expect("it is open");
    assert_eq!(send(&mailbox, 3, 0), Ok(()));
    assert_eq!(posted.taken(NO_TIME).await, Err(MailError::TimedOut));
    for sender in [1, 3, 0] {
        assert_eq!(take(&mailbox, Wanted::Any), sender);
    }
    let (_, posted) = mailbox.post(message(2, 10)).expect("it is open");
    assert_eq!(take(&mailbox, Wanted::Any), 2);
    assert_eq!(posted.taken(NO_TIME).await, Ok(()));
}

#[tokio::test]
async fn a_mailbox_that_is_closed_takes_nothing() {
    let mailbox = mailbox();
    assert_eq!(send(&mailbox, 1, 0), Ok(()));
    let (_, posted) = mailbox.post(message(2, 0)).expect("it is open");
    mailbox.close();
    assert!(mailbox.is_closed());
    assert_eq!(posted.taken(NO_TIME).await, Err(MailError::NoProcess));
    assert_eq!(send(&mailbox, 3, 0), Err(MailError::NoProcess));
    assert!(mailbox.post(message(3, 0)).is_err());
    assert!(mailbox.deliver(down(3)).is_none());
    assert_eq!(take(&mailbox, Wanted::Any), 0);
}

#[test]
fn a_receiver_waits_for_a_process_while_its_mailbox_is_open() {
    let (mailbox, other) = (mailbox(), mailbox());
    let mut cx = Context::from_waker(Waker::noop());
    let wanted = Wanted::From(pid(2));
    let mut receive = pin!(mailbox.receive(wanted, Some(&other)));
    assert!(receive.as_mut().poll(&mut cx).is_pending());
    other.close();
    let Poll::Ready(Err(error)) = receive.poll(&mut cx) else {
        panic!("nothing comes any more");
    };
    assert_eq!(error, MailError::NoProcess);
    assert_eq!(send(&mailbox, 2, 0), Ok(()));
    let receive = pin!(mailbox.receive(wanted, Some(&other)));
    assert!(receive.poll(&mut cx).is_ready(), "what it left is received");
}

#[test]
fn a_receiver_that_comes_for_nothing_else_is_stuck_with_its_client() {
    let mailbox = mailbox();
    let visits = mailbox.visits();
    assert!(mailbox.is_stuck(visits, pid(9)), "it has not come at all");
    let polled = mailbox.poll_receive(&Context::from_waker(Waker::noop()), Wanted::Any);
    assert!(polled.is_pending());
    assert!(!mailbox.is_stuck(visits, pid(9)), "it waits");
    mailbox.stop_waiting();
    assert!(
        !mailbox.is_stuck(visits, pid(9)),
        "it came, and not for this client"
    );
}

#[test]
fn what_a_burst_took_is_given_back() {
    let mailbox = Mailbox::new(Settings {
        messages: 10 * IDLE_CAPACITY,
        bytes: 0,
    });
    for _ in 0..10 * IDLE_CAPACITY {
        assert_eq!(send(&mailbox, 1, 0), Ok(()));
    }
    while take(&mailbox, Wanted::Any) != 0 {}
    assert!(mailbox.lock().queue.capacity() < 2 * IDLE_CAPACITY);
}
