//! The *front* of an exchange: it chooses a host, asks it, and hands on what comes back. What was
//! refused is asked elsewhere, what is lost too if it may be done twice.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::flow::{Flow, LEAST_WINDOW, PART_BYTES, Peer, Received, Side};
use super::frames::{
    Failure, Frame, Load, MAX_PROBED, Progress, Refusal, RequestHead, ToFront, ToWorker,
};
use super::members::Chosen;
use super::{Cluster, Counters, Inner};
use crate::body::Body;
use crate::message::{Request, Response, Scheme};
use crate::pid::Pid;

/// How many hosts may refuse a request before it waits.
const TRIES: usize = 3;

/// A request that is older is probed.
pub(super) const PROBED_AFTER: Duration = Duration::from_secs(1);

/// A request that waits looks again after so long, even if nobody has told it to.
const GLANCE: Duration = Duration::from_millis(50);

/// What happens to an exchange until its response is there: the first of each kind. A peer that
/// says more is not heard.
const EVENTS: usize = 4;

/// How a request went that another host was to answer.
#[derive(Debug)]
pub(crate) enum Asked {
    Answered(Response),
    /// The host has begun the request, and there is no response.
    Failed(Failure),
    /// The host that had the request is lost, and nobody knows how far it has come.
    Lost,
    /// No host has taken the request, which is whole. What they have said.
    Nowhere(Option<Refusal>),
    /// The host has refused the request after it had its body, which is gone.
    Spent,
}

/// Who had a request last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// The number of the host.
    pub(crate) host: Option<u32>,
    /// The process there.
    pub(crate) pid: Option<Pid>,
}

/// The exchanges of which this host is the front.
#[derive(Debug, Default)]
pub(super) struct Exchanges(Mutex<HashMap<u64, Exchange>>);

#[derive(Debug)]
struct Exchange {
    since: Instant,
    flow: Arc<Flow>,
    /// Whether the worker has asked for the body.
    is_taken: bool,
    events: mpsc::Sender<Event>,
}

/// What happens to an exchange until its response is there.
#[derive(Debug)]
enum Event {
    /// The body may be sent.
    Taken,
    Refused(Refusal),
    Failed(Option<Pid>, Failure),
    Answered(Option<Pid>, Response, Rest),
    /// It was never delivered.
    Undelivered,
    Lost,
}

/// What is still to come of a response's body.
#[derive(Debug)]
struct Rest {
    is_whole: bool,
    length: Option<u64>,
}

/// Has the exchange end when nobody wants it any more.
#[derive(Debug)]
struct Guard {
    cluster: Cluster,
    flow: Arc<Flow>,
    /// Whether the other side has said that the exchange is over.
    is_over: bool,
}

/// One try.
enum Try {
    Done(Asked),
    /// The host has not begun the request.
    Refused(Option<Refusal>),
    /// The host is lost. Whether it had a part of a body that can't be sent again.
    Lost {
        is_spent: bool,
    },
}

impl Cluster {
    /// Asks another host: not this one, whose pools are this busy. A host without pools waits in
    /// its line until another has room.
    pub(crate) async fn ask(
        &self,
        request: &mut Request,
        own: Option<Load>,
        told: &mut Told,
    ) -> Asked {
        let mut may_repeat = is_repeatable(&request.method);
        let mut why = None;
        let mut deadline = Instant::now() + self.0.settings.line.queue_timeout;
        loop {
            let mut tried = Vec::new();
            while tried.len() < TRIES {
                let chosen = match self.choose(&tried, own) {
                    Some(chosen) => chosen,
                    None if own.is_some() => return Asked::Nowhere(why),
                    None => match self.wait(deadline).await {
                        Some(chosen) => chosen,
                        None => return Asked::Nowhere(why),
                    },
                };
                tried.push(chosen.number);
                let host = chosen.number;
                told.host = Some(host);
                self.0.counters.asked.fetch_add(1, Ordering::Relaxed);
                match self.try_host(chosen, request, told).await {
                    Try::Done(asked) => return asked,
                    Try::Refused(refusal) => {
                        self.0.counters.refused.fetch_add(1, Ordering::Relaxed);
                        why = match (why, refusal) {
                            (Some(why), None | Some(Refusal::NoRoute)) => Some(why),
                            (_, refusal) => refusal,
                        };
                    }
                    Try::Lost { is_spent } => {
                        self.0.counters.lost.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(request = request.id, host, "a request is lost");
                        if is_spent || !std::mem::take(&mut may_repeat) {
                            return Asked::Lost;
                        }
                        self.0.counters.retried.fetch_add(1, Ordering::Relaxed);
                        // It has run until now, and not waited.
                        deadline = Instant::now() + self.0.settings.line.queue_timeout;
                    }
                }
            }
            if own.is_some() || Instant::now() >= deadline || why == Some(Refusal::NoRoute) {
                return Asked::Nowhere(why);
            }
            // All were full although they had seemed not to be.
            sleep(GLANCE).await;
        }
    }

    /// A host with room. None if others wait for one.
    fn choose(&self, tried: &[u32], own: Option<Load>) -> Option<Chosen> {
        let is_first = own.is_some() || self.0.counters.waiting.load(Ordering::Relaxed) == 0;
        let may = is_first && self.0.link.is_connected();
        may.then(|| self.0.members.choose(tried, own)).flatten()
    }

    /// Waits in line for a host with room. None if the line is full, or it took too long. Only the
    /// first in line looks, and the next comes after it.
    async fn wait(&self, deadline: Instant) -> Option<Chosen> {
        let _place = self.0.line.try_acquire().ok()?;
        self.0.counters.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.0.counters);
        let left = || deadline.saturating_duration_since(Instant::now());
        let _turn = timeout(left(), self.0.turn.lock()).await.ok()?;
        loop {
            if self.0.link.is_connected()
                && let Some(chosen) = self.0.members.choose(&[], None)
            {
                return Some(chosen);
            }
            if left().is_zero() {
                return None;
            }
            let _glanced = timeout(GLANCE.min(left()), self.0.members.room()).await;
        }
    }

    async fn try_host(&self, chosen: Chosen, request: &mut Request, told: &mut Told) -> Try {
        let Chosen {
            number: host,
            beat,
            counted,
        } = chosen;
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let peer = Peer {
            link: self.0.link.clone(),
            host,
            id,
            side: Side::Front,
        };
        let inline = match &request.body {
            Body::Bytes(bytes) if bytes.len() <= PART_BYTES => Some(bytes.clone()),
            Body::Bytes(_) | Body::File(_) | Body::Stream(_) => None,
        };
        let what = ToWorker::Ask {
            beat,
            window: LEAST_WINDOW,
            length: request.body.length(),
            is_whole: inline.is_some(),
            head: head(request),
        };
        let frame = Frame::ToWorker {
            front: self.number(),
            id,
            what,
        };
        let body = inline.clone().unwrap_or_default();
        let frame = frame.encode(&body);
        if frame.len() > self.0.link.most_bytes() {
            return Try::Refused(None); // its head is too large for any other host
        }
        let flow = Arc::new(Flow::new(peer, self.0.windows.clone(), 0));
        let (events, mut heard) = mpsc::channel(EVENTS);
        let exchange = Exchange {
            since: Instant::now(),
            flow: Arc::clone(&flow),
            is_taken: false,
            events,
        };
        self.0.exchanges.table().insert(id, exchange);
        let mut guard = Guard {
            cluster: self.clone(),
            flow: Arc::clone(&flow),
            is_over: false,
        };
        // A response that is on its way takes no process's time, and nor does a body that is read
        // before. Where it does, the host says so.
        let mut counted = Some(counted);
        if !self.0.link.ask(host, id, frame).await {
            return Try::Refused(None);
        }
        flow.has_sent(body.len() as u64, inline.is_some());
        let (mut is_sent, mut is_spent) = (inline.is_some(), false);
        // The table holds the sender, and this guard the place in the table.
        while let Some(event) = heard.recv().await {
            match event {
                Event::Taken if !is_sent => {
                    drop(counted.take());
                    is_sent = true;
                    is_spent = begin_body(request, &flow);
                }
                Event::Taken => {}
                Event::Refused(refusal) => {
                    guard.is_over = true;
                    return match is_spent {
                        false => Try::Refused(Some(refusal)),
                        true => Try::Done(Asked::Spent),
                    };
                }
                Event::Undelivered => {
                    guard.is_over = true;
                    return Try::Refused(None);
                }
                Event::Failed(pid, failure) => {
                    guard.is_over = true;
                    told.pid = pid;
                    return Try::Done(Asked::Failed(failure));
                }
                Event::Answered(pid, mut response, rest) => {
                    told.pid = pid;
                    if rest.is_whole {
                        guard.is_over = true;
                    } else {
                        // The guest may read what it was sent behind the head of its response.
                        if !is_sent {
                            begin_body(request, &flow);
                        }
                        let body = Received::new(flow, rest.length, guard);
                        response.body = Body::Stream(Box::new(body));
                    }
                    return Try::Done(Asked::Answered(response));
                }
                Event::Lost => return Try::Lost { is_spent },
            }
        }
        Try::Lost { is_spent }
    }
}

/// Begins to send the body of a request, as the other side lets it. Returns whether it can't be
/// sent again: only bytes can.
fn begin_body(request: &mut Request, flow: &Arc<Flow>) -> bool {
    let (body, is_spent) = match &request.body {
        Body::Bytes(bytes) => (Body::Bytes(bytes.clone()), false),
        Body::File(_) | Body::Stream(_) => {
            (std::mem::replace(&mut request.body, Body::empty()), true)
        }
    };
    let flow = Arc::clone(flow);
    tokio::spawn(async move { flow.send_all(body).await });
    is_spent
}

/// A request in the line of a front.
#[derive(Debug)]
struct Waiting<'a>(&'a Counters);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    /// Takes in what a worker says of an exchange.
    pub(super) fn told_by_worker(&self, worker: u32, id: u64, what: ToFront<'_>, body: Bytes) {
        let mut table = self.exchanges.table();
        let exchange = table.get_mut(&id);
        let Some(exchange) = exchange.filter(|exchange| exchange.flow.peer().host == worker) else {
            return; // it is over
        };
        let (flow, events) = exchange.parts();
        let is_allowed = matches!(what, ToFront::Allowed(_));
        let was_taken = exchange.is_taken;
        exchange.is_taken |= is_allowed;
        drop(table);
        let event = match what {
            ToFront::Refused { why, load } => {
                self.members.told(worker, load);
                Event::Refused(why)
            }
            ToFront::Failed { pid, load, why } => {
                self.members.told(worker, load);
                Event::Failed(pid.and_then(Pid::new), why)
            }
            ToFront::Answer {
                pid,
                load,
                status,
                length,
                is_whole,
                fields,
            } => {
                self.members.told(worker, load);
                let fields = fields.into_iter();
                let fields = fields.map(|(name, value)| (name.to_owned(), value.to_vec()));
                let mut response = Response {
                    status,
                    headers: fields.collect(),
                    body: Body::empty(),
                };
                match is_whole {
                    true => response.body = Body::Bytes(body),
                    false => flow.begin(body),
                }
                Event::Answered(Pid::new(pid), response, Rest { is_whole, length })
            }
            ToFront::Body(part) => return flow.receive(part, body),
            ToFront::Allowed(allowed) => {
                flow.allow(allowed);
                if was_taken {
                    return;
                }
                Event::Taken
            }
        };
        let _said_before = events.try_send(event);
    }

    /// A request was never delivered, since nobody hears at that host. Or, if the id is 0, the host
    /// is gone.
    pub(super) fn nobody_hears(&self, host: u32, id: u64) {
        if id == 0 {
            return self.lose(host);
        }
        self.gone(host);
        let table = self.exchanges.table();
        if let Some(exchange) = table.get(&id) {
            let _over = exchange.events.try_send(Event::Undelivered);
        }
    }

    /// All that this host has is lost.
    pub(super) fn lose(&self, host: u32) {
        self.gone(host);
        let of_host = |exchange: &&Exchange| exchange.flow.peer().host == host;
        let lost: Vec<_> = {
            let table = self.exchanges.table();
            let lost = table.values().filter(of_host);
            lost.map(Exchange::parts).collect()
        };
        lost.into_iter().for_each(lose);
    }

    /// Asks the hosts what they know of requests that are old.
    pub(super) fn probe(&self) {
        if !self.link.is_connected() {
            return;
        }
        let mut old: HashMap<u32, Vec<Progress>> = HashMap::new();
        for (_, exchange) in self.exchanges.table().iter() {
            if exchange.since.elapsed() > PROBED_AFTER {
                let asked = old.entry(exchange.flow.peer().host).or_default();
                asked.push(exchange.flow.progress());
            }
        }
        let hosts: Vec<u32> = old.keys().copied().collect();
        for silent in self.members.probed(&hosts) {
            self.lose(silent);
            old.remove(&silent);
        }
        for (host, mut exchanges) in old {
            exchanges.sort_unstable_by_key(|exchange| exchange.id);
            for exchanges in exchanges.chunks(MAX_PROBED) {
                let probe = Frame::Probe {
                    front: self.link.number(),
                    exchanges: exchanges.to_vec(),
                };
                let _asked_again = self.link.probe(host, probe.encode(b""));
            }
        }
    }

    /// Takes in the answer to a probe.
    pub(super) fn known(&self, worker: u32, asked: &[u64], known: &[Progress]) {
        self.members.answered(worker);
        let known: HashMap<u64, Progress> = known.iter().map(|one| (one.id, *one)).collect();
        for id in asked {
            let parts = {
                let mut table = self.exchanges.table();
                let exchange = table.get_mut(id);
                let exchange = exchange.filter(|exchange| exchange.flow.peer().host == worker);
                exchange.map(|exchange| {
                    // Its invitation may be what was lost.
                    let is_invited = known.get(id).is_some_and(|known| known.allowed > 0);
                    let was_taken = exchange.is_taken;
                    exchange.is_taken |= is_invited;
                    (exchange.parts(), is_invited && !was_taken)
                })
            };
            let Some((parts, begins)) = parts else {
                continue; // it is over
            };
            if begins {
                let _over = parts.1.try_send(Event::Taken);
            }
            match known.get(id) {
                Some(progress) if parts.0.compare(*progress).is_ok() => {}
                None if parts.0.has_all() => {} // its last part was faster
                Some(_) | None => lose(parts),
            }
        }
    }

    /// The number of exchanges.
    pub(super) fn asked_now(&self) -> usize {
        self.exchanges.table().len()
    }
}

impl Exchange {
    fn parts(&self) -> (Arc<Flow>, mpsc::Sender<Event>) {
        (Arc::clone(&self.flow), self.events.clone())
    }
}

fn lose((flow, events): (Arc<Flow>, mpsc::Sender<Event>)) {
    let _over = events.try_send(Event::Lost);
    flow.end("the host that sent it is lost");
}

impl Exchanges {
    fn table(&self) -> MutexGuard<'_, HashMap<u64, Exchange>> {
        // No step under this lock can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Peer { link, host, id, .. } = self.flow.peer();
        let inner = &self.cluster.0;
        inner.exchanges.table().remove(id);
        let is_over = self.is_over || self.flow.has_all();
        self.flow.end("nobody wants it any more");
        if !is_over {
            let cancel = Frame::ToWorker {
                front: link.number(),
                id: *id,
                what: ToWorker::Cancel,
            };
            let _ends_by_itself = link.post(*host, cancel.encode(b""));
        }
    }
}

/// Methods that may be done twice (RFC 9110, section 9.2.2).
fn is_repeatable(method: &str) -> bool {
    ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"].contains(&method)
}

fn head(request: &Request) -> RequestHead<'_> {
    RequestHead {
        method: &request.method,
        path: &request.path,
        query: request.query.as_deref(),
        fields: request.headers.iter().collect(),
        client: &request.client,
        server: &request.server,
        is_https: request.scheme == Scheme::Https,
    }
}
