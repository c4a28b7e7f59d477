//! The server stub of `mailbox`: each call becomes plain values, then a call of the mailbox it is about, then
//! plain values again. Here, where a message leaves a process, its size is judged.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Result;

use super::bindings::program::wasm_pool::worker::{http, mailbox as wit};
use super::program::Own;
use super::state::{HasState, State};
use crate::mailbox::{MailError, Mailbox, Wanted};
use crate::message::{Body, Content, ExitStatus, FileSlice, Headers, Message, Request, Response};
use crate::pid::Pid;

/// The outer result is the process's: an error ends it. The inner one is the guest's to look at.
type Answer<T> = Result<Result<T, wit::ErrorCode>>;

/// Whom a process wrote to of late, so that most messages need no look into the table. A few, by the last
/// bits of the pid: processes that are spawned together don't displace each other.
#[derive(Debug, Default)]
pub(super) struct Correspondents([Option<(Pid, Arc<Mailbox>)>; 8]);

/// A message on its way out, by whom it is for.
enum Outgoing {
    /// To a mailbox.
    Data(Content),
    /// To a mailbox, with the duty to answer.
    Request { client: Pid, request: Request },
    /// To a client.
    Response(Response),
}

impl wit::Host for Own {
    fn self_(&mut self) -> Result<u64> {
        Ok(self.pid.get())
    }

    fn send(&mut self, to: u64, content: wit::Content) -> Answer<()> {
        let outgoing = self.outgoing(content)?;
        Ok(outgoing
            .and_then(|outgoing| self.post(to, outgoing))
            .map_err(wit::ErrorCode::from))
    }

    async fn send_wait(&mut self, to: u64, content: wit::Content, timeout_ms: u32) -> Answer<()> {
        let outgoing = self.outgoing(content)?;
        let sent = match outgoing {
            Ok(outgoing) => {
                let sent = self.post_wait(to, outgoing, milliseconds(timeout_ms));
                noting(sent).await.account(self.state())
            }
            Err(error) => Err(error),
        };
        Ok(sent.map_err(wit::ErrorCode::from))
    }

    async fn receive(&mut self) -> Result<wit::Message> {
        let received = self.mailbox.receive(Wanted::Any, None);
        match noting(received).await.account(self.state()) {
            Ok(message) => Ok(message.into()),
            // Only a wait for one sender can fail.
            Err(error) => Err(wasmtime::format_err!("the mailbox failed: {error:?}")),
        }
    }

    async fn receive_from(&mut self, sender: u64) -> Answer<wit::Message> {
        let received = match Pid::new(sender) {
            Some(sender) => {
                let received = self.receive_wanted(sender, Wanted::From(sender));
                noting(received).await.account(self.state())
            }
            None => Err(MailError::NoProcess),
        };
        Ok(received
            .map(wit::Message::from)
            .map_err(wit::ErrorCode::from))
    }

    async fn receive_reply(
        &mut self,
        sender: u64,
        tag: u64,
        timeout_ms: u32,
    ) -> Answer<wit::Message> {
        let received = match Pid::new(sender) {
            Some(sender) => {
                let reply = self.receive_wanted(sender, Wanted::Reply(sender, tag));
                let reply = tokio::time::timeout(milliseconds(timeout_ms), reply);
                let reply = noting(reply).await.account(self.state());
                reply.unwrap_or(Err(MailError::TimedOut))
            }
            None => Err(MailError::NoProcess),
        };
        Ok(received
            .map(wit::Message::from)
            .map_err(wit::ErrorCode::from))
    }

    async fn receive_timeout(&mut self, timeout_ms: u32) -> Result<Option<wit::Message>> {
        let received = self.mailbox.receive(Wanted::Any, None);
        let received = tokio::time::timeout(milliseconds(timeout_ms), received);
        let received = noting(received).await.account(self.state());
        let message = received.ok().and_then(std::result::Result::ok);
        Ok(message.map(wit::Message::from))
    }

    fn try_receive(&mut self) -> Result<Option<wit::Message>> {
        let message = self.mailbox.try_receive(Wanted::Any);
        Ok(message.map(wit::Message::from))
    }
}

impl Own {
    /// What the guest gives away, judged by its size. The outer error: a file that is not its own.
    fn outgoing(&mut self, content: wit::Content) -> Result<Result<Outgoing, MailError>> {
        let (size, most, outgoing) = match content {
            wit::Content::Data(wit::Data { tag, bytes }) => (
                bytes.len(),
                self.sizes.message,
                Outgoing::Data(Content::Data { tag, bytes }),
            ),
            wit::Content::Request(wit::ClientRequest { client, request }) => {
                let Some(client) = Pid::new(client) else {
                    return Ok(Err(MailError::NoProcess));
                };
                let request = Request::from(request);
                let size = request.body.len();
                (size, self.sizes.body, Outgoing::Request { client, request })
            }
            wit::Content::Response(response) => {
                let response = self.lift(response)?;
                let size = match &response.body {
                    Body::Bytes(bytes) => bytes.len(),
                    Body::File(_) => 0, // never in memory as a whole
                };
                (size, self.sizes.response, Outgoing::Response(response))
            }
            wit::Content::Down(_) => return Ok(Err(MailError::NotYours)),
        };
        Ok(if size as u64 > most {
            Err(MailError::TooLarge)
        } else {
            Ok(outgoing)
        })
    }

    fn post(&mut self, to: u64, outgoing: Outgoing) -> Result<(), MailError> {
        let to = Pid::new(to).ok_or(MailError::NoProcess)?;
        match outgoing {
            Outgoing::Data(content) => {
                let sender = self.pid;
                let mailbox = self.correspondents.find(to, || self.table.mailbox(to))?;
                let sent = mailbox.send(Message { sender, content });
                sent.map_err(|(error, _)| error)?.wake();
                Ok(())
            }
            Outgoing::Request { client, request } => {
                self.table.forward(self.pid, to, client, request)
            }
            Outgoing::Response(response) => self.table.answer(self.pid, to, response),
        }
    }

    async fn post_wait(
        &mut self,
        to: u64,
        outgoing: Outgoing,
        patience: Duration,
    ) -> Result<(), MailError> {
        match outgoing {
            Outgoing::Data(content) => {
                let to = Pid::new(to).ok_or(MailError::NoProcess)?;
                let sender = self.pid;
                let mailbox = self.correspondents.find(to, || self.table.mailbox(to))?;
                mailbox
                    .send_wait(Message { sender, content }, patience)
                    .await
            }
            Outgoing::Request { client, request } => {
                let to = Pid::new(to).ok_or(MailError::NoProcess)?;
                let forwarded = self
                    .table
                    .forward_wait(self.pid, to, client, request, patience);
                forwarded.await
            }
            Outgoing::Response(_) => self.post(to, outgoing),
        }
    }

    async fn receive_wanted(&mut self, sender: Pid, wanted: Wanted) -> Result<Message, MailError> {
        if let Some(message) = self.mailbox.try_receive(wanted) {
            return Ok(message);
        }
        let other = (sender != self.pid)
            .then(|| self.table.expect(sender, self.pid))
            .flatten();
        match other {
            Some(other) => self.mailbox.receive(wanted, Some(other.mailbox())).await,
            // Its last message may have come since we looked.
            None => self.mailbox.try_receive(wanted).ok_or(MailError::NoProcess),
        }
    }

    fn lift(&mut self, response: http::Response) -> Result<Response> {
        let body = match response.body {
            http::Body::Bytes(bytes) => Body::Bytes(bytes),
            http::Body::File(http::FileSlice {
                file,
                offset,
                length,
            }) => Body::File(FileSlice {
                file: self.state().give_away(file)?,
                offset,
                length,
            }),
        };
        let headers = response
            .headers
            .into_iter()
            .map(|header| (header.name, header.value))
            .collect();
        Ok(Response {
            status: response.status,
            headers,
            body,
        })
    }
}

impl Correspondents {
    fn find(
        &mut self,
        pid: Pid,
        look_up: impl FnOnce() -> Result<Arc<Mailbox>, MailError>,
    ) -> Result<&Mailbox, MailError> {
        let places = self.0.len() as u64;
        let place = &mut self.0[usize::try_from(pid.get() % places).unwrap_or(0)];
        let known = matches!(place, Some((known, _)) if *known == pid);
        if !known {
            *place = Some((pid, look_up()?));
        }
        place
            .as_ref()
            .map(|(_, mailbox)| &**mailbox)
            .ok_or(MailError::NoProcess)
    }
}

/// The outcome of a call that may have had to wait.
struct Noted<T> {
    outcome: T,
    waited: bool,
}

/// Waits, and takes note of whether it had to: only who really waits begins a new slice of time after.
async fn noting<F: Future>(call: F) -> Noted<F::Output> {
    let mut call = pin!(call);
    let mut waited = false;
    let outcome = poll_fn(|cx| {
        let polled = call.as_mut().poll(cx);
        waited |= polled.is_pending();
        polled
    });
    let outcome = outcome.await;
    Noted { outcome, waited }
}

impl<T> Noted<T> {
    fn account(self, state: &mut State) -> T {
        if self.waited {
            state.slices.waited();
        }
        self.outcome
    }
}

fn milliseconds(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

impl From<http::Request> for Request {
    fn from(request: http::Request) -> Self {
        let mut headers = Headers::with_capacity(request.headers.len());
        for header in &request.headers {
            headers.push(&header.name, &header.value);
        }
        Self {
            id: request.id,
            method: request.method,
            path: request.path,
            query: request.query,
            headers,
            body: request.body,
            client: request.client.into(),
        }
    }
}

impl From<Request> for http::Request {
    fn from(request: Request) -> Self {
        let headers = request.headers.iter().map(|(name, value)| http::Header {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        Self {
            headers: headers.collect(),
            id: request.id,
            method: request.method,
            path: request.path,
            query: request.query,
            body: request.body,
            client: (*request.client).to_owned(),
        }
    }
}

impl From<Message> for wit::Message {
    fn from(message: Message) -> Self {
        let content = match message.content {
            Content::Data { tag, bytes } => wit::Content::Data(wit::Data { tag, bytes }),
            Content::Request { client, request } => wit::Content::Request(wit::ClientRequest {
                client: client.get(),
                request: (*request).into(),
            }),
            Content::Down { pid, status } => wit::Content::Down(wit::Down {
                pid: pid.get(),
                exit: status.into(),
            }),
        };
        Self {
            sender: message.sender.get(),
            content,
        }
    }
}

impl From<ExitStatus> for wit::Exit {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Normal => Self::Normal,
            ExitStatus::Code(code) => Self::Code(code),
            ExitStatus::Trap => Self::Trap,
            ExitStatus::Killed => Self::Killed,
            ExitStatus::Memory => Self::Memory,
            ExitStatus::Deadline => Self::Deadline,
        }
    }
}

impl From<MailError> for wit::ErrorCode {
    fn from(error: MailError) -> Self {
        match error {
            MailError::NoProcess => Self::NoProcess,
            MailError::Full => Self::MailboxFull,
            MailError::TooLarge => Self::TooLarge,
            MailError::NotYours => Self::NotYours,
            MailError::TimedOut => Self::TimedOut,
        }
    }
}
