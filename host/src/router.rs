//! A *router* takes the messages of one process to their receivers. Only the router knows whether a
//! pid stands for a process, which has a mailbox, or for a client, which has none and waits on its
//! connection. What is for a process of another host goes to the [`Peers`](crate::peers::Peers).

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::call::{Caller, Callers, Calls, NoReply};
use crate::mailbox::{MailError, Mailbox};
use crate::message::{Content, Message, Request, Response};
use crate::peers::{Letter, Way};
use crate::pid::Pid;
use crate::table::Table;

/// An outgoing message.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Bytes for a process.
    Data {
        /// Chosen by the sender.
        tag: u64,
        bytes: Vec<u8>,
    },
    /// The reply to a call, for its caller.
    Reply {
        /// The tag of the call.
        tag: u64,
        bytes: Vec<u8>,
    },
    /// A client's request for a process, with the duty to answer it.
    Request { client: Pid, request: Box<Request> },
    /// The response for a client.
    Response(Box<Response>),
}

/// The sending side of one process.
#[derive(Debug)]
pub(crate) struct Router {
    /// The sending process.
    from: Pid,
    /// The sending process's mailbox.
    mailbox: Arc<Mailbox>,
    table: Arc<Table>,
    known: Correspondents,
    /// The callers that wait for this process's reply.
    callers: Callers,
    calls: Option<Calls>,
}

/// The mailboxes that the process sent to last, so that most messages need no look-up in the table.
/// The last bits of a pid choose its place, so that processes that are spawned together don't
/// displace each other.
#[derive(Debug, Default)]
struct Correspondents([Option<(Pid, Arc<Mailbox>)>; 4]);

impl Router {
    /// The router of the process `from`.
    #[must_use]
    pub(crate) fn new(from: Pid, mailbox: Arc<Mailbox>, table: Arc<Table>) -> Self {
        Self {
            from,
            mailbox,
            table,
            known: Correspondents::default(),
            callers: Callers::default(),
            calls: None,
        }
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// Those of [`Mailbox::send`], [`Table::forward`], [`Table::answer`] and, if the receiver is on
    /// another host, [`Peers::send`](crate::peers::Peers::send).
    /// [`MailError::NotYours`] if data is sent to a client. [`MailError::NoProcess`] if nobody
    /// waits for the reply.
    pub(crate) fn send(&mut self, to: Pid, content: Outgoing) -> Result<(), MailError> {
        match content {
            Outgoing::Data { tag, bytes } => {
                if !to.is_near(self.from) {
                    return self.send_afar(to, Letter { tag, bytes });
                }
                let message = self.message(Content::Data { tag, bytes });
                self.mailbox(to)?.send(message)?.wake();
                Ok(())
            }
            Outgoing::Reply { tag, bytes } => {
                let caller = self.callers.take(to, tag);
                let replied = caller.is_some_and(|caller| caller.reply(bytes));
                replied.then_some(()).ok_or(MailError::NoProcess)
            }
            Outgoing::Request { client, request } => {
                self.table.forward(self.from, to, client, request)
            }
            Outgoing::Response(response) => self.table.answer(self.from, to, *response),
        }
    }

    /// Sends like [`Router::send`], and waits for at most `time_limit` until the receiver has taken
    /// the message. A reply and a response are taken at once.
    ///
    /// # Errors
    /// Those of [`Router::send`] without [`MailError::Full`], and [`MailError::TimedOut`].
    pub(crate) async fn send_wait(
        &mut self,
        to: Pid,
        content: Outgoing,
        time_limit: Duration,
    ) -> Result<(), MailError> {
        match content {
            Outgoing::Data { tag, bytes } => {
                if !to.is_near(self.from) {
                    let (way, letter) = (self.way(to), Letter { tag, bytes });
                    return self.table.peers().send_wait(way, letter, time_limit).await;
                }
                let message = self.message(Content::Data { tag, bytes });
                let (wake, posted) = self.mailbox(to)?.post(message)?;
                wake.wake();
                posted.taken(time_limit).await
            }
            Outgoing::Request { client, request } => {
                let sent = self
                    .table
                    .forward_wait(self.from, to, client, request, time_limit);
                sent.await
            }
            Outgoing::Reply { .. } | Outgoing::Response(_) => self.send(to, content),
        }
    }

    /// Sends a call. [`Router::poll_reply`] waits for the reply, for at most `time_limit`.
    ///
    /// # Errors
    /// Those of [`Router::send`]; [`MailError::NoProcess`] if the process calls itself.
    pub(crate) fn call(
        &mut self,
        to: Pid,
        bytes: Vec<u8>,
        time_limit: Duration,
    ) -> Result<(), MailError> {
        if to == self.from {
            return Err(MailError::NoProcess);
        }
        if !to.is_near(self.from) {
            return self.call_afar(to, bytes, time_limit);
        }
        let mailbox = self.known.find(to, &self.table)?;
        let slot = || Calls::new(Arc::clone(self.mailbox.slot()));
        let calls = self.calls.get_or_insert_with(slot);
        let caller = calls.begin();
        let message = Message {
            sender: self.from,
            content: Content::Call { caller, bytes },
        };
        match mailbox.send(message) {
            Ok(wake) => wake.wake(),
            Err(error) => {
                calls.give_up();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Waits for the reply to the latest call, until `deadline`.
    pub(crate) fn poll_reply(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Instant,
    ) -> Poll<Result<Vec<u8>, MailError>> {
        let Some(calls) = &mut self.calls else {
            return Poll::Ready(Err(MailError::NoProcess)); // no call was sent
        };
        calls.poll(cx, deadline).map_err(|error| match error {
            NoReply::Ended => MailError::NoProcess,
            NoReply::TimedOut => MailError::TimedOut,
            NoReply::Full => MailError::Full,
            NoReply::TooLarge => MailError::TooLarge,
            NoReply::Unreachable => MailError::Unreachable,
        })
    }

    /// Stops waiting for a reply.
    pub(crate) fn give_up(&mut self) {
        if let Some(calls) = &mut self.calls {
            calls.give_up();
        }
    }

    /// Holds the caller of a received call until the process replies.
    pub(crate) fn hold(&mut self, pid: Pid, caller: Caller) {
        self.callers.hold(pid, caller);
    }

    #[cold]
    fn send_afar(&self, to: Pid, letter: Letter) -> Result<(), MailError> {
        self.table.peers().send(self.way(to), letter)
    }

    #[cold]
    fn call_afar(
        &mut self,
        to: Pid,
        bytes: Vec<u8>,
        time_limit: Duration,
    ) -> Result<(), MailError> {
        let slot = || Calls::new(Arc::clone(self.mailbox.slot()));
        let caller = self.calls.get_or_insert_with(slot).begin();
        let peers = self.table.peers();
        let sent = peers.call(self.way(to), caller, bytes, time_limit);
        if let (Err(_), Some(calls)) = (&sent, &mut self.calls) {
            calls.give_up();
        }
        sent
    }

    fn way(&self, to: Pid) -> Way<'_> {
        Way {
            program: self.table.program(),
            from: self.from,
            to,
        }
    }

    fn message(&self, content: Content) -> Message {
        Message {
            sender: self.from,
            content,
        }
    }

    fn mailbox(&mut self, of: Pid) -> Result<&Arc<Mailbox>, MailError> {
        self.known.find(of, &self.table)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.mailbox
            .store_callers(std::mem::take(&mut self.callers));
    }
}

impl Correspondents {
    fn find(&mut self, pid: Pid, table: &Table) -> Result<&Arc<Mailbox>, MailError> {
        let places = self.0.len() as u64;
        let place = &mut self.0[usize::try_from(pid.get() % places).unwrap_or(0)];
        let is_known = matches!(place, Some((known, _)) if *known == pid);
        if !is_known {
            *place = Some((pid, table.mailbox(pid)?));
        }
        place
            .as_ref()
            .map(|(_, mailbox)| mailbox)
            .ok_or(MailError::NoProcess)
    }
}
