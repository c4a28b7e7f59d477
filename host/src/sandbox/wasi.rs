//! What a guest finds when it looks around with *WASI*: clocks, random numbers, output, arguments
//! and variables. Also the root folder, if the user says so. Never a socket.

use wasmtime_wasi::cli::StdoutStream;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use super::state::Common;
use crate::rate::Rate;

/// The most random bytes that one call returns. The host allocates them.
const RANDOM_BYTES: u64 = 1 << 20;

/// The context of one process, with these arguments or the environment's.
pub(super) fn context(common: &Common, args: Option<&[String]>) -> WasiCtxBuilder {
    let environment = &common.settings.environment;
    let mut wasi = WasiCtx::builder();
    let args = args.unwrap_or(&environment.args);
    // A command has a name. The others have arguments only if somebody gives them some.
    if common.kind.is_command() || !args.is_empty() {
        wasi.arg(&common.name).args(args);
    }
    wasi.envs(&environment.variables)
        .max_random_size(RANDOM_BYTES)
        // `wasi:sockets` would be a way around the list of servers that guests may ask.
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if environment.wasi_root {
        add_root(&mut wasi, common);
    }
    wasi
}

/// Gives a context its output.
pub(super) fn print_to<O: StdoutStream + 'static>(wasi: &mut WasiCtxBuilder, streams: (O, O)) {
    let (stdout, stderr) = streams;
    wasi.stdout(stdout).stderr(stderr);
}

/// Opens the root folder for one process. A folder that is gone is no folder for the guest either.
fn add_root(wasi: &mut WasiCtxBuilder, common: &Common) {
    static UNOPENED: Rate = Rate::new();
    let path = common.root_folder.path();
    if let Err(error) = wasi.preopened_dir(path, "/", FsPerms::ReadOnly)
        && let Some(skipped) = UNOPENED.admit()
    {
        let skipped = (skipped > 0).then_some(skipped);
        tracing::warn!(root = %path.display(), %error, skipped, "a process lacks the root folder");
    }
}
