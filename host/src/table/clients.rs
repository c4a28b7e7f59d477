//! *Clients* wait outside the host for a response. A process *holds* each client: it owes the
//! response. A request and the duty to answer it move together, in one step under the table's lock.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use super::ancestry::Terminating;
use super::{Relations, Table};
use crate::exit::Exit;
use crate::mailbox::{MailError, Mailbox, Posted, Wake};
use crate::message::{Content, Message, Request, Response};
use crate::pid::Pid;

/// A client that waits for a response.
#[derive(Debug)]
pub(super) struct Client {
    holder: Pid,
    /// [`Mailbox::visits`] of the holder when it got the request.
    visits: u64,
    /// Whether this is the host itself.
    is_own: bool,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Why a request did not get into the root's mailbox.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    /// There is no root process. The request goes to the next one.
    NoRoot(Box<Request>),
    /// The mailbox has as many messages or bytes as it may.
    Full,
}

/// The holder, and its response or the exit that came before a response.
pub(super) type Answer = (Pid, Result<Response, Exit>);

impl Table {
    /// Puts a request into the root's mailbox.
    ///
    /// # Errors
    /// [`NotAdmitted`], if there is no root process or its mailbox is full.
    pub(crate) fn admit(&self, request: Box<Request>) -> Result<Waiting<'_>, NotAdmitted> {
        let relations = self.lock();
        let root = relations.root;
        self.put(relations, root, request)
    }

    /// Puts a request into the mailbox of this process.
    ///
    /// # Errors
    /// [`NotAdmitted`], if the process has ended or its mailbox is full.
    pub(crate) fn admit_to(
        &self,
        root: Pid,
        request: Box<Request>,
    ) -> Result<Waiting<'_>, NotAdmitted> {
        self.put(self.lock(), Some(root), request)
    }

    /// Whether any client waits for a response.
    pub(crate) fn has_clients(&self) -> bool {
        !self.lock().clients.is_empty()
    }

    fn put(
        &self,
        mut relations: MutexGuard<'_, Relations>,
        root: Option<Pid>,
        request: Box<Request>,
    ) -> Result<Waiting<'_>, NotAdmitted> {
        let client = self.lives.next_pid();
        let (answer, answered) = oneshot::channel();
        let root = root.and_then(|pid| Some((pid, relations.processes.get_mut(&pid)?)));
        let Some((holder, root)) = root else {
            return Err(NotAdmitted::NoRoot(request));
        };
        let is_own = request.is_own();
        let sent = root.mailbox.send(forwarded(client, client, request));
        let wake = sent.map_err(|_full| NotAdmitted::Full)?;
        root.clients.insert(client);
        let client_entry = Client {
            holder,
            visits: wake.visits,
            is_own,
            answer,
        };
        relations.clients.insert(client, client_entry);
        drop(relations);
        wake.wake();
        Ok(Waiting {
            table: self,
            client,
            answered,
        })
    }

    /// Sends a client's request on from its holder to another process, which holds the client from
    /// then on.
    ///
    /// # Errors
    /// [`MailError::NotYours`] if `holder` does not hold the client; [`MailError::NoProcess`] if
    /// the client or the receiver is gone; [`MailError::Full`]. In all cases the client keeps its
    /// holder.
    pub(crate) fn forward(
        &self,
        holder: Pid,
        to: Pid,
        client: Pid,
        request: Box<Request>,
    ) -> Result<(), MailError> {
        self.hand_over(holder, to, client, |mailbox| {
            let message = forwarded(holder, client, request);
            Ok((mailbox.send(message)?, ()))
        })
    }

    /// Forwards like [`Table::forward`], and waits for at most `time_limit` until the receiver has
    /// taken the request.
    ///
    /// # Errors
    /// Those of [`Table::forward`], and [`MailError::TimedOut`]. If the receiver ended before it
    /// took the request, the client has been told.
    pub(crate) async fn forward_wait(
        &self,
        holder: Pid,
        to: Pid,
        client: Pid,
        request: Box<Request>,
        time_limit: Duration,
    ) -> Result<(), MailError> {
        let posted = self.hand_over(holder, to, client, |mailbox| {
            mailbox.post(forwarded(holder, client, request))
        })?;
        let mut in_line = InLine {
            table: self,
            holder,
            to,
            client,
            posted,
        };
        match in_line.posted.wait(time_limit).await {
            Ok(taken) => taken,
            Err(_elapsed) => in_line.take_back().unwrap_or(Err(MailError::TimedOut)),
        }
    }

    fn hand_over<T>(
        &self,
        holder: Pid,
        to: Pid,
        client: Pid,
        put: impl FnOnce(&Arc<Mailbox>) -> Result<(Wake, T), MailError>,
    ) -> Result<T, MailError> {
        let mut relations = self.lock();
        relations.check_holder(client, holder)?;
        let (wake, put) = match relations.processes.get(&to) {
            Some(receiver) => put(&receiver.mailbox)?,
            // A client stays on its host.
            None if relations.clients.contains_key(&to) || !to.is_near(holder) => {
                return Err(MailError::NotYours);
            }
            None => return Err(MailError::NoProcess),
        };
        relations.move_client(client, holder, to, wake.visits);
        drop(relations);
        wake.wake();
        Ok(put)
    }

    /// Sends a client its response.
    ///
    /// # Errors
    /// [`MailError::NotYours`] if `holder` does not hold the client; [`MailError::NoProcess`] if
    /// the client has left.
    pub(crate) fn answer(
        &self,
        holder: Pid,
        client: Pid,
        response: Response,
    ) -> Result<(), MailError> {
        let mut relations = self.lock();
        relations.check_holder(client, holder)?;
        let client_entry = relations.clients.remove(&client);
        relations.remove_client(client, holder);
        if let Some(relative) = relations.processes.get(&holder) {
            let is_own = client_entry.as_ref().is_some_and(|entry| entry.is_own);
            relative.row.answered(is_own);
        }
        drop(relations);
        let answer = client_entry.ok_or(MailError::NoProcess)?.answer;
        let answered = answer.send((holder, Ok(response)));
        answered.map_err(|_left| MailError::NoProcess)
    }

    /// Handles a client whose time is up. Returns its holder, and whether the holder ends. It ends
    /// if it has done nothing else since it got the request.
    pub(crate) fn expire(&self, client: Pid) -> Option<(Pid, bool)> {
        let mut relations = self.lock();
        let &Client { holder, visits, .. } = relations.clients.get(&client)?;
        let mailbox = &relations.processes.get(&holder)?.mailbox;
        let is_stuck = mailbox.is_stuck(visits, client);
        if is_stuck {
            let mut terminating = Terminating::by(holder, Exit::Deadline);
            relations.signal_exit(&mut terminating);
            drop(relations);
            self.terminate(terminating);
        }
        Some((holder, is_stuck))
    }
}

impl Relations {
    /// Checks that this process holds this client.
    fn check_holder(&self, client: Pid, holder: Pid) -> Result<(), MailError> {
        match self.clients.get(&client) {
            Some(entry) if entry.holder == holder => Ok(()),
            Some(_) => Err(MailError::NotYours),
            None if self.processes.contains_key(&client) => Err(MailError::NotYours),
            None => Err(MailError::NoProcess),
        }
    }

    fn move_client(&mut self, client: Pid, from: Pid, to: Pid, visits: u64) {
        let entry = self.clients.get_mut(&client);
        let (Some(entry), Some(receiver)) = (
            entry.filter(|entry| entry.holder == from),
            self.processes.get_mut(&to),
        ) else {
            return; // the client has left, or has another holder by now
        };
        (entry.holder, entry.visits) = (to, visits);
        receiver.clients.insert(client);
        if from != to {
            self.remove_client(client, from);
        }
    }

    fn remove_client(&mut self, client: Pid, holder: Pid) {
        if let Some(process) = self.processes.get_mut(&holder) {
            process.clients.remove(&client);
        }
    }
}

fn forwarded(holder: Pid, client: Pid, request: Box<Request>) -> Message {
    Message {
        sender: holder,
        content: Content::Request { client, request },
    }
}

/// A forwarded request until the receiver takes it. Dropping this takes the request back.
struct InLine<'a> {
    table: &'a Table,
    holder: Pid,
    to: Pid,
    client: Pid,
    posted: Posted,
}

impl InLine<'_> {
    /// Takes the request and the client back. If the request was already taken, returns its
    /// outcome.
    fn take_back(&mut self) -> Option<Result<(), MailError>> {
        let mut relations = self.table.lock();
        let taken = self.posted.withdraw();
        if taken.is_none() {
            let holder = relations.processes.get(&self.holder);
            let visits = holder.map_or(0, |holder| holder.mailbox.visits());
            relations.move_client(self.client, self.to, self.holder, visits);
        }
        taken
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        // The sender was ended while it waited. All its clients are told, this one included.
        let _taken = self.take_back();
    }
}

/// A client that waits for its response. Dropping this removes the client.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    table: &'a Table,
    client: Pid,
    answered: oneshot::Receiver<Answer>,
}

impl Waiting<'_> {
    #[must_use]
    pub(crate) fn client(&self) -> Pid {
        self.client
    }

    /// Waits for the response, or for the exit of the process that owed it.
    pub(crate) async fn answer(&mut self) -> Answer {
        let lost = (self.client, Err(Exit::Killed));
        // Whoever else removes the client from the table sends it an answer.
        (&mut self.answered).await.unwrap_or(lost)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut relations = self.table.lock();
        let client = relations.clients.remove(&self.client);
        if let Some(client) = &client {
            relations.remove_client(self.client, client.holder);
        }
    }
}
