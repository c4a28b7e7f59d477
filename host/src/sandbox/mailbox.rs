//! The server stub of `mailbox`: each call becomes plain values, then a call of the mailbox it is about, then
//! plain values again. Here, where a message leaves a process, its size is judged.
//!
//! Two processes that talk do little else but call this, so its messages have a shape of their own (`wire`)
//! that costs a third less than the one `bindgen!` would give them.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::contract;
use super::lifted::Bounded;
use super::program::Own;
use super::state::{HEAD_BYTES, State};
use super::wire::{Data, ErrorCode, Forward, Message, Sent};
use crate::mailbox::{MailError, Wanted};
use crate::message::{self, Request};
use crate::pid::Pid;
use crate::router::Outgoing;

/// The outer result is the process's: an error ends it. The inner one is the guest's to look at. A tuple, as
/// a function of the component model may have several results, and this has one.
type Answer<T> = Result<(std::result::Result<T, ErrorCode>,)>;

/// Gives a program the functions of `mailbox`.
pub(super) fn add_to_linker(linker: &mut Linker<Own>) -> Result<()> {
    type Store<'a> = StoreContextMut<'a, Own>;
    let mut mailbox = linker.instance(&contract::interface("mailbox"))?;
    mailbox.func_wrap("self", |store: Store<'_>, (): ()| {
        Ok((store.data().state.pid.get(),))
    })?;
    mailbox.func_wrap("send", |mut store: Store<'_>, (to, content)| {
        store.data_mut().send(to, content)
    })?;
    mailbox.func_wrap("try-receive", |store: Store<'_>, (): ()| {
        let message = store.data().mailbox.try_receive(Wanted::Any);
        Ok((message.map(Message::from),))
    })?;
    // Those that may have to wait: the process does then, its thread does not.
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
        Box::new(Receiving {
            store,
            asleep: false,
        })
    })?;
    mailbox.func_wrap_async("receive-from", |mut store: Store<'_>, (sender,)| {
        Box::new(async move {
            let received = store.data_mut().receive_from(sender).await;
            begin_slice(&mut store);
            received
        })
    })?;
    mailbox.func_wrap_async(
        "receive-reply",
        |mut store: Store<'_>, (sender, tag, timeout)| {
            Box::new(async move {
                let reply = store.data_mut().receive_reply(sender, tag, timeout).await;
                begin_slice(&mut store);
                reply
            })
        },
    )?;
    mailbox.func_wrap_async("receive-timeout", |mut store: Store<'_>, (timeout,)| {
        Box::new(async move {
            let received = store.data_mut().receive_timeout(timeout).await;
            begin_slice(&mut store);
            received
        })
    })
}

impl Own {
    fn send(&mut self, to: u64, content: Bounded<Sent>) -> Answer<()> {
        let outgoing = self.outgoing(content)?;
        let sent = match (Pid::new(to), outgoing) {
            (Some(to), Ok(outgoing)) => self.router.send(to, outgoing),
            (None, Ok(_)) => Err(MailError::NoProcess),
            (_, Err(error)) => Err(error),
        };
        Ok((sent.map_err(ErrorCode::from),))
    }

    async fn send_wait(&mut self, to: u64, content: Bounded<Sent>, timeout_ms: u32) -> Answer<()> {
        let sent = match (Pid::new(to), self.outgoing(content)?) {
            (Some(to), Ok(outgoing)) => {
                let patience = milliseconds(timeout_ms);
                let sent = self.router.send_wait(to, outgoing, patience);
                noting(sent).await.account(&mut self.state)
            }
            (None, Ok(_)) => Err(MailError::NoProcess),
            (_, Err(error)) => Err(error),
        };
        Ok((sent.map_err(ErrorCode::from),))
    }

    async fn receive_from(&mut self, sender: u64) -> Answer<Message> {
        let received = match Pid::new(sender) {
            Some(sender) => {
                let received = self.receive_wanted(sender, Wanted::From(sender));
                noting(received).await.account(&mut self.state)
            }
            None => Err(MailError::NoProcess),
        };
        Ok((received.map(Message::from).map_err(ErrorCode::from),))
    }

    async fn receive_reply(&mut self, sender: u64, tag: u64, timeout_ms: u32) -> Answer<Message> {
        let received = match Pid::new(sender) {
            Some(sender) => {
                let reply = self.receive_wanted(sender, Wanted::Reply(sender, tag));
                let reply = tokio::time::timeout(milliseconds(timeout_ms), reply);
                let reply = noting(reply).await.account(&mut self.state);
                reply.unwrap_or(Err(MailError::TimedOut))
            }
            None => Err(MailError::NoProcess),
        };
        Ok((received.map(Message::from).map_err(ErrorCode::from),))
    }

    async fn receive_timeout(&mut self, timeout_ms: u32) -> Result<(Option<Message>,)> {
        let received = self.mailbox.receive(Wanted::Any, None);
        let received = tokio::time::timeout(milliseconds(timeout_ms), received);
        let received = noting(received).await.account(&mut self.state);
        let message = received.ok().and_then(std::result::Result::ok);
        Ok((message.map(Message::from),))
    }

    /// What the guest gives away, judged by its size. The outer error: a file that is not its own.
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
                let response = Box::new(self.state.take(response)?);
                if response.head() as u64 > HEAD_BYTES {
                    return Ok(Err(MailError::TooLarge));
                }
                (
                    response.copied(),
                    self.settings().max_response,
                    Outgoing::Response(response),
                )
            }
            Sent::Down(_) => return Ok(Err(MailError::NotYours)),
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
        if let Some(message) = self.mailbox.try_receive(wanted) {
            return Ok(message);
        }
        let other = (sender != self.state.pid)
            .then(|| self.table.expect(sender, self.state.pid))
            .flatten();
        match other {
            Some(other) => self.mailbox.receive(wanted, Some(other.mailbox())).await,
            // Its last message may have come since we looked.
            None => self.mailbox.try_receive(wanted).ok_or(MailError::NoProcess),
        }
    }
}

/// A process that waits for any message. Most waits are this one: as a future written out it is moved less
/// than one made of several.
struct Receiving<'a> {
    store: StoreContextMut<'a, Own>,
    asleep: bool,
}

impl Future for Receiving<'_> {
    type Output = Result<(Message,)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let has_slept = self.asleep;
        let own = self.store.data_mut();
        let received = own.mailbox.poll_receive(cx, Wanted::Any);
        if has_slept && received.is_ready() {
            own.state.slices.waited();
            begin_slice(&mut self.store);
        }
        self.asleep = received.is_pending();
        received.map(|message| Ok((message.into(),)))
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        if self.asleep {
            self.store.data().mailbox.stop_waiting();
        }
    }
}

/// Whoever has waited has a whole tick ahead again: the one it was in is over long ago.
fn begin_slice(store: &mut StoreContextMut<'_, Own>) {
    if store.data_mut().state.slices.take_waited() {
        store.set_epoch_deadline(1);
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
