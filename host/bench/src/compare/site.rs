//! The *site*: the files that all servers serve, in a folder that all of them can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use wasm_pool_native::http;

use crate::load::{Load, Question};
use crate::results::Turn;
use crate::server::{self, Server};

/// How large a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) bytes: usize,
}

pub(crate) const KIB_1: Size = Size {
    name: "1 KiB",
    path: "/1KiB",
    bytes: 1 << 10,
};
pub(crate) const KIB_64: Size = Size {
    name: "64 KiB",
    path: "/64KiB",
    bytes: 64 << 10,
};
pub(crate) const MIB_1: Size = Size {
    name: "1 MiB",
    path: "/1MiB",
    bytes: 1 << 20,
};
pub(crate) const MIB_100: Size = Size {
    name: "100 MiB",
    path: "/100MiB",
    bytes: 100 << 20,
};
pub(crate) const SIZES: [Size; 4] = [KIB_1, KIB_64, MIB_1, MIB_100];

/// A folder with a file of each size, and the host that can serve it. Dropping this deletes the
/// folder.
pub(crate) struct Site {
    program: PathBuf,
    folder: TempDir,
    /// The content of the largest file. The other files are prefixes of it.
    bytes: Vec<u8>,
}

impl Site {
    pub(crate) fn new(program: &Path) -> anyhow::Result<Self> {
        let folder = open_folder()?;
        // Neighbouring bytes differ, and the period is not a power of two. So a piece that is
        // missing or repeated is detected.
        let bytes: Vec<u8> = (0..=250).cycle().take(MIB_100.bytes).collect();
        for size in SIZES {
            let file = folder.path().join(&size.path[1..]);
            fs::write(file, &bytes[..size.bytes])?;
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
            path: size.path,
            body: &self.bytes[..size.bytes],
        }
    }

    /// The host over this folder. It has all limits and doesn't log single requests.
    pub(crate) fn host(&self, flags: &[&str]) -> anyhow::Result<Server> {
        let mut command = server::host(&self.program);
        command.arg("--root").arg(self.root()).args(flags);
        Server::start("the host", command)
    }

    /// A host of a cluster over this folder that has no clients.
    pub(crate) fn worker(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args([
            "serve",
            "--role",
            "worker",
            "--log-level",
            "warn",
            "--end-with-parent",
        ]);
        command.arg("--root").arg(self.root());
        command
    }

    /// A host of a cluster that has no processes.
    pub(crate) fn front(&self, flags: &[&str]) -> anyhow::Result<Server> {
        let mut command = server::host(&self.program);
        command.args(["--role", "front"]).args(flags);
        Server::start("the front", command)
    }

    /// The host over this folder, with a component that reads it through WASI.
    pub(crate) fn host_of(&self, component: &Path, flags: &[&str]) -> anyhow::Result<Server> {
        let mut command = server::host(&self.program);
        command.arg("--root").arg(self.root()).arg("--wasi-root");
        command.arg("--module").arg(component).args(flags);
        Server::start("the host", command)
    }

    /// Measures a host with these flags and files of 1 KiB.
    pub(crate) fn measure(&self, flags: &[&str], load: &Load<'_>) -> anyhow::Result<Turn> {
        self.host(flags)?.measure(load, self.file(KIB_1))
    }
}

/// The constant answer of the ceiling.
pub(crate) const CONSTANT: Question<'_> = Question {
    path: "/",
    body: &http::CONSTANT,
};

/// A temporary folder that servers of other users can enter.
pub(crate) fn open_folder() -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}
