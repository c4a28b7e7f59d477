//! The *worker* of an exchange: it accepts a request at once or refuses it, has it answered here,
//! and sends the response as its front takes it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::Inner;
use super::flow::{Flow, Peer, Received, Side};
use super::frames::{Failure, Frame, Load, Progress, Refusal, RequestHead, ToFront, ToWorker};
use crate::body::Body;
use crate::message::{Headers, Request, Scheme};
use crate::pid::Pid;

/// A request whose front has last heard a beat that is older than so many was on its way for too
/// long: its front has given it up. Time passes for a host that is frozen, too.
const STALE_BEATS: u32 = 4;

/// For each process, a host has at most so many requests of others: one that runs, and one that
/// waits.
const FOR_EACH_SEAT: u32 = 2;

/// An exchange that its front does not ask for any more is over after so long. The front probes
/// twice meanwhile.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(4);

/// The most exchanges, most of which only send.
const MAX_EXCHANGES: usize = 4096;

/// What a host does for others. It is handed in from above.
pub(crate) trait Local: Send + Sync {
    /// How busy the pools are.
    fn load(&self) -> Load;

    /// The digest of the module, or nothing if there are several.
    fn module(&self) -> String;

    /// The pool that would answer a request for this host and path: its number, its processes at
    /// most, and the requests that wait for one. `None` if there is none.
    fn room(&self, host: &str, path: &str) -> Option<Room>;

    /// Answers a request.
    fn answer(
        self: Arc<Self>,
        request: Request,
        responder: Responder,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The room in a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) pool: u32,
    pub(crate) seats: u32,
    pub(crate) waiting: usize,
    /// Whether a process has a request while its body comes.
    pub(crate) takes_streams: bool,
}

/// The exchanges of which this host is the worker.
#[derive(Debug, Default)]
pub(super) struct Serving {
    table: Mutex<HashMap<(u32, u64), Served>>,
    none: Notify,
}

#[derive(Debug)]
struct Served {
    /// When the front has last shown that it wants the exchange.
    wanted: Instant,
    flow: Arc<Flow>,
    /// The number of the pool.
    pool: u32,
    /// Whether a process has the request, or soon will.
    has_place: bool,
}

/// Says how a request went. One that is dropped says that it has failed.
pub(crate) struct Responder {
    inner: Arc<Inner>,
    flow: Arc<Flow>,
    has_said: bool,
}

/// Keeps an exchange in the table.
struct Guard {
    inner: Arc<Inner>,
    flow: Arc<Flow>,
}

impl Inner {
    /// Takes in what a front says of an exchange.
    pub(super) fn told_by_front(
        self: &Arc<Self>,
        front: u32,
        id: u64,
        what: ToWorker<'_>,
        body: Bytes,
    ) {
        let flow = || {
            let mut table = self.serving.table();
            let served = table.get_mut(&(front, id))?;
            served.wanted = Instant::now();
            Some(Arc::clone(&served.flow))
        };
        match what {
            ToWorker::Ask {
                beat,
                window,
                length,
                is_whole,
                head,
            } => {
                let asked = (front, id, head, body);
                if let Err(why) = self.accept(asked, beat, window, (length, is_whole)) {
                    self.refuse(front, id, why);
                }
            }
            ToWorker::Body(part) => {
                if let Some(flow) = flow() {
                    flow.receive(part, body);
                }
            }
            ToWorker::Allowed(allowed) => {
                if let Some(flow) = flow() {
                    flow.allow(allowed);
                }
            }
            ToWorker::Cancel => {
                if let Some(flow) = flow() {
                    flow.end("its client has left");
                }
            }
        }
    }

    /// # Errors
    /// Why the request is refused.
    fn accept(
        self: &Arc<Self>,
        (front, id, head, body): (u32, u64, RequestHead<'_>, Bytes),
        beat: u64,
        window: u64,
        (length, is_whole): (Option<u64>, bool),
    ) -> Result<(), Refusal> {
        let age = Duration::from_millis(self.now().saturating_sub(beat));
        if age > self.settings.beat() * STALE_BEATS {
            return Err(Refusal::Stale);
        }
        if self.is_draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        let local = self
            .local
            .get()
            .and_then(Weak::upgrade)
            .ok_or(Refusal::Draining)?;
        let named = head.fields.iter().find(|(name, _)| *name == "host");
        let named = named.and_then(|(_, value)| std::str::from_utf8(value).ok());
        let room = local.room(named.unwrap_or_default(), head.path);
        let peer = Peer {
            link: self.link.clone(),
            host: front,
            id,
            side: Side::Worker,
        };
        let room = room.ok_or(Refusal::NoRoute)?;
        let flow = Arc::new(Flow::new(peer, self.windows.clone(), window));
        let mut table = self.serving.table();
        if table.contains_key(&(front, id)) {
            return Ok(()); // it was delivered twice
        }
        let has_place = |served: &&Served| served.pool == room.pool && served.has_place;
        let others = table.values().filter(has_place).count();
        let most = room.seats.saturating_mul(FOR_EACH_SEAT) as usize;
        let is_busy = others >= most || room.waiting >= room.seats as usize;
        if is_busy || table.len() >= MAX_EXCHANGES {
            return Err(Refusal::Busy);
        }
        let served = Served {
            wanted: Instant::now(),
            flow: Arc::clone(&flow),
            pool: room.pool,
            // A body that is read whole before needs none meanwhile.
            has_place: is_whole || room.takes_streams,
        };
        table.insert((front, id), served);
        drop(table);
        self.counters.served.fetch_add(1, Ordering::Relaxed);
        let guard = Guard {
            inner: Arc::clone(self),
            flow: Arc::clone(&flow),
        };
        let body = match is_whole {
            true => Body::Bytes(body),
            false => {
                flow.begin(body);
                Body::Stream(Box::new(Received::new(Arc::clone(&flow), length, ())))
            }
        };
        let request = request(&head, body);
        let responder = Responder {
            inner: Arc::clone(self),
            flow: Arc::clone(&flow),
            has_said: false,
        };
        tokio::spawn(async move {
            let _guard = guard;
            tokio::select! {
                biased;
                () = flow.over() => {}
                () = local.answer(request, responder) => {}
            }
        });
        Ok(())
    }

    fn refuse(&self, front: u32, id: u64, why: Refusal) {
        let what = ToFront::Refused {
            why,
            load: self.load(),
        };
        let frame = self.to_front(id, what).encode(b"");
        if !self.link.post(front, frame.clone()) {
            let link = self.link.clone();
            tokio::spawn(async move { link.send(front, frame).await });
        }
    }

    fn to_front<'a>(&self, id: u64, what: ToFront<'a>) -> Frame<'a> {
        Frame::ToFront {
            worker: self.link.number(),
            id,
            what,
        }
    }

    /// How busy this host is.
    pub(super) fn load(&self) -> Load {
        let local = self.local.get().and_then(Weak::upgrade);
        local.map_or_else(Load::default, |local| local.load())
    }

    /// Ends exchanges whose fronts don't ask for them any more: a word of theirs was lost.
    pub(super) fn forget_unwanted(&self) {
        let time = FORGOTTEN_AFTER.max(self.settings.lost_after + Duration::from_secs(2));
        let over: Vec<_> = {
            let table = self.serving.table();
            let old = table
                .values()
                .filter(|served| served.wanted.elapsed() > time);
            old.map(|served| Arc::clone(&served.flow)).collect()
        };
        for flow in over {
            flow.end("its front has forgotten it");
        }
    }

    /// Answers a probe.
    pub(super) fn probed(&self, front: u32, asked: &[Progress]) {
        let mut known = Vec::new();
        {
            let mut table = self.serving.table();
            for progress in asked {
                if let Some(served) = table.get_mut(&(front, progress.id)) {
                    served.wanted = Instant::now();
                    known.push((Arc::clone(&served.flow), *progress));
                }
            }
        }
        let known: Vec<_> = known
            .into_iter()
            .map(|(flow, progress)| {
                let _broken = flow.compare(progress);
                flow.progress()
            })
            .collect();
        let answer = Frame::Known {
            worker: self.link.number(),
            asked: asked.iter().map(|progress| progress.id).collect(),
            exchanges: known,
        };
        let _asked_again = self.link.post(front, answer.encode(b""));
    }

    /// Nobody wants what this front has asked for.
    pub(super) fn lose_front(&self, front: u32) {
        let of_front: Vec<_> = {
            let table = self.serving.table();
            let of_front = table.iter().filter(|((of, _), _)| *of == front);
            of_front
                .map(|(_, served)| Arc::clone(&served.flow))
                .collect()
        };
        for flow in of_front {
            flow.end("the host that asked is lost");
        }
    }

    /// The number of requests of others.
    pub(super) fn serving_now(&self) -> usize {
        self.serving.table().len()
    }

    /// Waits until this host has no requests of others.
    pub(super) async fn served_all(&self) {
        loop {
            // Registered before the look, so that an end in between isn't missed.
            let none = self.serving.none.notified();
            if self.serving_now() == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Responder {
    /// The number of the host that asks.
    pub(crate) fn front(&self) -> u32 {
        self.flow.peer().host
    }

    /// The process is free, although the response may still be on its way.
    pub(crate) fn is_served(&self) {
        let Peer { host, id, .. } = self.flow.peer();
        if let Some(served) = self.inner.serving.table().get_mut(&(*host, *id)) {
            served.has_place = false;
        }
    }

    /// Says that the request was not begun.
    pub(crate) async fn refused(mut self, why: Refusal) {
        let load = self.inner.load();
        self.say(ToFront::Refused { why, load }, b"").await;
    }

    /// Says that there is no response.
    pub(crate) async fn failed(mut self, pid: Option<Pid>, why: Failure) {
        let what = ToFront::Failed {
            pid: pid.map(Pid::get),
            load: self.inner.load(),
            why,
        };
        self.say(what, b"").await;
    }

    /// Sends the head of a response, and its body if that is there. Otherwise the body goes to the
    /// [`Sending`].
    pub(crate) async fn answer(
        mut self,
        pid: Option<Pid>,
        status: u16,
        fields: Vec<(&str, &[u8])>,
        length: Option<u64>,
        whole: Option<Bytes>,
    ) -> Option<Sending> {
        let what = ToFront::Answer {
            pid: pid.map_or(0, Pid::get),
            load: self.inner.load(),
            status,
            length,
            is_whole: whole.is_some(),
            fields,
        };
        let body = whole.clone().unwrap_or_default();
        let is_said = self.say(what, &body).await;
        let is_whole = whole.is_some();
        self.flow.has_sent(body.len() as u64, is_whole);
        (is_said && !is_whole).then(|| Sending(Arc::clone(&self.flow)))
    }

    async fn say(&mut self, what: ToFront<'_>, body: &[u8]) -> bool {
        self.has_said = true;
        let Peer { link, host, id, .. } = self.flow.peer();
        let frame = self.inner.to_front(*id, what).encode(body);
        if frame.len() <= link.most_bytes() {
            return link.send(*host, frame).await;
        }
        // Its head has more bytes than a message may have.
        let what = ToFront::Failed {
            pid: None,
            load: self.inner.load(),
            why: Failure::BadResponse,
        };
        let _said = link
            .send(*host, self.inner.to_front(*id, what).encode(b""))
            .await;
        false
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.has_said || self.flow.is_over() {
            return;
        }
        let what = ToFront::Failed {
            pid: None,
            load: Load::default(),
            why: Failure::Stopping,
        };
        let Peer { link, host, id, .. } = self.flow.peer();
        let _lost = link.post(*host, self.inner.to_front(*id, what).encode(b""));
    }
}

/// Sends the body of a response behind its head.
pub(crate) struct Sending(Arc<Flow>);

impl Sending {
    /// Sends a body, as fast as the front takes it.
    pub(crate) async fn send_all(self, body: Body) {
        self.0.send_all(body).await;
    }
}

impl Serving {
    fn table(&self) -> MutexGuard<'_, HashMap<(u32, u64), Served>> {
        // No step under this lock can panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Peer { host, id, .. } = self.flow.peer();
        let serving = &self.inner.serving;
        let is_none = {
            let mut table = serving.table();
            table.remove(&(*host, *id));
            table.is_empty()
        };
        self.flow.end("it was answered");
        if is_none {
            serving.none.notify_waiters();
        }
    }
}

fn request(head: &RequestHead<'_>, body: Body) -> Request {
    let mut headers = Headers::with_capacity(head.fields.len());
    for (name, value) in &head.fields {
        headers.push(name, value);
    }
    Request {
        id: 0, // whoever answers gives it a number
        method: head.method.to_owned(),
        path: head.path.to_owned(),
        query: head.query.map(str::to_owned),
        headers,
        body,
        client: head.client.into(),
        server: head.server.into(),
        scheme: if head.is_https {
            Scheme::Https
        } else {
            Scheme::Http
        },
    }
}
