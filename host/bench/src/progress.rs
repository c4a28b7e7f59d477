//! The *progress* of a measurement, on standard error: a bar on a terminal, elsewhere a line for
//! each turn.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The progress of a measurement. Clones belong to the same measurement.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    is_shown: bool,
}

impl Progress {
    /// A measurement with this many turns.
    pub(crate) fn of(turns: usize) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {eta:>4} left  {msg}");
        let style = style.context("the progress bar's form")?;
        let target = ProgressDrawTarget::stderr(); // hidden if standard error is not a terminal
        Ok(Self {
            bar: ProgressBar::with_draw_target(Some(turns as u64), target).with_style(style),
            is_shown: std::io::stderr().is_terminal(),
        })
    }

    /// Begins the next turn.
    pub(crate) fn turn(&self, what: &str) {
        self.bar.inc(1);
        self.bar.set_message(what.to_owned());
        if !self.is_shown {
            let (at, turns) = (self.bar.position(), self.bar.length().unwrap_or_default());
            // Standard error may be closed. Only the figures matter.
            let _ = writeln!(std::io::stderr(), "bench: {at} of {turns}: {what}");
        }
    }

    /// Removes the bar from a terminal.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
