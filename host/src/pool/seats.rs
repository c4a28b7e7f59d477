//! *Seats*, and the line of requests that wait for one. Seats are a counter. The line is behind a
//! lock, which a request takes only if no process is idle and no seat is free.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Pool;
use super::lease::{Lease, Seat};
use crate::sync::{AtomicU32, Mutex, MutexGuard, Ordering, oneshot};

/// A burst of waiting requests is logged once. It ends when no request has waited for this long.
const BURST_GAP: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Seats {
    /// Processes that are idle, running or being started.
    taken: AtomicU32,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    next_ticket: u64,
    /// When a request last found all processes busy.
    saturated: Option<Instant>,
    /// Whether another pool has taken the place of this one.
    is_retired: bool,
    is_closed: bool,
}

/// A request in line, identified by its ticket.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    grant: oneshot::Sender<Grant>,
}

/// A seat for a request, with or without a process on it.
#[derive(Debug)]
pub(super) enum Grant {
    Process(Lease),
    Seat(Seat),
}

/// The outcome of [`Pool::claim`].
pub(super) enum Claim<'a> {
    Found(Grant),
    Waiting(Waiting<'a>),
}

/// The line, locked.
pub(super) struct Guard<'a>(MutexGuard<'a, Line>);

impl Seats {
    pub(super) fn taken(&self) -> u32 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Takes a seat if fewer than `most` are taken. Returns whether it did.
    pub(super) fn take_below(&self, most: u32) -> bool {
        let order = Ordering::SeqCst;
        let one_more = |taken: u32| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(order, order, one_more).is_ok()
    }

    /// Gives a seat back. Returns whether this was the last taken seat.
    pub(super) fn give_back(&self) -> bool {
        self.taken.fetch_sub(1, Ordering::SeqCst) == 1
    }

    pub(super) fn line(&self) -> Guard<'_> {
        // No code under this lock can panic.
        Guard(self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Guard<'_> {
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed
    }

    /// Whether the pool starts processes only for requests in line, and keeps none.
    pub(super) fn is_retired(&self) -> bool {
        self.0.is_retired
    }

    pub(super) fn retire(&mut self) {
        self.0.is_retired = true;
    }

    pub(super) fn revive(&mut self) {
        self.0.is_retired = false;
    }

    pub(super) fn in_line(&self) -> usize {
        self.0.waiters.len()
    }

    /// Joins the line, unless it already has `most` requests.
    pub(super) fn join(&mut self, most: usize) -> Option<(u64, oneshot::Receiver<Grant>)> {
        if self.0.waiters.len() >= most {
            return None;
        }
        let ticket = self.0.next_ticket;
        self.0.next_ticket += 1;
        let (grant, granted) = oneshot::channel();
        self.0.waiters.push_back(Waiter { ticket, grant });
        Some((ticket, granted))
    }

    pub(super) fn leave(&mut self, ticket: u64) {
        // Tickets in line are ascending.
        let place = |waiter: &Waiter| waiter.ticket;
        if let Ok(at) = self.0.waiters.binary_search_by_key(&ticket, place) {
            self.0.waiters.remove(at);
        }
    }

    /// Hands a grant to the head of the line. Gives it back if the line is empty.
    pub(super) fn grant(&mut self, mut grant: Grant) -> Option<Grant> {
        while let Some(waiter) = self.0.waiters.pop_front() {
            match waiter.grant.send(grant) {
                Ok(()) => return None,
                Err(back) => grant = back, // this request has just left
            }
        }
        Some(grant)
    }

    /// Whether this is the first request in a while that found all processes busy.
    pub(super) fn begins_burst(&mut self) -> bool {
        let now = Instant::now();
        let last = self.0.saturated.replace(now);
        last.is_none_or(|last| now.duration_since(last) > BURST_GAP)
    }

    /// Closes the line. Requests in it are refused, and no more may join.
    pub(super) fn close(&mut self) {
        self.0.is_closed = true;
        self.0.waiters.clear();
    }
}

/// A place in line. Dropping it leaves the line; a grant that came meanwhile goes to the next
/// request.
pub(super) struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    ticket: u64,
    granted: oneshot::Receiver<Grant>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(pool: &'a Arc<Pool>, ticket: u64, granted: oneshot::Receiver<Grant>) -> Self {
        Self {
            pool,
            ticket,
            granted,
        }
    }

    /// Waits for a grant. `None` if the pool is closed.
    pub(super) async fn granted(&mut self) -> Option<Grant> {
        (&mut self.granted).await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.granted.close();
        match self.granted.try_recv() {
            Ok(Grant::Process(lease)) => self.pool.put_back(lease),
            Ok(Grant::Seat(seat)) => drop(seat),
            Err(_) => {
                let mut line = self.pool.seats.line();
                line.leave(self.ticket);
                self.pool.update_attention(&line);
            }
        }
    }
}
