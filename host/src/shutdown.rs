//! Stopping in two steps: first nothing new is begun, then nothing is waited for.

use tokio::sync::watch;

/// How far the host has come on its way to stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Not stopping.
    Serving,
    /// No new connections and no new requests; those that run may finish.
    Draining,
    /// The grace time is over: whatever still runs is answered for it.
    Ending,
}

/// The one who says how far it has come.
#[derive(Debug)]
pub(crate) struct Stopper(watch::Sender<Phase>);

/// The view of everybody else.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(watch::Receiver<Phase>);

/// Both ends.
#[must_use]
pub(crate) fn channel() -> (Stopper, Stopping) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Stopper(sender), Stopping(receiver))
}

impl Stopper {
    /// Moves on to `phase`.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }
}

impl Stopping {
    /// Waits until `phase` is reached or passed. A stopper that is gone has reached everything.
    pub(crate) async fn reached(&mut self, phase: Phase) {
        let _gone = self.0.wait_for(|now| *now >= phase).await;
    }
}
