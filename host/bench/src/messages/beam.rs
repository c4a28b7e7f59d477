//! *BEAM*, Erlang's virtual machine. Its processes have had mailboxes since 1986, so it is the
//! reference for fast messages. On Debian it is in the package `erlang-base`. Without it there are
//! no ratios.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use tempfile::TempDir;

use crate::process::Running;

/// The compiled `roundtrip.erl`.
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
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/roundtrip.erl");
        let mut erlc = Command::new("erlc");
        erlc.arg("-Werror").arg("-o").arg(folder.path()).arg(source);
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
