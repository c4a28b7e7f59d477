//! *BEAM*, Erlang's virtual machine. Its processes have had mailboxes since 1986, so it is the
//! reference for fast messages. On Debian it is in the package `erlang-base`. Without it there are
//! no ratios.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use tempfile::TempDir;

use crate::process::Running;
use crate::server::{self, ended_with_us};

/// The address of all nodes: they are reached from this machine only.
const HOST: &str = "127.0.0.1";

/// The compiled programs of `host/bench/peers`.
pub(crate) struct Beam {
    folder: TempDir,
    /// Such as `Erlang/OTP 25`.
    pub(crate) name: String,
}

impl Beam {
    /// None if BEAM is not installed.
    pub(crate) fn find() -> anyhow::Result<Option<Self>> {
        const NAME: &str =
            "io:format(\"Erlang/OTP ~s\", [erlang:system_info(otp_release)]), halt().";
        let mut erl = Command::new("erl");
        erl.args(["-noshell", "-eval", NAME]);
        let folder = tempfile::tempdir()?;
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let mut erlc = Command::new("erlc");
        erlc.arg("-Werror").arg("-o").arg(folder.path());
        erlc.args(["roundtrip.erl", "nodes.erl"].map(|source| peers.join(source)));
        let running = (Running::start("erl", erl), Running::start("erlc", erlc));
        let (Ok(erl), Ok(erlc)) = running else {
            return Ok(None);
        };
        let name = erl.output()?.trim().to_owned();
        let complaints = erlc.output()?;
        ensure!(complaints.is_empty(), "erlc: {complaints}");
        Ok(Some(Self { folder, name }))
    }

    /// The same figures as `examples/pingpong` prints, as far as BEAM has the operations.
    pub(crate) fn pingpong(&self, batches: &str) -> anyhow::Result<String> {
        let mut erl = Command::new("erl");
        erl.args(["-noshell", "-pa"]).arg(self.folder.path());
        erl.args(["-run", "roundtrip", "main", batches]);
        Running::start("erl", erl)?.output()
    }
}

/// Nodes of BEAM that find each other, by a daemon of their own. Their cookie is in a folder of
/// their own, too.
pub(crate) struct Nodes<'a> {
    beam: &'a Beam,
    home: TempDir,
    daemon: Running,
    port: u16,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(beam: &'a Beam) -> anyhow::Result<Self> {
        let address = server::free_address()?;
        let port = address.port();
        let mut epmd = Command::new("epmd");
        epmd.args(["-address", HOST, "-port", &port.to_string()]);
        let daemon = Running::start("epmd", ended_with_us(epmd))?;
        server::wait_for(&daemon, address)?;
        Ok(Self {
            beam,
            home: tempfile::tempdir()?,
            daemon,
            port,
        })
    }

    pub(crate) fn daemon(&self) -> &Running {
        &self.daemon
    }

    /// The whole name of a node.
    pub(crate) fn address(name: &str) -> String {
        format!("{name}@{HOST}")
    }

    /// Starts a node that runs this function of `nodes.erl`. Returns once the node is ready.
    pub(crate) fn start(&self, name: &str, function: &[&str]) -> anyhow::Result<Running> {
        let mut erl = Command::new("erl");
        erl.env("HOME", self.home.path())
            .env("ERL_EPMD_PORT", self.port.to_string())
            .env("ERL_CRASH_DUMP_SECONDS", "0") // no dump
            .args(["-noshell", "-noinput", "-start_epmd", "false"])
            .args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}"])
            .args(["-name", &Self::address(name), "-pa"])
            .arg(self.beam.folder.path())
            .args(["-run", "nodes"])
            .args(function);
        let node = Running::start("erl", ended_with_us(erl))?;
        let said = node.line("it did not start")?;
        ensure!(said == "ready", "erl: it said {said:?}");
        Ok(node)
    }
}
