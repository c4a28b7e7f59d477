//! `hosts`: the hosts of a cluster, asked over NATS.

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use wasm_pool_host::Cluster;

use super::{ps, steer};
use crate::cli::{Hosts, refuse};
use crate::control::api::ClusterHost;

pub(crate) fn hosts(asked: &Hosts) -> anyhow::Result<ExitCode> {
    let settings = asked.settings().unwrap_or_else(|problem| refuse(&problem));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("can't start the runtime")?;
    let hosts = runtime.block_on(Cluster::ask_hosts(&settings));
    let hosts = hosts.map_err(|error| anyhow!("{error}"))?;
    let hosts: Vec<_> = hosts.into_iter().map(ClusterHost::from).collect();
    let text = match asked.json {
        true => serde_json::to_string_pretty(&hosts)? + "\n",
        false if hosts.is_empty() => {
            format!("no host of the cluster {} answers\n", settings.cluster)
        }
        false => ps::hosts(&hosts),
    };
    steer::say(&text)
}
