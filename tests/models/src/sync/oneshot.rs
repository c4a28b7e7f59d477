//! tokio's `oneshot`, for the model checker: each call is one step.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Mutex, MutexGuard};

pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared(Mutex::new(State {
        value: None,
        is_sent: false,
        is_closed: false,
        waker: None,
    })));
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Shared<T>>);

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

/// There is no value yet, or there never will be.
#[derive(Debug)]
pub(crate) struct Missing;

#[derive(Debug)]
struct Shared<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    /// The value was sent, or the sender was dropped.
    is_sent: bool,
    /// The receiver accepts no more.
    is_closed: bool,
    waker: Option<Waker>,
}

impl<T> Sender<T> {
    pub(crate) fn send(self, value: T) -> Result<(), T> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(value);
        }
        state.value = Some(value);
        Ok(())
        // Dropping this wakes the receiver.
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.lock();
            state.is_sent = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    pub(crate) fn close(&mut self) {
        self.0.lock().is_closed = true;
    }

    pub(crate) fn try_recv(&mut self) -> Result<T, Missing> {
        self.0.lock().value.take().ok_or(Missing)
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Missing>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        match state.value.take() {
            Some(value) => Poll::Ready(Ok(value)),
            None if state.is_sent || state.is_closed => Poll::Ready(Err(Missing)),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.0.lock();
            state.is_closed = true;
            state.value.take()
        };
        drop(left); // outside the lock
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
