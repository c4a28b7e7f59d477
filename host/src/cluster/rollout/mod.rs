//! A *roll-out* brings a module that was pushed to the hosts that follow the cluster, one after the
//! other. There is no leader. A [`record`] in NATS says which module is rolled out, which hosts
//! swap at present, which hosts serve the module, and why the roll-out was stopped. Each host that
//! [`follow`]s changes the record by compare-and-set. Whoever [`push`]es only begins the roll-out,
//! and then watches.
//!
//! The first host is alone, whatever `at_once` says: a module that fails there reaches nobody else.
//! A host has *swapped* once its trial is over. Once the first host has, hosts start with the
//! module. A host that is lost while it swaps frees its place, but the second one that is lost
//! stops the roll-out.

mod follow;
mod push;
mod record;

use std::time::Duration;

pub use follow::Following;
pub use push::{Push, PushEnd, PushEvent};
pub use record::Turn;

/// How often the record is read while a roll-out is under way, or a copy of it is behind.
const SOON: Duration = Duration::from_millis(200);

/// The longest time for which copies of the record may be behind what was written.
const BEHIND: Duration = Duration::from_secs(30);
