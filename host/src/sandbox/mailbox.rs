//! The server stub of `mailbox`. It turns the arguments of a call into plain values, checks the
//! size of outgoing messages, and passes them to the process's router. It turns incoming messages
//! into values of the contract.
//!
//! Processes that talk call little else, so the messages have types of their own (`wire`). They
//! cost a third less than the types that `bindgen!` would generate.

use std::future::{poll_fn, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::contract;
use super::lifted::Bounded;
use super::program::ProgramState;
use super::rpc::Rpc;
use super::state::{HEAD_BYTES, HasState, State};
use super::wire::{Data, ErrorCode, Forward, Message, Sent};
use crate::mailbox::{MailError, Wanted};
use crate::message::{self, Request};
use crate::pid::Pid;
use crate::router::Outgoing;
use crate::table::Row;
use crate::tally::Interface;

/// An error of the outer result ends the process. The guest sees the inner result. The tuple is
/// there because a function of the component model may have several results.
type Answer<T> = Result<(Outcome<T>,)>;

/// The result of a call, for the guest.
type Outcome<T> = std::result::Result<T, ErrorCode>;

/// A call that may have to wait. Only the process waits, and not its thread.
type Waiting<'a, T> = Box<dyn Future<Output = Result<(T,)>> + Send + 'a>;

/// Links the functions of `mailbox`.
pub(super) fn add_to_linker(linker: &mut Linker<ProgramState>) -> Result<()> {
    type Store<'a> = StoreContextMut<'a, ProgramState>;
    let mut mailbox = linker.instance(&contract::interface("mailbox"))?;
    mailbox.func_wrap("self", |store: Store<'_>, (): ()| {
        Ok((store.data().state.pid.get(),))
    })?;
    mailbox.func_wrap("send", |mut store: Store<'_>, (to, content)| {
        store.data_mut().send("send", to, content)
    })?;
    mailbox.func_wrap("try-receive", |mut store: Store<'_>, (): ()| {
        let data = store.data_mut();
        let rpc = data.mail("try-receive", || "");
        let message = data.mailbox.try_receive(Wanted::Any);
        rpc.received(&data.state.row, message.as_ref());
        Ok((message.map(|message| data.lower(message)),))
    })?;
    mailbox.func_wrap_async(
        "send-wait",
        |mut store: Store<'_>, (to, content, timeout)| {
            Box::new(async move {
                let sent = store.data_mut().send_wait(to, content, timeout).await;
                begin_slice(&mut store);
                sent
            })
        },
    )?;
    mailbox.func_wrap_async("receive", |store: Store<'_>, (): ()| {
        Box::new(Receiving::new(store, "receive", |message| message))
    })?;
    mailbox.func_wrap_async(
        "send-and-receive",
        |mut store: Store<'_>, (to, content)| -> Waiting<'_, Outcome<Message>> {
            let function = "send-and-receive";
            match store.data_mut().send(function, to, content) {
                Ok((Ok(()),)) => Box::new(Receiving::new(store, function, Ok)),
                Ok((Err(error),)) => Box::new(ready(Ok((Err(error),)))),
                Err(error) => Box::new(ready(Err(error))),
            }
        },
    )?;
    mailbox.func_wrap_async(
        "call",
        |mut store: Store<'_>,
         (to, bytes, timeout): (u64, Bounded<Vec<u8>>, u32)|
         -> Waiting<'_, Outcome<Vec<u8>>> {
            let data = store.data_mut();
            let size = match &bytes {
                Bounded::Within(bytes) => bytes.len(),
                Bounded::Beyond => 0,
            };
            let rpc = data.mail("call", || format!("to {to}, {size} bytes, {timeout} ms"));
            match data.call(to, bytes, milliseconds(timeout)) {
                Ok(()) => Box::new(Calling::new(store, rpc, size, milliseconds(timeout))),
                Err(error) => {
                    rpc.returns(&data.state.row, 0, || {
                        format!("error {}", ErrorCode::from(error).name())
                    });
                    Box::new(ready(Ok((Err(error.into()),))))
                }
            }
        },
    )?;
    mailbox.func_wrap_async("receive-from", |mut store: Store<'_>, (sender,)| {
        Box::new(async move {
            let received = store.data_mut().receive_from(sender).await;
            begin_slice(&mut store);
            received
        })
    })?;
    mailbox.func_wrap_async("receive-timeout", |mut store: Store<'_>, (timeout,)| {
        Box::new(async move {
            let received = store.data_mut().receive_timeout(timeout).await;
            begin_slice(&mut store);
            received
        })
    })
}

impl ProgramState {
    fn mail<T: std::fmt::Display>(
        &self,
        function: &'static str,
        arguments: impl FnOnce() -> T,
    ) -> Rpc {
        self.state.rpc(Interface::Mailbox, function, arguments)
    }

    fn send(&mut self, function: &'static str, to: u64, content: Bounded<Sent>) -> Answer<()> {
        let bytes = weight(&content);
        let rpc = self.mail(function, || format!("to {to}, {}", shown(&content)));
        let outgoing = self.outgoing(content)?;
        let sent = match (Pid::new(to), outgoing) {
            (Some(to), Ok(outgoing)) => self.router.send(to, outgoing),
            (None, Ok(_)) => Err(MailError::NoProcess),
            (_, Err(error)) => Err(error),
        };
        rpc.sent(&self.state.row, bytes, &sent);
        Ok((sent.map_err(ErrorCode::from),))
    }

    async fn send_wait(&mut self, to: u64, content: Bounded<Sent>, timeout_ms: u32) -> Answer<()> {
        let bytes = weight(&content);
        let arguments = || format!("to {to}, {}, {timeout_ms} ms", shown(&content));
        let rpc = self.mail("send-wait", arguments);
        let sent = match (Pid::new(to), self.outgoing(content)?) {
            (Some(to), Ok(outgoing)) => {
                let time_limit = milliseconds(timeout_ms);
                let sent = self.router.send_wait(to, outgoing, time_limit);
                noting(sent).await.account(&mut self.state)
            }
            (None, Ok(_)) => Err(MailError::NoProcess),
            (_, Err(error)) => Err(error),
        };
        rpc.sent(&self.state.row, bytes, &sent);
        Ok((sent.map_err(ErrorCode::from),))
    }

    async fn receive_from(&mut self, sender: u64) -> Answer<Message> {
        let rpc = self.mail("receive-from", || sender);
        let received = match Pid::new(sender) {
            Some(sender) => {
                let received = self.receive_wanted(sender, Wanted::From(sender));
                noting(received).await.account(&mut self.state)
            }
            None => Err(MailError::NoProcess),
        };
        rpc.received(&self.state.row, received.as_ref().ok());
        let received = received.map(|message| self.lower(message));
        Ok((received.map_err(ErrorCode::from),))
    }

    fn call(
        &mut self,
        to: u64,
        bytes: Bounded<Vec<u8>>,
        time_limit: Duration,
    ) -> std::result::Result<(), MailError> {
        let bytes = bytes.within().ok_or(MailError::TooLarge)?;
        if bytes.len() as u64 > self.settings().max_message {
            return Err(MailError::TooLarge);
        }
        self.router
            .call(Pid::new(to).ok_or(MailError::NoProcess)?, bytes, time_limit)
    }

    async fn receive_timeout(&mut self, timeout_ms: u32) -> Result<(Option<Message>,)> {
        let rpc = self.mail("receive-timeout", || format!("{timeout_ms} ms"));
        let received = self.mailbox.receive(Wanted::Any, None);
        let received = tokio::time::timeout(milliseconds(timeout_ms), received);
        let received = noting(received).await.account(&mut self.state);
        let message = received.ok().and_then(std::result::Result::ok);
        rpc.received(&self.state.row, message.as_ref());
        Ok((message.map(|message| self.lower(message)),))
    }

    fn lower(&mut self, message: message::Message) -> Message {
        Message::new(message, &mut self.router)
    }

    /// Converts an outgoing message and checks its size. The outer result is an error if the guest
    /// hands over a file that is not its own.
    fn outgoing(
        &mut self,
        content: Bounded<Sent>,
    ) -> Result<std::result::Result<Outgoing, MailError>> {
        let Some(content) = content.within() else {
            return Ok(Err(MailError::TooLarge));
        };
        let (size, most, outgoing) = match content {
            Sent::Data(Data { tag, bytes }) => (
                bytes.len() as u64,
                self.settings().max_message,
                Outgoing::Data { tag, bytes },
            ),
            Sent::Reply(Data { tag, bytes }) => (
                bytes.len() as u64,
                self.settings().max_message,
                Outgoing::Reply { tag, bytes },
            ),
            Sent::Request(Forward { client, request }) => {
                let Some(client) = Pid::new(client) else {
                    return Ok(Err(MailError::NoProcess));
                };
                let request = Box::new(Request::from(request));
                (
                    request.weight() as u64,
                    self.settings().max_body.saturating_add(HEAD_BYTES),
                    Outgoing::Request { client, request },
                )
            }
            Sent::Response(response) => {
                let response = Box::new(self.state.take_response(response)?);
                if response.head() as u64 > HEAD_BYTES {
                    return Ok(Err(MailError::TooLarge));
                }
                (
                    response.copied(),
                    self.settings().max_response,
                    Outgoing::Response(response),
                )
            }
        };
        Ok(if size > most {
            Err(MailError::TooLarge)
        } else {
            Ok(outgoing)
        })
    }

    async fn receive_wanted(
        &mut self,
        sender: Pid,
        wanted: Wanted,
    ) -> std::result::Result<message::Message, MailError> {
        if !sender.is_near(self.state.pid) {
            let (mailbox, pid) = (&self.mailbox, self.state.pid);
            return self.table.receive_afar(mailbox, sender, pid).await;
        }
        if let Some(message) = self.mailbox.try_receive(wanted) {
            return Ok(message);
        }
        let other = (sender != self.state.pid)
            .then(|| self.table.expect(sender, self.state.pid))
            .flatten();
        match other {
            Some(other) => self.mailbox.receive(wanted, Some(other.mailbox())).await,
            // A last message may have come since the first look.
            None => self.mailbox.try_receive(wanted).ok_or(MailError::NoProcess),
        }
    }
}

/// Waits for any message. Most waits are this one and [`Calling`], so both are written by hand: the
/// compiler moves them less than composed futures.
struct Receiving<'a, T> {
    store: StoreContextMut<'a, ProgramState>,
    /// Makes the result of the call from the message.
    result: fn(Message) -> T,
    /// `None` once the message is there.
    rpc: Option<Rpc>,
    asleep: bool,
}

impl<'a, T> Receiving<'a, T> {
    fn new(
        store: StoreContextMut<'a, ProgramState>,
        function: &'static str,
        result: fn(Message) -> T,
    ) -> Self {
        let rpc = Some(store.data().mail(function, || ""));
        Self {
            store,
            result,
            rpc,
            asleep: false,
        }
    }
}

impl<T> Future for Receiving<'_, T> {
    type Output = Result<(T,)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let has_slept = self.asleep;
        let Self { store, rpc, .. } = &mut *self;
        let data = store.data_mut();
        let received = data.mailbox.poll_receive(cx, Wanted::Any);
        if let Poll::Ready(message) = &received
            && let Some(rpc) = rpc.take()
        {
            rpc.received(&data.state.row, Some(message));
        }
        let received = received.map(|message| data.lower(message));
        if has_slept && received.is_ready() {
            data.state.slices.waited();
            begin_slice(&mut self.store);
        }
        self.asleep = received.is_pending();
        received.map(|message| Ok(((self.result)(message),)))
    }
}

impl<T> Drop for Receiving<'_, T> {
    fn drop(&mut self) {
        if self.asleep {
            self.store.data().mailbox.stop_waiting();
        }
    }
}

/// Waits for the reply to a call.
struct Calling<'a> {
    store: StoreContextMut<'a, ProgramState>,
    deadline: Instant,
    /// `None` once the reply is there.
    rpc: Option<Rpc>,
    /// Bytes that were sent.
    sent: usize,
    has_slept: bool,
    is_over: bool,
}

impl<'a> Calling<'a> {
    fn new(
        store: StoreContextMut<'a, ProgramState>,
        rpc: Rpc,
        sent: usize,
        time_limit: Duration,
    ) -> Self {
        Self {
            store,
            deadline: Instant::now() + time_limit,
            rpc: Some(rpc),
            sent,
            has_slept: false,
            is_over: false,
        }
    }
}

impl Future for Calling<'_> {
    type Output = Result<(Outcome<Vec<u8>>,)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let deadline = self.deadline;
        let Self {
            store, rpc, sent, ..
        } = &mut *self;
        let data = store.data_mut();
        let reply = data.router.poll_reply(cx, deadline);
        if let Poll::Ready(reply) = &reply
            && let Some(rpc) = rpc.take()
        {
            let bytes = *sent + reply.as_ref().map_or(0, Vec::len);
            rpc.returns(&data.state.row, bytes, || match reply {
                Ok(bytes) => format!("{} bytes", bytes.len()),
                Err(error) => format!("error {}", ErrorCode::from(*error).name()),
            });
        }
        self.is_over = reply.is_ready();
        if self.is_over && self.has_slept {
            self.store.data_mut().state.slices.waited();
            begin_slice(&mut self.store);
        }
        self.has_slept = true;
        reply.map(|reply| Ok((reply.map_err(ErrorCode::from),)))
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.store.data_mut().router.give_up();
        }
    }
}

/// Gives a process that has waited a whole tick again: the tick in which it began to wait is over.
pub(super) fn begin_slice<T: HasState>(store: &mut StoreContextMut<'_, T>) {
    if store.data_mut().state().slices.take_waited() {
        store.set_epoch_deadline(1);
    }
}

/// The outcome of a call, and whether the process had to wait for it.
pub(super) struct Noted<T> {
    outcome: T,
    waited: bool,
}

/// Runs a call and notes whether it waited. Only a process that waited begins a new slice.
pub(super) async fn noting<F: Future>(call: F) -> Noted<F::Output> {
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
    pub(super) fn account(self, state: &mut State) -> T {
        if self.waited {
            state.slices.waited();
        }
        self.outcome
    }
}

impl Rpc {
    fn sent(self, row: &Row, bytes: usize, sent: &std::result::Result<(), MailError>) {
        self.returns(row, bytes, || match sent {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("error {}", ErrorCode::from(*error).name()),
        });
    }

    fn received(self, row: &Row, message: Option<&message::Message>) {
        let bytes = message.map_or(0, |message| message.content.weight());
        self.returns(row, bytes, || match message {
            Some(message) => message.to_string(),
            None => "nothing".to_owned(),
        });
    }
}

/// The bytes of a message that is about to be sent.
fn weight(content: &Bounded<Sent>) -> usize {
    match content {
        Bounded::Within(content) => content.weight(),
        Bounded::Beyond => 0,
    }
}

/// A message that is about to be sent, for whoever traces the process.
fn shown(content: &Bounded<Sent>) -> String {
    match content {
        Bounded::Within(content) => content.to_string(),
        Bounded::Beyond => "too many bytes".to_owned(),
    }
}

fn milliseconds(number: u32) -> Duration {
    Duration::from_millis(number.into())
}
