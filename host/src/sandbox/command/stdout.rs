//! *Standard output* of a program that answers by CGI. The first lines become the head of the
//! response, which is sent as soon as it is complete. Everything behind the head goes through a
//! pipe, piece by piece.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::cgi;
use super::pipe::Pipe;
use crate::body::Body;
use crate::message::Response;

/// The most bytes of a head. Apache takes as many in all its fields by default, and clients take
/// far fewer.
const HEAD_BYTES: usize = 64 << 10;

/// The most bytes of one write. A quarter of the pipe, so that a write waits for room and not for
/// the pipe to be empty.
const WRITE_BYTES: usize = 16 << 10;

/// One program's standard output. All handles share it.
#[derive(Clone, Debug)]
pub(super) struct Stdout(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stage: Mutex<Stage>,
    pipe: Pipe,
    /// Whether the client has asked for a head only: then the body needs not be as long as stated.
    is_head: bool,
}

#[derive(Debug)]
enum Stage {
    /// The beginning of the head.
    Head(Vec<u8>, oneshot::Sender<Response>),
    /// The head is sent.
    Body,
    /// The head is malformed, for this reason.
    Malformed(String),
}

impl Stdout {
    /// Standard output of a program whose response goes through `answer`.
    pub(super) fn new(answer: oneshot::Sender<Response>, is_head: bool) -> Self {
        Self(Arc::new(Inner {
            stage: Mutex::new(Stage::Head(Vec::new(), answer)),
            pipe: Pipe::new(),
            is_head,
        }))
    }

    /// Ends the body: the program has ended well.
    ///
    /// # Errors
    /// Why the program has not answered.
    pub(super) fn end(&self) -> Result<(), String> {
        self.0.pipe.end();
        match &*self.stage() {
            Stage::Body => Ok(()),
            Stage::Malformed(why) => Err(why.clone()),
            Stage::Head(output, _) if output.is_empty() => {
                Err("it printed nothing to standard output".into())
            }
            Stage::Head(output, _) => {
                let line = output.split(|&byte| byte == b'\n').next();
                let line = cgi::shown(line.unwrap_or_default());
                Err(format!(
                    "its output has no empty line, which ends a head; it begins with {line}"
                ))
            }
        }
    }

    /// Why the head is malformed, if it is.
    pub(super) fn malformed(&self) -> Option<String> {
        match &*self.stage() {
            Stage::Malformed(why) => Some(why.clone()),
            Stage::Head(..) | Stage::Body => None,
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        // Each stage is set as a whole, so a panic elsewhere leaves no half of one.
        self.0.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether bytes can be written. `None` if nobody wants them any more.
    fn has_room(&self) -> Option<bool> {
        match &*self.stage() {
            Stage::Head(_, answer) => (!answer.is_closed()).then_some(true),
            Stage::Malformed(_) => None,
            Stage::Body => self.0.pipe.has_room(),
        }
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &*self.stage() {
            Stage::Head(..) | Stage::Malformed(_) => Poll::Ready(()),
            Stage::Body => self.0.pipe.poll_room(cx),
        }
    }

    /// Writes bytes. Returns whether they were taken.
    fn push(&self, bytes: &[u8]) -> bool {
        let mut stage = self.stage();
        let Stage::Head(output, _) = &mut *stage else {
            return self.0.pipe.push(bytes);
        };
        let seen = output.len();
        output.extend_from_slice(bytes);
        let Some(end) = cgi::end_of_head(output, seen) else {
            if output.len() > HEAD_BYTES {
                let why = format!("its head has more than {HEAD_BYTES} bytes");
                *stage = Stage::Malformed(why);
                return false;
            }
            return true;
        };
        let head = if end > HEAD_BYTES {
            Err(format!("its head has more than {HEAD_BYTES} bytes"))
        } else {
            cgi::parse(&output[..end])
        };
        let next = match &head {
            Ok(_) => Stage::Body,
            Err(why) => Stage::Malformed(why.clone()),
        };
        let (Stage::Head(output, answer), Ok(head)) = (std::mem::replace(&mut *stage, next), head)
        else {
            return false;
        };
        let length = head.length.filter(|_| !self.0.is_head);
        let body = self.0.pipe.reader(length);
        let taken = self.0.pipe.push(&output[end..]);
        let response = Response {
            status: head.status,
            headers: head.headers,
            body: Body::Stream(Box::new(body)),
        };
        // Fails if nobody waits for the response any more. Then the reader is dropped with it.
        let _left = answer.send(response);
        taken
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stdout {
    fn check_write(&mut self) -> StreamResult<usize> {
        match self.has_room() {
            Some(true) => Ok(WRITE_BYTES),
            Some(false) => Ok(0),
            None => Err(StreamError::Closed),
        }
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        const EXCESS: &str = "it wrote more than `check-write` allowed";
        if bytes.len() > WRITE_BYTES {
            return Err(StreamError::trap(EXCESS));
        }
        if self.push(&bytes) {
            return Ok(());
        }
        match self.malformed() {
            Some(why) => Err(StreamError::trap(&why)),
            None if self.has_room().is_none() => Err(StreamError::Closed),
            None => Err(StreamError::trap(EXCESS)),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_room(cx)).await;
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_room(cx));
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES)];
        Poll::Ready(if self.push(bytes) {
            Ok(bytes.len())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
