//! `run`: runs a program by itself, without HTTP. The root process's exit is the exit code.

use std::io;
use std::process::ExitCode;

use wasm_pool_host::{Exit, Loaded, Program, RunError, descriptors};

use super::compiling::{Said, announced};
use super::{explained, runtime};
use crate::cli::{Run, refuse};
use crate::{log, signals};

/// The codes of `timeout` and shells for a program that ran out of time, aborted or was killed.
const TIMED_OUT: u8 = 124;
const ABORTED: u8 = 128 + 6;
const KILLED: u8 = 128 + 9;

/// Their code for a program whose reader has gone, as `head` does.
const READER_GONE: u8 = 128 + 13;

pub(crate) fn run(args: Run) -> anyhow::Result<ExitCode> {
    descriptors::raise();
    let settings = args.settings().unwrap_or_else(|problem| refuse(&problem));
    let module = settings.module.clone();
    let said = Said::by(args.log_format, args.log_level);
    let runtime = runtime()?;
    let log = log::start(args.log_format, args.log_level, None)?;
    let mut signal = None;
    let outcome = runtime.block_on(async {
        let mut stop = std::pin::pin!(signals::stop()?);
        signals::ignore_others()?;
        let program = tokio::select! {
            biased;
            stopped = stop.as_mut() => {
                signal = stopped;
                return Ok(None);
            }
            loaded = announced(&module, said, |begins| {
                Loaded::telling(settings, || begins.now())
            }) => loaded.and_then(Program::try_from).map_err(explained)?,
        };
        let stop = async { signal = stop.await };
        match program.run(args.args, stop).await {
            Ok(exit) => Ok(exit),
            Err(RunError::Start(error)) => Err(explained(error)),
            Err(RunError::Output(error)) => Err(error.into()),
        }
    });
    // While the runtime lives, so that a second signal still ends it all.
    drop(log);
    runtime.shutdown_background();
    if let Err(error) = &outcome
        && let Some(error) = error.downcast_ref::<io::Error>()
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        return Ok(READER_GONE.into());
    }
    let code = match outcome? {
        Some(Exit::Normal) => 0,
        Some(Exit::Code(code)) => u8::try_from(code).unwrap_or(u8::MAX),
        Some(Exit::Deadline) => TIMED_OUT,
        Some(Exit::Trap | Exit::Stack | Exit::Memory | Exit::Response) => ABORTED,
        Some(
            Exit::Killed
            | Exit::ClientLeft
            | Exit::Served
            | Exit::Grown
            | Exit::Idle
            | Exit::Stopped
            | Exit::HostLost,
        ) => KILLED,
        None => signal.map_or(KILLED, signals::exit_code),
    };
    Ok(code.into())
}
