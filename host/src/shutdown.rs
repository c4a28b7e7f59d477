//! The host stops in two steps. First it begins nothing new; then it waits for nothing.

use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// The progress of stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// New connections and requests are refused. Running requests may finish.
    Draining,
    /// The grace time is over. Requests that still run are answered with an error.
    Ending,
}

/// Announces the phases.
#[derive(Debug)]
pub(crate) struct Stopper(watch::Sender<Phase>);

/// Waits for the phases. Everybody but the [`Stopper`] has one of these.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(watch::Receiver<Phase>);

#[must_use]
pub(crate) fn channel() -> (Stopper, Stopping) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Stopper(sender), Stopping(receiver))
}

impl Stopper {
    /// Announces `phase`.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }
}

impl Stopping {
    /// Waits until `phase` is reached or passed. Returns at once if the stopper is dropped.
    pub(crate) async fn reached(&mut self, phase: Phase) {
        let _gone = self.0.wait_for(|now| *now >= phase).await;
    }
}

/// Waits until no process is left, one second at most: start code, or a machine that has no time
/// for the processes, may take longer. The end of the last process wakes all waiters of
/// `all_ended`.
pub(crate) async fn processes_ended(all_ended: &Notify, none_is_left: impl Fn() -> bool) {
    const TIME_LIMIT: Duration = Duration::from_secs(1);
    let ended = async {
        loop {
            // Registered before the check, so that an end in between isn't missed.
            let ended = all_ended.notified();
            if none_is_left() {
                return;
            }
            ended.await;
        }
    };
    let _elapsed = timeout(TIME_LIMIT, ended).await;
}
