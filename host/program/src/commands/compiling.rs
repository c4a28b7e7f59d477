//! Reports that a module is being compiled, because large modules take long: on a terminal by a
//! line that counts the seconds, elsewhere by a line or an entry of the log.

use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use wasm_pool_host::Module;

use crate::cli::{LogFormat, LogLevel};

/// A faster compilation is not reported.
const MOMENT: Duration = Duration::from_millis(500);

/// How often the line on a terminal is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Where the compilation is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// On standard error.
    Plainly,
    /// In the log: standard error must be JSON only.
    InTheLog,
    Never,
}

impl Said {
    pub(super) fn by(format: LogFormat, level: LogLevel) -> Self {
        match (level, format) {
            (LogLevel::Off | LogLevel::Error, _) => Self::Never,
            (LogLevel::Warn | LogLevel::Info | LogLevel::Debug, LogFormat::Json) => Self::InTheLog,
            (LogLevel::Warn | LogLevel::Info | LogLevel::Debug, LogFormat::Text) => Self::Plainly,
        }
    }
}

/// Waits for the compilation, and reports it if it takes longer than a moment.
pub(super) async fn announced<T>(
    module: &Module,
    said: Said,
    compiling: impl Future<Output = T>,
) -> T {
    let mut compiling = pin!(compiling);
    tokio::select! {
        done = compiling.as_mut() => return done,
        () = tokio::time::sleep(MOMENT) => {}
    }
    match said {
        Said::Plainly if std::io::stderr().is_terminal() => {
            let line = Line::new(module);
            let done = compiling.await;
            drop(line);
            return done;
        }
        Said::Plainly => {
            // The output may have no reader. This is no reason to fail.
            let _ = writeln!(std::io::stderr(), "wasm-pool-host: compiling {module} …");
        }
        Said::InTheLog => tracing::info!(%module, "compiling"),
        Said::Never => {}
    }
    compiling.await
}

/// A line on a terminal, which is gone when this is dropped.
struct Line(ProgressBar);

impl Line {
    fn new(module: &Module) -> Self {
        let style = ProgressStyle::with_template("wasm-pool-host: compiling {msg} … {elapsed}");
        let line = ProgressBar::new_spinner().with_message(module.to_string());
        // What began a moment ago is counted from there.
        let line = line.with_elapsed(MOMENT);
        line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        line.enable_steady_tick(TICK);
        Self(line)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
