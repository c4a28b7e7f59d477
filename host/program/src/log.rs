//! The log: lines on standard error, written by a thread of its own. So a terminal that does not
//! read holds up no request, and not the end. If the thread falls far behind, lines are dropped, so
//! that memory stays bounded.

use std::io;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
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
pub(crate) struct Log(Outlet);

impl Drop for Log {
    fn drop(&mut self) {
        match self.0.lost_lines() {
            0 => {}
            lines => {
                let line = format!(
                    "wasm-pool-host: the log could not keep up: {lines} lines are missing\n"
                );
                self.0.push(line.as_bytes());
            }
        }
        let _unread = self.0.drain(STALLED, PATIENCE);
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

/// Starts the log.
///
/// # Errors
/// If its thread can't be started.
pub(crate) fn start(format: LogFormat, level: LogLevel) -> io::Result<Log> {
    let outlet = Outlet::start(io::stderr(), "log", WAITING_BYTES)?;
    let ours = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Log entries of dependencies are hidden, unless something is wrong.
    let theirs = ours.min(LevelFilter::WARN);
    let filter = Targets::new()
        .with_default(theirs)
        // It warns of failures that guests can cause at will, and that guests are told.
        .with_target("wasmtime_wasi_http", LevelFilter::OFF)
        .with_target("wasm_pool_host", ours);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_writer(Writer(outlet.clone()));
    let lines = match format {
        LogFormat::Text => lines
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
    Ok(Log(outlet))
}
