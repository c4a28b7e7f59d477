//! *Signals*: the first SIGINT or SIGTERM stops the program in order, the second ends it at once.
//! Other signals that would end it by default are ignored, and the log says so.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// Ignores what has no meaning here: a closed terminal, or a script that asks for logs to be
/// reopened, ends no server. Signals that are ignored already, as under `nohup`, stay as they are.
pub(crate) fn ignore_others() -> io::Result<()> {
    let ignored = ignored();
    for (name, kind) in [
        ("SIGHUP", SignalKind::hangup()),
        ("SIGUSR1", SignalKind::user_defined1()),
        ("SIGUSR2", SignalKind::user_defined2()),
    ] {
        let bit = 1 << (kind.as_raw_value() - 1);
        if ignored & bit == 0 {
            let mut signals = signal(kind)?;
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    tracing::warn!(signal = name, "signal ignored");
                }
            });
        }
    }
    Ok(())
}

/// The signals that this program's parent has it ignore: one bit per signal, from signal 1 on.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0)
}
