//! A *router* takes what one process sends to the receiver. The router alone knows what a pid
//! stands for: a process of this host, which has a mailbox, or a client, which has none and waits
//! on its connection. Another host's process would be a third case here, and nowhere else.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::call::{Caller, Callers, Calls, NoReply};
use crate::mailbox::{MailError, Mailbox};
use crate::message::{Content, Message, Request, Response};
use crate::pid::Pid;
use crate::table::Table;

/// What a process sends.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Bytes, for a process.
    Data {
        /// Of the sender's choice.
        tag: u64,
        /// Copied out of the sender.
        bytes: Vec<u8>,
    },
    /// The reply to a call, for the caller.
    Reply {
        /// The call's.
        tag: u64,
        /// Copied out of the sender.
        bytes: Vec<u8>,
    },
    /// A client's request, for a process, with the duty to answer.
    Request {
        /// The client that waits.
        client: Pid,
        /// The client's request.
        request: Box<Request>,
    },
    /// The response, for a client.
    Response(Box<Response>),
}

/// The way from one process to all others.
#[derive(Debug)]
pub(crate) struct Router {
    /// The process that sends.
    from: Pid,
    /// Its own.
    mailbox: Arc<Mailbox>,
    table: Arc<Table>,
    known: Correspondents,
    /// Whom it owes a reply.
    callers: Callers,
    calls: Option<Calls>,
}

/// The mailboxes that a process sent to last, so that most messages need no look into the table.
/// The last bits of a pid choose its place: processes that are spawned together don't displace each
/// other.
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

    /// Sends, and does not wait.
    ///
    /// # Errors
    /// Those of [`Mailbox::send`], [`Table::forward`] and [`Table::answer`];
    /// [`MailError::NotYours`] where a client is sent data; [`MailError::NoProcess`] where nobody
    /// waits for the reply.
    pub(crate) fn send(&mut self, to: Pid, content: Outgoing) -> Result<(), MailError> {
        match content {
            Outgoing::Data { tag, bytes } => {
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

    /// As [`Router::send`], and waits until the receiver has taken the message; for `patience` at
    /// most. A reply and a response are taken at once.
    ///
    /// # Errors
    /// Those of [`Router::send`] but for [`MailError::Full`], and [`MailError::TimedOut`].
    pub(crate) async fn send_wait(
        &mut self,
        to: Pid,
        content: Outgoing,
        patience: Duration,
    ) -> Result<(), MailError> {
        match content {
            Outgoing::Data { tag, bytes } => {
                let message = self.message(Content::Data { tag, bytes });
                let (wake, posted) = self.mailbox(to)?.post(message)?;
                wake.wake();
                posted.taken(patience).await
            }
            Outgoing::Request { client, request } => {
                let sent = self
                    .table
                    .forward_wait(self.from, to, client, request, patience);
                sent.await
            }
            Outgoing::Reply { .. } | Outgoing::Response(_) => self.send(to, content),
        }
    }

    /// Calls: sends, and does not wait yet for the reply, which [`Router::poll_reply`] does.
    ///
    /// # Errors
    /// Those of [`Router::send`]; [`MailError::NoProcess`] where the process calls itself.
    pub(crate) fn call(&mut self, to: Pid, bytes: Vec<u8>) -> Result<(), MailError> {
        if to == self.from {
            return Err(MailError::NoProcess);
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

    /// Waits for the reply to the call that was begun last, until `deadline`.
    pub(crate) fn poll_reply(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Instant,
    ) -> Poll<Result<Vec<u8>, MailError>> {
        let Some(calls) = &mut self.calls else {
            return Poll::Ready(Err(MailError::NoProcess)); // nobody was called
        };
        calls.poll(cx, deadline).map_err(|error| match error {
            NoReply::Ended => MailError::NoProcess,
            NoReply::TimedOut => MailError::TimedOut,
        })
    }

    /// Waits no longer for a reply.
    pub(crate) fn give_up(&mut self) {
        if let Some(calls) = &mut self.calls {
            calls.give_up();
        }
    }

    /// Holds a caller whose call the process has received, until the process replies.
    pub(crate) fn hold(&mut self, pid: Pid, caller: Caller) {
        self.callers.hold(pid, caller);
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
        self.mailbox.keep(std::mem::take(&mut self.callers));
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
