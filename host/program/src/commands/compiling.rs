//! Reports that a module is being compiled, because large modules take long: on a terminal by a
//! line that counts the seconds, elsewhere by a line or an entry of the log. A module whose code is
//! in the cache is not compiled, and nothing is reported.

use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::oneshot;
use wasm_pool_host::Module;

use crate::cli::{LogFormat, LogLevel};

/// How often the line on a terminal is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Where the compilation is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// On standard error.
    Plainly,
    /// In the log: standard error must be JSON only.
    InTheLog,
    Never,
}

/// Called when a compilation begins.
pub(super) struct Begins(oneshot::Sender<()>);

impl Begins {
    pub(super) fn now(self) {
        let _nobody = self.0.send(());
    }
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

/// Waits until the module is loaded. If it is compiled for this, reports it as soon as that begins.
pub(super) async fn announced<T, F: Future<Output = T>>(
    module: &Module,
    said: Said,
    load: impl FnOnce(Begins) -> F,
) -> T {
    let (begins, begun) = oneshot::channel();
    let mut loading = pin!(load(Begins(begins)));
    tokio::select! {
        biased;
        Ok(()) = begun => {}
        loaded = loading.as_mut() => return loaded,
    }
    match said {
        Said::Plainly if std::io::stderr().is_terminal() => {
            let line = Line::new(module);
            let loaded = loading.await;
            drop(line);
            return loaded;
        }
        Said::Plainly => {
            // The output may have no reader. This is no reason to fail.
            let _ = writeln!(std::io::stderr(), "wasm-pool-host: compiling {module} …");
        }
        Said::InTheLog => tracing::info!(%module, "compiling"),
        Said::Never => {}
    }
    loading.await
}

/// A line on a terminal, which is gone when this is dropped.
struct Line(ProgressBar);

impl Line {
    fn new(module: &Module) -> Self {
        let style = ProgressStyle::with_template("wasm-pool-host: compiling {msg} … {elapsed}");
        let line = ProgressBar::new_spinner().with_message(module.to_string());
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
