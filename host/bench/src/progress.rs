//! The *progress* of a measurement, on standard error: a bar on a terminal, elsewhere a line for
//! each turn.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

/// How far a measurement has come. Clones belong to the same measurement.
#[derive(Clone)]
pub(crate) struct Progress {
    turns: usize,
    begun: Arc<AtomicUsize>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A measurement of so many turns.
    pub(crate) fn of(turns: usize) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {eta:>4} left  {msg}");
        let style = style.context("the progress bar's form")?;
        let is_terminal = std::io::stderr().is_terminal();
        let bar = is_terminal.then(|| ProgressBar::new(turns as u64).with_style(style));
        Ok(Self {
            turns,
            begun: Arc::default(),
            bar,
        })
    }

    /// Begins the next turn.
    pub(crate) fn turn(&self, what: &str) {
        let before = self.begun.fetch_add(1, Ordering::Relaxed);
        match &self.bar {
            Some(bar) => {
                bar.set_position(before as u64);
                bar.set_message(what.to_owned());
            }
            None => {
                let (at, turns) = (before + 1, self.turns);
                // Nobody may read the line. The figures count.
                let _ = writeln!(std::io::stderr(), "bench: {at} of {turns}: {what}");
            }
        }
    }

    /// Removes the bar from a terminal.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
