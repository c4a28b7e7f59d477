//! *BEAM*, Erlang's virtual machine, whose processes have mailboxes since 1986: the measure of how
//! quick messages can be. Debian has it as `erlang-base`. Without it there are no ratios.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::ensure;
use tempfile::TempDir;

use crate::process::Running;

/// `roundtrip.erl`, compiled.
pub(crate) struct Beam {
    folder: TempDir,
    /// Such as `Erlang/OTP 25`.
    pub(crate) name: String,
}

impl Beam {
    /// Nothing where it is not installed.
    pub(crate) fn find() -> anyhow::Result<Option<Self>> {
        const NAME: &str =
            "io:format(\"Erlang/OTP ~s\", [erlang:system_info(otp_release)]), halt().";
        if !(is_there("erl") && is_there("erlc")) {
            return Ok(None);
        }
        let mut erl = Command::new("erl");
        erl.args(["-noshell", "-eval", NAME]);
        let name = Running::start("erl", erl)?.output()?.trim().to_owned();

        let folder = tempfile::tempdir()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/roundtrip.erl");
        let mut erlc = Command::new("erlc");
        erlc.arg("-Werror").arg("-o").arg(folder.path()).arg(source);
        let complaints = Running::start("erlc", erlc)?.output()?;
        ensure!(complaints.is_empty(), "erlc: {complaints}");
        Ok(Some(Self { folder, name }))
    }

    /// What `examples/pingpong` prints, as far as BEAM has the same.
    pub(crate) fn pingpong(&self, batches: &str) -> anyhow::Result<String> {
        let mut erl = Command::new("erl");
        erl.args(["-noshell", "-pa"]).arg(self.folder.path());
        erl.args(["-run", "roundtrip", "main", batches]);
        Running::start("erl", erl)?.output()
    }
}

/// Whether there is such a command. It is asked for something that it doesn't know, and ends at
/// once.
fn is_there(command: &str) -> bool {
    let mut command = Command::new(command);
    command.args(["-noshell", "-eval", "halt()."]);
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    quiet.stderr(Stdio::null()).status().is_ok()
}
