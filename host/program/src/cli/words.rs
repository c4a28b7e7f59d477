//! The *words* that stand without a flag: a path, which is a folder to serve or a module, and a
//! command that was mistyped.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::error::ContextKind;
use clap::{Args, CommandFactory, Parser};

use super::Command;

/// What `--module` says where the module is pushed. A file of this name is `./cluster`.
pub(super) const CLUSTER: &str = "cluster";

/// What is served, as it was given.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// A folder is what `--root` gives, a file is what `--module` gives
    #[arg(value_name = "PATH")]
    place: Option<PathBuf>,

    /// The worker: a component, binary or text (.wat). `cluster` is what `push` has brought to the
    /// hosts of --nats [default: the built-in static file server]
    #[arg(long, value_name = "FILE|cluster")]
    pub(crate) module: Option<PathBuf>,
}

impl Place {
    /// Whether the module is what is pushed.
    pub(super) fn is_pushed(&self) -> bool {
        let module = self.module.as_deref();
        module.is_some_and(|module| module.as_os_str() == CLUSTER)
    }

    /// Makes the path what it is: the module, or the root.
    ///
    /// # Errors
    /// A sentence that names the path: nothing is there, or a flag says otherwise.
    pub(super) fn settle(&mut self, root: &mut Option<PathBuf>) -> Result<(), String> {
        let Some(path) = self.place.take() else {
            return Ok(());
        };
        let metadata = path.metadata().map_err(|error| missing(&path, &error))?;
        let (place, what, flag) = if metadata.is_dir() {
            (root, "a folder", "--root")
        } else {
            (&mut self.module, "a file", "--module")
        };
        if let Some(other) = place {
            return Err(format!(
                "{}: this is {what}, and {flag} {} gives another: give one of the two",
                path.display(),
                other.display()
            ));
        }
        *place = Some(path);
        Ok(())
    }
}

fn missing(path: &Path, error: &std::io::Error) -> String {
    let is_command = path.to_str().is_some_and(|word| {
        Commands::command()
            .get_subcommands()
            .any(|command| command.get_name() == word)
    });
    let path = path.display();
    if error.kind() != ErrorKind::NotFound {
        format!("{path}: {error}")
    } else if is_command {
        format!("{path}: no such file or folder; as a command it stands before all flags")
    } else {
        format!("{path}: no such file or folder")
    }
}

/// The commands without what may stand in their place.
#[derive(Debug, Parser)]
#[command(name = "wasm-pool-host")]
struct Commands {
    #[command(subcommand)]
    _command: Command,
}

/// Says which command was meant, where the first word is nearly one and nothing of that name is
/// there to be served.
pub(super) fn mistyped(word: Option<OsString>) -> Option<clap::Error> {
    let word = word.filter(|word| !word.as_encoded_bytes().starts_with(b"-"))?;
    if Path::new(&word).symlink_metadata().is_ok() {
        return None;
    }
    let error = Commands::try_parse_from(["wasm-pool-host".into(), word]).err()?;
    let is_near = error.get(ContextKind::SuggestedSubcommand).is_some();
    is_near.then_some(error)
}
