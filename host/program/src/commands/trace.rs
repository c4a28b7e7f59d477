//! `trace`: each request of a process and each call of its guest's, as they happen: an strace for
//! processes.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::printable::printable;
use crate::cli::{Pid, Trace};
use crate::control::client::Wanted;
use crate::control::events::{Ended, Event, Query, What};

pub(super) async fn trace(asked: Trace) -> anyhow::Result<ExitCode> {
    let query = Query {
        pool: asked.traced.pool,
        pid: asked.traced.pid.map(|Pid(pid)| pid),
        calls: true,
    };
    let mut told = Wanted(asked.which.host).find()?.events(&query).await?;
    let time = asked.time.unwrap_or(Duration::MAX);
    let mut over = std::pin::pin!(tokio::time::sleep(time));
    loop {
        let event = tokio::select! {
            event = told.next() => event?,
            () = &mut over => return Ok(ExitCode::SUCCESS),
        };
        let Some(event) = event else {
            eprintln!("the host has ended");
            return Ok(ExitCode::SUCCESS);
        };
        let is_last = query.pid.is_some() && matches!(event.what, What::Ended(_));
        let line = match asked.json {
            true => event.line(),
            false => line(&event),
        };
        let mut out = io::stdout().lock();
        match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::SUCCESS);
            }
            written => written?,
        }
        if is_last {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// An event as a person reads it.
fn line(event: &Event) -> String {
    let text = match &event.what {
        What::Started => "starts".to_owned(),
        What::Ended(ended) => end(ended),
        What::Failed {
            request, reason, ..
        } => format!("request {request}: fails: {reason}"),
        What::Began { request, asked } => format!("request {request}: {asked}"),
        What::Answered {
            request,
            status,
            us,
        } => format!("request {request}: {status} <{us} us>"),
        What::Called {
            function,
            arguments,
            result,
            us,
            ..
        } => {
            let result = result.as_deref().unwrap_or("?");
            format!("{function}({arguments}) = {result} <{us} us>")
        }
        What::Lost { events } => format!("{events} events came too fast, and are lost"),
    };
    let text = printable(&text);
    let pid = event.pid.map(|pid| format!("[{}] ", Pid(pid)));
    let pid = pid.unwrap_or_default();
    format!("{} {pid}{text}\n", time_of_day(event))
}

fn end(ended: &Ended) -> String {
    let reason = ended.reason.as_deref().map(|reason| format!(": {reason}"));
    format!("ends: {}{}", ended.exit, reason.unwrap_or_default())
}

/// The time in UTC, as the log has it, without the day.
fn time_of_day(event: &Event) -> String {
    let (seconds, us) = (event.at_us / 1_000_000, event.at_us % 1_000_000);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{us:06}", seconds % 60)
}
