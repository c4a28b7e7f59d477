//! An *RPC* is a guest's call to the host, which is counted, and told to whoever traces the
//! process. While nobody does, no text is made and no clock is read.

use std::sync::Arc;
use std::time::Instant;

use crate::feed::What;
use crate::pid::Pid;
use crate::table::Row;
use crate::tally::{Interface, Tally};
use crate::text;

/// The most bytes of arguments and of a result that somebody who traces is told.
const SHOWN_BYTES: usize = 512;

/// A call that has not returned yet. Dropped, it tells that it never will.
#[derive(Debug)]
pub(super) struct Rpc {
    interface: Interface,
    traced: Option<Box<Traced>>,
}

#[derive(Debug)]
struct Traced {
    tally: Arc<Tally>,
    pid: Pid,
    request: u64,
    function: &'static str,
    arguments: String,
    begun: Instant,
}

impl Rpc {
    /// The guest of this row calls a function. `arguments` are made only if somebody wants to know.
    pub(super) fn begin<T: std::fmt::Display>(
        tally: &Arc<Tally>,
        row: &Row,
        interface: Interface,
        function: &'static str,
        arguments: impl FnOnce() -> T,
    ) -> Self {
        let traced = tally.wants_calls(row.pid).then(|| {
            Box::new(Traced {
                tally: Arc::clone(tally),
                pid: row.pid,
                request: row.request().unwrap_or(0),
                function,
                arguments: shown(arguments()),
                begun: Instant::now(),
            })
        });
        Self { interface, traced }
    }

    /// The call returns, and has copied this many bytes.
    pub(super) fn returns<T: std::fmt::Display>(
        mut self,
        row: &Row,
        bytes: usize,
        result: impl FnOnce() -> T,
    ) {
        row.called(self.interface, bytes as u64);
        if let Some(traced) = self.traced.take() {
            traced.tell(Some(shown(result())), bytes as u64);
        }
    }
}

impl Traced {
    fn tell(self, result: Option<String>, bytes: u64) {
        let time = self.begun.elapsed();
        let Self {
            tally,
            pid,
            request,
            function,
            arguments,
            begun: _,
        } = self;
        tally.tell(Some(pid), || What::Called {
            request,
            function,
            arguments,
            result,
            bytes,
            time,
        });
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        if let Some(traced) = self.traced.take() {
            traced.tell(None, 0);
        }
    }
}

/// A value as its `Debug` shows it, made no further than it is shown.
pub(super) struct ByDebug<T>(pub(super) T);

impl<T: std::fmt::Debug> std::fmt::Display for ByDebug<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn shown(value: impl std::fmt::Display) -> String {
    text::formatted(SHOWN_BYTES, format_args!("{value}"))
}
