//! The log: lines on standard error or in a file, written by a thread of its own. So a terminal
//! that does not read holds up no request, and not the end. If the thread falls far behind, lines
//! are dropped, so that memory stays bounded.
//!
//! What goes into the log can change while it is written. The places that log ask once, and again
//! only after a change, so that this costs a request nothing.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tracing::subscriber::Interest;
use tracing::{Metadata, callsite};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::util::SubscriberInitExt;
use wasm_pool_host::GUEST_OUTPUT;
use wasm_pool_host::outlet::Outlet;

use crate::cli::{LogFormat, LogLevel};

/// The most bytes that wait to be written, escaped and formatted. Lines beyond are dropped. This is
/// some 40,000 lines of requests.
const WAITING_BYTES: usize = 8 << 20;

/// The most of these bytes for guests' output, so that the host's own lines always have room.
const WAITING_OUTPUT_BYTES: usize = WAITING_BYTES / 2;

/// How long the end waits for a reader that reads nothing, and for one that reads a little now and
/// then.
const STALLED: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);

/// A running log. Dropping it writes the remaining lines, as far as they are read, and says how
/// many are missing.
pub(crate) struct Log {
    outlet: Outlet,
    pub(crate) control: Control,
}

/// What can be changed about a running log.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    outlet: Outlet,
    file: Option<Arc<PathBuf>>,
    levels: Levels,
}

/// What goes into the log: a [`LogLevel`] as a number.
#[derive(Clone, Debug)]
struct Levels(Arc<AtomicU8>);

impl Drop for Log {
    fn drop(&mut self) {
        match self.outlet.lost_lines() {
            0 => {}
            lines => {
                let line = format!(
                    "wasm-pool-host: the log could not keep up: {lines} lines are missing\n"
                );
                self.outlet.push(line.as_bytes());
            }
        }
        let _unread = self.outlet.drain(STALLED, PATIENCE);
    }
}

/// Hands the formatter's lines to the outlet.
struct Writer(Outlet);

/// The lines of one event, and how much may wait before them.
struct Line<'a>(&'a Outlet, usize);

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0, WAITING_BYTES)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        match event.target() {
            GUEST_OUTPUT => Line(&self.0, WAITING_OUTPUT_BYTES),
            _ => self.make_writer(),
        }
    }
}

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.offer(line, self.1);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the log, on standard error if there is no file for it. The file may be opened long
/// before.
///
/// # Errors
/// If its thread can't be started.
pub(crate) fn start(
    format: LogFormat,
    level: LogLevel,
    file: Option<(PathBuf, File)>,
) -> anyhow::Result<Log> {
    let (file, outlet) = match file {
        Some((path, file)) => (Some(path), Outlet::start(file, "log", WAITING_BYTES)?),
        None => (None, Outlet::start(io::stderr(), "log", WAITING_BYTES)?),
    };
    let levels = Levels(Arc::new(AtomicU8::new(level as u8)));
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_writer(Writer(outlet.clone()));
    let lines = match format {
        LogFormat::Text => lines
            .with_ansi(file.is_none() && io::IsTerminal::is_terminal(&io::stderr()))
            .boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(levels.clone()))
        .init();
    let control = Control {
        outlet: outlet.clone(),
        file: file.map(Arc::new),
        levels,
    };
    Ok(Log { outlet, control })
}

/// Opens a log's file. What stands there stays.
///
/// # Errors
/// If it can't be opened.
pub(crate) fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("--log-file {}", path.display()))
}

impl Control {
    /// Sets what goes into the log from now on.
    pub(crate) fn set_level(&self, level: LogLevel) {
        self.levels.0.store(level as u8, Ordering::Relaxed);
        callsite::rebuild_interest_cache();
    }

    /// Opens the log's file anew: it may have been renamed, so that a new one takes its place.
    /// Returns whether the log has a file.
    ///
    /// # Errors
    /// If the file can't be opened. The log goes on where it was.
    pub(crate) fn reopen(&self) -> anyhow::Result<bool> {
        let Some(path) = &self.file else {
            return Ok(false);
        };
        self.outlet.redirect(open(path)?)?;
        Ok(true)
    }
}

impl Levels {
    /// The most detailed lines of the host's own.
    fn ours(&self) -> LevelFilter {
        let is = |level: LogLevel| level as u8 == self.0.load(Ordering::Relaxed);
        match () {
            () if is(LogLevel::Off) => LevelFilter::OFF,
            () if is(LogLevel::Error) => LevelFilter::ERROR,
            () if is(LogLevel::Warn) => LevelFilter::WARN,
            () if is(LogLevel::Info) => LevelFilter::INFO,
            () => LevelFilter::DEBUG,
        }
    }

    fn lets_pass(&self, line: &Metadata<'_>) -> bool {
        // Lines of dependencies name no client and no process, and clients and guests can cause any
        // number of them.
        line.target().starts_with("wasm_pool_host") && *line.level() <= self.ours()
    }
}

impl<S> Filter<S> for Levels {
    fn enabled(&self, line: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.lets_pass(line)
    }

    fn callsite_enabled(&self, line: &'static Metadata<'static>) -> Interest {
        match self.lets_pass(line) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.ours())
    }
}
