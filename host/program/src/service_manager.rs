//! The *service manager*, such as systemd, is told when the host serves, loads again and stops, how
//! it is, in a line, and again and again that it lives.
//!
//! It ends a host that has not said in time that it lives, and starts another. The host says so
//! each time when all pools have answered a request of the host's own. Any answer will do: only
//! silence is something that another host may cure.
//!
//! - What a guest answers is the guest's matter, and so is a guest that has to be ended at its
//!   deadline. Its process is replaced.
//! - A refusal is an answer, whether all processes are busy or the pool is drained: it shows that
//!   the pool and its clocks work. Another host would end what keeps the pool busy, and be as busy
//!   soon.
//! - If processes can't be started, the host is not healthy. But another one would have the same
//!   module, and would not start at all, nor would its other pools. This one tries again by itself,
//!   and recovers once the reason is gone. The status line says it, and `/readyz`.
//!
//! A guest that takes longer for its answer than the service manager waits is silent too. So the
//! host says at its start if its time for requests is too long for that.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use wasm_pool_host::{Host, PoolInfo};

use crate::control::Steering;

/// The variable that says where the service manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Messages that wait for a service manager that reads none. There are a few a minute.
const WAITING: usize = 16;

/// How often the status line may change.
const STATUS_PACE: Duration = Duration::from_secs(5);

/// The shortest pause between two signs of life, however few microseconds are asked for.
const SHORTEST_PACE: Duration = Duration::from_millis(10);

/// How long it may take to end everything once the time for running requests is over.
const ENDING: Duration = Duration::from_secs(10);

/// How long the end waits until the last message is sent.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who has started this host and is told how it is; by default nobody. Clones speak to the same
/// one.
///
/// Messages are sent by a thread of their own: if nobody reads them, only this thread waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceManager {
    messages: Option<SyncSender<Message>>,
    /// How long the service manager waits for a sign of life.
    watchdog: Option<Duration>,
}

#[derive(Debug)]
enum Message {
    Say(String),
    /// Answered once everything before it is sent.
    Flush(SyncSender<()>),
}

/// The host loads again, until this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reloading<'a>(&'a ServiceManager);

impl ServiceManager {
    /// Whether one has started this host.
    pub(crate) fn is_there() -> bool {
        std::env::var_os(SOCKET).is_some()
    }

    /// The service manager that has started this host, if one has.
    pub(crate) fn find() -> Self {
        if !Self::is_there() {
            return Self::default();
        }
        let (messages, receiver) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("notify".to_owned());
        if let Err(error) = thread.spawn(move || send(&receiver)) {
            tracing::warn!(%error, "no thread to tell the service manager how this host is");
            return Self::default();
        }
        Self {
            messages: Some(messages),
            watchdog: sd_notify::watchdog_enabled().filter(|time| !time.is_zero()),
        }
    }

    /// The host serves.
    pub(crate) fn ready(&self) {
        self.say(&[NotifyState::Ready]);
    }

    /// The host begins to load again.
    pub(crate) fn reloading(&self) -> Reloading<'_> {
        let now = NotifyState::monotonic_usec_now();
        let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
        self.say(&states);
        Reloading(self)
    }

    /// The host begins to stop, and is given this time for running requests.
    pub(crate) fn stopping(&self, grace: Duration) {
        let needed = grace.saturating_add(ENDING).as_micros();
        self.say(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(u32::try_from(needed).unwrap_or(u32::MAX)),
            NotifyState::Status("stopping"),
        ]);
    }

    /// Waits a moment, until everything is sent.
    pub(crate) fn finish(&self) {
        let Some(messages) = &self.messages else {
            return;
        };
        let (sent, all_sent) = sync_channel(1);
        if messages.try_send(Message::Flush(sent)).is_ok() {
            let _unread = all_sent.recv_timeout(PATIENCE);
        }
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        let Some(messages) = &self.messages else {
            return;
        };
        let lines: Vec<_> = states.iter().map(ToString::to_string).collect();
        // One that reads nothing misses what comes now: the host waits for nobody here.
        let _full = messages.try_send(Message::Say(lines.join("\n")));
    }
}

impl Drop for Reloading<'_> {
    fn drop(&mut self) {
        self.0.ready();
    }
}

/// Sends messages, until nobody has any more.
fn send(messages: &Receiver<Message>) {
    let mut is_heard = true;
    for message in messages {
        match message {
            Message::Say(text) => {
                let sent = sd_notify::notify(&[NotifyState::Custom(&text)]);
                if let (Err(error), true) = (&sent, is_heard) {
                    tracing::warn!(%error, "the service manager at {SOCKET} can't be told how this host is");
                }
                is_heard = sent.is_ok();
            }
            Message::Flush(sent) => {
                let _gone = sent.send(());
            }
        }
    }
}

/// Tells the service manager of this host how it is, and that it lives, for as long as this is
/// polled.
pub(crate) async fn keep_told(steering: &Steering) -> Infallible {
    let manager = steering.manager();
    if manager.messages.is_none() {
        return std::future::pending().await;
    }
    match manager.watchdog {
        None => tell_status(steering).await,
        Some(time) => tokio::join!(tell_status(steering), live(steering, time)).0,
    }
}

/// Says that the host lives, twice in the time that the service manager waits for it.
async fn live(steering: &Steering, time: Duration) -> Infallible {
    let pace = (time / 2).max(SHORTEST_PACE);
    let (host, longest) = (steering.host(), steering.longest_request());
    if longest > pace {
        let (request_ms, watchdog_ms) = (longest.as_millis() as u64, time.as_millis() as u64);
        tracing::warn!(
            request_ms,
            watchdog_ms,
            "a request may take longer than half of the watchdog's time, and a host that waits for one \
             be ended for it: raise WatchdogSec=, or lower --request-timeout"
        );
    }
    loop {
        let begun = Instant::now();
        let pools = host.pools().into_iter();
        let asked: JoinSet<()> = pools.map(|pool| ask(host.clone(), pool, pace)).collect();
        asked.join_all().await;
        // What the end of the host cuts off is no answer.
        if !steering.is_stopping() {
            steering.manager().say(&[NotifyState::Watchdog]);
        }
        sleep_until(begun + pace).await;
    }
}

/// Waits until this pool has answered anything. If that takes longer than `patience`, the log says
/// so: it may be the last that it says.
async fn ask(host: Host, pool: PoolInfo, patience: Duration) {
    let mut asked = pin!(host.ask(pool.number));
    if timeout(patience, asked.as_mut()).await.is_err() {
        tracing::warn!(
            pool = pool.name,
            "no answer yet to the watchdog's request: the service manager ends this host if none comes"
        );
        let _late = asked.await;
    }
}

/// Says how the host is, whenever that has changed since the last look.
async fn tell_status(steering: &Steering) -> Infallible {
    let host = steering.host();
    let (mut said, mut before, mut looked) =
        (String::new(), answered(&host.pools()), Instant::now());
    loop {
        let pools = host.pools();
        let (after, now) = (answered(&pools), Instant::now());
        let text = steering.obstacle().unwrap_or_else(|| {
            let rate = rate(after.saturating_sub(before), now - looked);
            status(pools.len(), host.processes().len(), rate)
        });
        if text != said {
            steering.manager().say(&[NotifyState::Status(&text)]);
            said = text;
        }
        (before, looked) = (after, now);
        sleep(STATUS_PACE).await;
    }
}

/// Responses to clients since the start.
fn answered(pools: &[PoolInfo]) -> u64 {
    let pools = pools.iter().map(|pool| pool.counts.responses);
    pools.flatten().sum()
}

/// How many a second these are.
fn rate(count: u64, time: Duration) -> u64 {
    let a_second = count as f64 / time.as_secs_f64();
    // Nothing has happened at the first look, when no time has gone by.
    if a_second.is_finite() {
        a_second.round() as u64
    } else {
        0
    }
}

fn status(pools: usize, processes: usize, rate: u64) -> String {
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let (of_pool, es) = (s(pools), if processes == 1 { "" } else { "es" });
    format!("{pools} pool{of_pool}, {processes} process{es}, {rate} requests/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line() {
        let second = Duration::from_secs(1);
        assert_eq!(
            status(1, 1, rate(3, second * 2)),
            "1 pool, 1 process, 2 requests/s"
        );
        assert_eq!(
            status(2, 0, rate(0, Duration::ZERO)),
            "2 pools, 0 processes, 0 requests/s"
        );
        assert_eq!(rate(1, Duration::ZERO), 0);
    }

    #[test]
    fn without_a_service_manager_nobody_is_told() {
        let nobody = ServiceManager::default();
        nobody.ready();
        drop(nobody.reloading());
        nobody.finish();
    }
}
