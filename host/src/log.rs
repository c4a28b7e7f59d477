//! The log: lines on standard error, written by a thread of its own, so that a terminal that does not read
//! holds up no request. If it falls far behind, lines are dropped rather than memory filled.

use std::io;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{LogFormat, LogLevel};

/// Lines that wait to be written; beyond, they are dropped. At 200 bytes each that is some 6 MiB, and no line
/// has more than 4 KiB of what guests and clients choose, which is 128 MiB where all of them are hostile.
const WAITING_LINES: usize = 32 << 10;

/// A running log. Dropping it writes what is left, and says how much is missing.
pub(crate) struct Log {
    lines: Option<WorkerGuard>,
    dropped: ErrorCounter,
}

impl Drop for Log {
    fn drop(&mut self) {
        drop(self.lines.take());
        match self.dropped.dropped_lines() {
            0 => {}
            lines => {
                eprintln!("wasm-pool-host: the log could not keep up: {lines} lines are missing")
            }
        }
    }
}

/// Starts the log.
pub(crate) fn start(format: LogFormat, level: LogLevel) -> Log {
    let (writer, guard): (NonBlocking, _) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(io::stderr());
    let dropped = writer.error_counter();
    let ours = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // What our dependencies have to say is for them, unless something is wrong.
    let theirs = ours.min(LevelFilter::WARN);
    let filter = Targets::new()
        .with_default(theirs)
        .with_target("wasm_pool_host", ours);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_writer(writer);
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
    Log {
        lines: Some(guard),
        dropped,
    }
}
