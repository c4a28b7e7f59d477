//! The commands that ask something of a running host, over its control socket.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::cli::{Kill, Pid, Steer, WhichHost};
use crate::commands::{drill, ps, top, trace};
use crate::control::api;
use crate::control::client::{Remote, Wanted};

pub(crate) fn steer(asked: Steer) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("can't start the runtime")?;
    runtime.block_on(ask(asked))
}

/// Prints an answer as it is.
pub(super) fn say(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("can't write the answer"),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

async fn ask(asked: Steer) -> anyhow::Result<ExitCode> {
    let text = match asked {
        Steer::Top(asked) => {
            top::top(&find(&asked.which)?, asked.every, asked.sort).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Steer::Drill(asked) => return drill::drill(asked).await,
        Steer::Trace(asked) => return trace::trace(asked).await,
        Steer::Ps(asked) => {
            let mut processes = find(&asked.which)?.processes().await?;
            ps::sort(&mut processes, asked.sort);
            match (asked.json, asked.tree) {
                (true, _) => serde_json::to_string_pretty(&processes)? + "\n",
                (false, true) => ps::table(&ps::tree(processes)),
                (false, false) => ps::table(&ps::flat(processes)),
            }
        }
        Steer::Status { json, which } => {
            let status = find(&which)?.status().await?;
            match json {
                true => serde_json::to_string_pretty(&status)? + "\n",
                false => ps::status(&status),
            }
        }
        Steer::Kill(asked) => kill(asked).await?,
        Steer::Scale {
            pool,
            workers,
            which,
        } => {
            let (min, max) = workers.bounds();
            find(&which)?
                .scale(&pool, api::Workers { min, max })
                .await?;
            format!("pool {pool} has {min} to {max} processes from now on\n")
        }
        Steer::Reload { pool, which } => {
            let host = find(&which)?;
            if let Some(pool) = pool {
                let reloaded = host.reload(&pool).await;
                reloaded.context("nothing has changed")?;
                return say(&format!("loaded again: {pool}\n"));
            }
            let reloaded = host.reload_all().await;
            let fixed = reloaded.context("nothing has changed")?.needs_a_new_start;
            let pools = host.status().await?.pools.into_iter();
            let pools: Vec<_> = pools.map(|pool| pool.name).collect();
            let mut text = format!("loaded again: {}\n", pools.join(", "));
            if !fixed.is_empty() {
                text += &format!("these need a new start: {}\n", fixed.join(", "));
            }
            text
        }
        Steer::Drain { pool, which } => {
            find(&which)?.drain(pool.as_deref()).await?;
            match pool {
                Some(pool) => format!("pool {pool} takes no requests, and has none left\n"),
                None => "no pool takes requests, and none is left\n".to_owned(),
            }
        }
        Steer::LogLevel { level, which } => {
            let level = level.to_possible_value();
            let level = level
                .map(|level| level.get_name().to_owned())
                .unwrap_or_default();
            find(&which)?.set_level(&level).await?;
            format!("the log's level is {level} from now on\n")
        }
        Steer::Stop { grace, which } => {
            find(&which)?.stop(grace).await?;
            "the host is stopping\n".to_owned()
        }
    };
    say(&text)
}

async fn kill(asked: Kill) -> anyhow::Result<String> {
    let host = find(&asked.which)?;
    let way = match asked.trap {
        true => api::Way::Trap,
        false => api::Way::Plain,
    };
    let pids = match (asked.victims.pid, asked.victims.running_over) {
        (Some(Pid(pid)), _) => {
            host.kill(pid, way).await?;
            vec![pid]
        }
        (None, Some(time)) => {
            let processes = host.processes().await?.into_iter();
            let late = processes.filter(|process| {
                process
                    .request_ms
                    .is_some_and(|ms| u128::from(ms) > time.as_millis())
            });
            let mut killed = Vec::new();
            for process in late {
                // One that has ended meanwhile needs no killing.
                if host.kill(process.pid, way).await.is_ok() {
                    killed.push(process.pid);
                }
            }
            killed
        }
        (None, None) => bail!("give a pid, or --running-over"),
    };
    let pids: Vec<_> = pids.iter().map(|pid| Pid(*pid).to_string()).collect();
    Ok(match &*pids {
        [] => "no process was killed\n".to_owned(),
        pids => format!("killed: {}\n", pids.join(", ")),
    })
}

fn find(which: &WhichHost) -> anyhow::Result<Remote> {
    Wanted(which.host.clone()).find()
}
