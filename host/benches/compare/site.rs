//! The *site*: the files that all servers serve, in a folder that all of them can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::load::Question;
use crate::native;

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

/// Dropped, the files are deleted.
pub(crate) struct Site {
    folder: TempDir,
    /// What is in the largest; the smaller ones begin like it.
    bytes: Vec<u8>,
}

impl Site {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = open_folder()?;
        // No two neighbours are alike, and the period is no power of two: a piece that is missing, or comes
        // twice, is seen.
        let bytes: Vec<u8> = (0..=250).cycle().take(Size::Mib100.bytes()).collect();
        for size in Size::ALL {
            fs::write(
                folder.path().join(&size.path()[1..]),
                &bytes[..size.bytes()],
            )?;
        }
        Ok(Self { folder, bytes })
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
}

/// What the ceiling answers, whatever it is asked for.
pub(crate) const CONSTANT: Question<'_> = Question {
    path: "/",
    body: &native::CONSTANT,
};

/// A temporary folder that servers may enter that run as somebody else.
pub(crate) fn open_folder() -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// A program of this name: on the path, where Debian keeps those of administrators, or among the peers that
/// `make compare` has built.
pub(crate) fn program(is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/bin");
    let folders = [built].into_iter().chain(std::env::split_paths(&path));
    let folders = folders.chain([PathBuf::from("/usr/sbin")]);
    let files = folders.flat_map(fs::read_dir).flatten().flatten();
    let mut found = files.filter(|file| file.file_name().to_str().is_some_and(&is_it));
    found.next().map(|file| file.path())
}
