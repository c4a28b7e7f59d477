//! The host stops in two steps. First it begins nothing new; then it waits for nothing.

use tokio::sync::watch;

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
