//! The *site*: the files that all servers serve, in a folder that all of them can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use wasm_pool_guest_build::workspace;

use crate::load::Question;
use crate::native;
use crate::server::{self, Server};

/// How large a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Size {
    Kib1,
    Kib64,
    Mib1,
    Mib100,
}

impl Size {
    pub(crate) const ALL: [Self; 4] = [Self::Kib1, Self::Kib64, Self::Mib1, Self::Mib100];

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Kib1 => 1 << 10,
            Self::Kib64 => 64 << 10,
            Self::Mib1 => 1 << 20,
            Self::Mib100 => 100 << 20,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kib1 => "1 KiB",
            Self::Kib64 => "64 KiB",
            Self::Mib1 => "1 MiB",
            Self::Mib100 => "100 MiB",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Kib1 => "/1KiB",
            Self::Kib64 => "/64KiB",
            Self::Mib1 => "/1MiB",
            Self::Mib100 => "/100MiB",
        }
    }
}

/// A folder with a file of each size, which is deleted with this, and the host that can serve it.
pub(crate) struct Site {
    program: PathBuf,
    folder: TempDir,
    /// The content of the largest file. The others begin like it.
    bytes: Vec<u8>,
}

impl Site {
    pub(crate) fn new(program: &Path) -> anyhow::Result<Self> {
        let folder = open_folder()?;
        // No two neighbours are alike, and the period is no power of two, so that a piece is seen
        // which is missing or comes twice.
        let bytes: Vec<u8> = (0..=250).cycle().take(Size::Mib100.bytes()).collect();
        for size in Size::ALL {
            fs::write(
                folder.path().join(&size.path()[1..]),
                &bytes[..size.bytes()],
            )?;
        }
        Ok(Self {
            program: program.to_owned(),
            folder,
            bytes,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, size: Size) -> Question<'_> {
        Question {
            path: size.path(),
            body: &self.bytes[..size.bytes()],
        }
    }

    /// The host over this folder, all limits on, except that it is silent about single requests.
    pub(crate) fn host(&self, flags: &[&str]) -> anyhow::Result<Server> {
        let mut command = server::host(&self.program);
        command.arg("--root").arg(self.root()).args(flags);
        Server::start("the host", command)
    }
}

/// What the ceiling answers to every request.
pub(crate) const CONSTANT: Question<'_> = Question {
    path: "/",
    body: &native::CONSTANT,
};

/// A temporary folder that servers of other users can enter.
pub(crate) fn open_folder() -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// A program of this name: among the peers that `make compare` has built, on the path, or where
/// Debian keeps the programs of administrators.
pub(crate) fn program(is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let built = workspace().join("target/peers/bin");
    let folders = [built].into_iter().chain(std::env::split_paths(&path));
    let folders = folders.chain([PathBuf::from("/usr/sbin")]);
    let files = folders.flat_map(fs::read_dir).flatten().flatten();
    let mut found = files.filter(|file| file.file_name().to_str().is_some_and(&is_it));
    found.next().map(|file| file.path())
}
