//! `generate`: what is installed beside the program, and says the same as `--help`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// What is generated.
#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// Write the manual into a folder: a page for each command
    Man {
        /// The folder. It is made if nothing is there; pages that are there are overwritten
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },

    /// Print what has a shell complete commands, flags and values
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// Shells with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}
