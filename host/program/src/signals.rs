//! *Signals*: the first SIGINT or SIGTERM stops the program in order, the second ends it at once.
//! SIGHUP loads modules again, SIGUSR1 opens the log's file anew. What means nothing is ignored,
//! and the log says so.

use std::convert::Infallible;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Completes at the first SIGINT or SIGTERM; the second ends the program at once.
pub(crate) fn stop() -> io::Result<impl Future<Output = Option<SignalKind>>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let kind = either(&mut interrupt, &mut terminate).await;
        let _nobody = stop.send(kind);
        let kind = either(&mut interrupt, &mut terminate).await;
        std::process::exit(exit_code(kind).into());
    });
    Ok(async move { stopped.await.ok() })
}

/// The exit code that a shell reports for a program ended by this signal.
pub(crate) fn exit_code(kind: SignalKind) -> u8 {
    const ENDED_BY_SIGNAL: i32 = 128;
    u8::try_from(ENDED_BY_SIGNAL + kind.as_raw_value()).unwrap_or(u8::MAX)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    }
}

/// The signals that end a program by default, and mean something else to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    Hangup,
    User1,
    User2,
}

impl Other {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::User1 => "SIGUSR1",
            Self::User2 => "SIGUSR2",
        }
    }
}

/// Ignores what has no meaning here: a closed terminal, or a script that asks for logs to be
/// reopened, ends no program. The log says so.
pub(crate) fn ignore_others() -> io::Result<()> {
    let mut others = others()?;
    tokio::spawn(async move { match ignore(&mut others).await {} });
    Ok(())
}

/// Ignores these signals for as long as this is polled.
pub(crate) async fn ignore(others: &mut mpsc::Receiver<Other>) -> Infallible {
    while let Some(signal) = others.recv().await {
        ignored(signal);
    }
    std::future::pending().await
}

/// Says that a signal has no effect.
pub(crate) fn ignored(signal: Other) {
    tracing::warn!(signal = signal.name(), "signal ignored");
}

/// Those signals from now on. What is ignored already, as under `nohup`, stays so.
pub(crate) fn others() -> io::Result<mpsc::Receiver<Other>> {
    let already = already_ignored();
    let (sender, receiver) = mpsc::channel(1);
    for (other, kind) in [
        (Other::Hangup, SignalKind::hangup()),
        (Other::User1, SignalKind::user_defined1()),
        (Other::User2, SignalKind::user_defined2()),
    ] {
        let bit = 1 << (kind.as_raw_value() - 1);
        if already & bit == 0 {
            let mut signals = signal(kind)?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if sender.send(other).await.is_err() {
                        return;
                    }
                }
            });
        }
    }
    Ok(receiver)
}

/// The signals that this program's parent has it ignore: one bit per signal, from signal 1 on.
fn already_ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0)
}
