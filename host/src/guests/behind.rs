//! Guests that go on *behind* a response that is complete already. A host that stops waits for them
//! as it does for connections.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts the guests that go on.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind(Arc<watch::Sender<usize>>);

/// One of the guests that [`Behind`] counts.
pub(super) struct Counted(Behind);

impl Behind {
    pub(super) fn count(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(self.clone())
    }

    /// Waits until no guest goes on.
    pub(super) async fn none(&self) {
        let mut counts = self.0.subscribe();
        // Fails only without a sender, and this is one.
        let _none = counts.wait_for(|count| *count == 0).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
