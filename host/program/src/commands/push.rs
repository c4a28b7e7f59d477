//! `push`: brings a module to the hosts of a cluster that follow it, and says how far it has come.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use bytesize::ByteSize;
use wasm_pool_host::{self as library, Cluster, Module, Push, PushEnd, PushEvent};

use super::printable::printable;
use super::steer;
use crate::cli::{self, refuse};

pub(crate) fn push(asked: &cli::Push) -> anyhow::Result<ExitCode> {
    let settings = asked.settings().unwrap_or_else(|problem| refuse(&problem));
    let file = asked.module.display();
    // What runs nowhere is refused here. Each host has its own limit of memory.
    let report = library::check(&Module::File(asked.module.clone()), u64::MAX)?;
    if let Some(obstacle) = report.obstacle {
        bail!("{file} does not run on any host: {obstacle}");
    }
    let module = std::fs::read(&asked.module).with_context(|| format!("{file}: can't be read"))?;
    let (cluster, pool) = (&settings.cluster, &asked.pool);
    let size = ByteSize::b(module.len() as u64);
    let push = Push {
        pool: pool.clone(),
        module: module.into(),
        at_once: asked.at_once,
    };
    let tell = |event| {
        say(&match event {
            PushEvent::Stored(digest) => {
                format!("stored {digest} ({size}) for pool {pool} of cluster {cluster}")
            }
            PushEvent::NotRemoved(why) => format!(
                "older modules could not be removed, which the next push tries again: {}",
                printable(&why)
            ),
            PushEvent::Swapping(host, name) => {
                format!("host {}: loads it", host_name(host, &name))
            }
            PushEvent::Serving(host, name) => {
                format!("host {}: serves it", host_name(host, &name))
            }
            PushEvent::Gone(host, name) => {
                format!(
                    "host {}: follows no more: it stops, was drained, or is lost",
                    host_name(host, &name)
                )
            }
        });
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("can't start the runtime")?;
    let end = runtime.block_on(Cluster::push(&settings, push, tell));
    match end.map_err(|error| anyhow!("{error}"))? {
        PushEnd::Done(0) => steer::say(
            "no host serves what is pushed for this pool at present; hosts that start with --module \
             cluster do\n",
        ),
        PushEnd::Done(hosts) => steer::say(&format!("done: {hosts} serve it\n")),
        PushEnd::Deserted { is_tried: true } => bail!(
            "no host follows any more; a first host had served it, so hosts that start with --module \
             cluster do too"
        ),
        PushEnd::Deserted { is_tried: false } => bail!(
            "no host follows any more, and none has served it to the end of its trial; hosts that start \
             with --module cluster serve the module before, and then try this one"
        ),
        PushEnd::Superseded => bail!("another module was pushed meanwhile"),
        PushEnd::Stopped {
            host,
            name,
            why,
            serving,
        } => bail!(
            "stopped: host {} can't use it: {}; {serving} serve it, and the others go on with what \
             they had",
            host_name(host, &name),
            printable(&why)
        ),
    }
}

/// The number, and the name if it is known.
fn host_name(host: u32, name: &str) -> String {
    match name {
        "" => host.to_string(),
        name => format!("{host} ({})", printable(name)),
    }
}

/// Prints a line at once. Whoever reads may have seen enough: the hosts go on.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _unread = writeln!(out, "{line}").and_then(|()| out.flush());
}
