//! What a host does for processes of another one: it delivers their messages, calls on their
//! behalf, and tells them of ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Inner;
use super::frames::{Done, Missed, Post};
use super::pair::{Asked, Pair, WINDOW_BYTES};
use crate::call::Calls;
use crate::exit::Exit;
use crate::mailbox::MailError;
use crate::message::{Content, Message};
use crate::peers::Way;

/// The calling side of a process of another host. Dropped, it waits no more.
struct OnBehalf(Calls);

impl Inner {
    /// Does what a piece of this connection asks for.
    pub(super) fn act(self: &Arc<Self>, pair: &Arc<Pair>, epoch: u64, what: Post<'_>, body: Bytes) {
        let answer = |id, done| self.answer(pair, epoch, &Post::Done { id, done });
        match what {
            Post::Part => {}
            Post::Data { address, tag } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                let content = Content::Data {
                    tag,
                    bytes: body.into(),
                };
                if let Err(error) = self.deliver(way, content) {
                    let missed = match error {
                        MailError::Full => Missed::Full,
                        MailError::NoProcess
                        | MailError::NotYours
                        | MailError::TooLarge
                        | MailError::TimedOut
                        | MailError::Unreachable => Missed::NoProcess,
                    };
                    pair.state().missed.push((way.to.get(), missed));
                }
            }
            Post::Wait {
                id,
                address,
                tag,
                time_ms,
            } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                let message = Message {
                    sender: way.from,
                    content: Content::Data {
                        tag,
                        bytes: body.into(),
                    },
                };
                let posted = self.remote.mailbox(way);
                let posted = posted.and_then(|mailbox| mailbox.post(message));
                let posted = match posted {
                    Ok((wake, posted)) => {
                        wake.wake();
                        posted
                    }
                    Err(error) => return answer(id, Done::of(Err(error))),
                };
                self.serve(pair, epoch, id, async move {
                    let taken = posted.taken(Duration::from_millis(time_ms.into())).await;
                    Err(Done::of(taken))
                });
            }
            Post::Call {
                id,
                address,
                tag,
                time_ms,
            } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                if tag == 0 {
                    return self.drop_frame(); // calls are counted from 1
                }
                let mut calls = OnBehalf(Calls::on_behalf(tag));
                let content = Content::Call {
                    caller: calls.0.begin(),
                    bytes: body.into(),
                };
                if let Err(error) = self.deliver(way, content) {
                    return answer(id, Done::of(Err(error)));
                }
                let deadline = Instant::now() + Duration::from_millis(time_ms.into());
                self.serve(pair, epoch, id, async move {
                    let reply = poll_fn(|cx| calls.0.poll(cx, deadline)).await;
                    match reply {
                        Ok(bytes) if bytes.len() > WINDOW_BYTES => Err(Done::TooLarge),
                        Ok(bytes) => Ok(bytes),
                        Err(why) => Err(why.into()),
                    }
                });
            }
            Post::Withdraw { id } => {
                let serving = pair.state().serving.remove(&id);
                if let Some(serving) = serving {
                    serving.abort();
                }
            }
            Post::Watch { id, address } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                let tables = self.remote.of_name(way.program);
                let mut tables = tables.iter();
                let is_watched = tables.any(|it| it.watched_from_afar(way.from, way.to).is_ok());
                answer(
                    id,
                    match is_watched {
                        true => Done::Taken,
                        false => Done::NoProcess,
                    },
                );
            }
            Post::Forget { address } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                for table in self.remote.of_name(way.program) {
                    table.forgotten_from_afar(way.from, way.to);
                }
            }
            Post::Ended {
                address,
                exit,
                code,
            } => {
                let Some(way) = address.way(pair.host) else {
                    return self.drop_frame();
                };
                let exit = match Exit::ALL.get(usize::from(exit)) {
                    Some(Exit::Code(_)) => Exit::Code(code),
                    Some(exit) => *exit,
                    None => Exit::Killed,
                };
                for table in self.remote.of_name(way.program) {
                    table.ended_afar(way.from, way.to, exit);
                }
            }
            Post::Done { id, done } => {
                let asked = pair.answered(id);
                if let Some(asked) = asked {
                    asked.done(done);
                }
            }
            Post::Reply { id } => {
                let asked = pair.answered(id);
                if let Some(Asked::Call(caller)) = asked {
                    let _was_waiting = caller.reply(body.into());
                }
            }
        }
    }

    fn deliver(&self, way: Way<'_>, content: Content) -> Result<(), MailError> {
        let mailbox = self.remote.mailbox(way)?;
        let message = Message {
            sender: way.from,
            content,
        };
        mailbox.send(message)?.wake();
        Ok(())
    }

    /// Does something for a process of another host, and answers when it is done: with the bytes of
    /// a reply, or without.
    fn serve(
        self: &Arc<Self>,
        pair: &Arc<Pair>,
        epoch: u64,
        id: u64,
        work: impl Future<Output = Result<Vec<u8>, Done>> + Send + 'static,
    ) {
        let (inner, serving) = (Arc::clone(self), Arc::clone(pair));
        // Entered under the lock, so that the task finds itself there.
        let mut state = pair.state();
        let task = self.remote.runtime.spawn(async move {
            match work.await {
                Ok(reply) => inner.reply(&serving, epoch, id, &reply).await,
                Err(done) => {
                    serving.state().serving.remove(&id);
                    inner.answer(&serving, epoch, &Post::Done { id, done });
                }
            }
        });
        state.serving.insert(id, task.abort_handle());
    }
}

impl Drop for OnBehalf {
    fn drop(&mut self) {
        self.0.give_up();
    }
}
