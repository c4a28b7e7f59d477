//! An *instance* of any kind that a pool can have, and the module that it is made from. The floors
//! above don't tell the kinds apart, except for how a request is put to them.

use std::sync::Arc;
use std::time::Duration;

use super::foreign::{Foreign, PreparedForeign};
use super::handler::{Handler, PreparedHandler};
use crate::exit::Crash;
use crate::table::Row;

/// A module, ready to be instantiated any number of times.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// A module of our contract.
    Handler(PreparedHandler),
    /// A module of another contract.
    Foreign(PreparedForeign),
}

/// One living guest.
#[derive(Debug)]
pub(crate) enum Instance {
    /// A guest that answers a whole request with a response.
    Handler(Handler),
    /// A guest that may read and write bodies while it runs.
    Foreign(Box<Foreign>),
}

impl Prepared {
    /// Creates an instance and runs its start code, for at most `time_limit`.
    ///
    /// # Errors
    /// If the start code traps or exceeds a limit.
    pub(crate) async fn instantiate(
        &self,
        row: &Arc<Row>,
        time_limit: Duration,
    ) -> Result<Instance, Crash> {
        Ok(match self {
            Self::Handler(handler) => {
                Instance::Handler(handler.instantiate(row, time_limit).await?)
            }
            Self::Foreign(foreign) => {
                let foreign = Box::pin(foreign.instantiate(row, time_limit));
                Instance::Foreign(Box::new(foreign.await?))
            }
        })
    }
}

impl Instance {
    /// The last lines that the guest printed to standard error while it served its last request.
    pub(crate) fn last_lines(&self) -> Option<String> {
        match self {
            Self::Handler(handler) => handler.last_lines(),
            Self::Foreign(foreign) => foreign.last_lines(),
        }
    }

    /// Whether the guest keeps so much of the host's that it should serve no more.
    pub(crate) fn is_worn(&self) -> bool {
        match self {
            Self::Handler(_) => false,
            Self::Foreign(foreign) => foreign.is_worn(),
        }
    }

    /// Memory and tables in use, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        match self {
            Self::Handler(handler) => handler.memory(),
            Self::Foreign(foreign) => foreign.memory(),
        }
    }
}
