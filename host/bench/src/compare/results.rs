//! The *results* of a run, with what one needs to doubt them: when, on what machine, with which
//! versions. They are written as JSON, as Markdown, and as a plot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use wasm_pool_guest_build::workspace;

use super::matrix::Entry;
use super::scaling::{Point, Soak};
use super::{plots, tables};
use crate::findings::Finding;
use crate::kernel::{self, Machine};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Origin,
    /// Each peer's name, and its version if it was there.
    pub(crate) versions: Vec<(String, Option<String>)>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) scaling: Vec<Point>,
    pub(crate) soak: Option<Soak>,
}

/// Where results are from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// As YYYY-MM-DD.
    pub(crate) date: String,
    /// Of this repository; with a `+` where there were changes.
    pub(crate) commit: String,
    #[serde(flatten)]
    pub(crate) machine: Machine,
}

impl Origin {
    pub(crate) fn here() -> Self {
        let now = kernel::date();
        Self {
            date: now.split('T').next().unwrap_or(&now).into(),
            commit: commit().unwrap_or_else(|| "unknown".into()),
            machine: Machine::this(),
        }
    }

    /// In one line.
    pub(crate) fn text(&self) -> String {
        let Machine {
            processor,
            cores,
            kernel,
        } = &self.machine;
        format!(
            "{processor}, {cores} cores, Linux {kernel}; commit {}",
            self.commit
        )
    }
}

/// What git says, if it is there and this is a repository.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty=+", "--exclude=*"]);
    let output = git.current_dir(workspace()).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    let commit = commit.trim();
    (output.status.success() && !commit.is_empty()).then(|| commit.into())
}

impl Results {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} has no results of this bench", path.display()))
    }

    /// Writes all three, by the names of day and commit: only the same again replaces them. Returns
    /// the path of the Markdown.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let Origin { date, commit, .. } = &self.machine;
        let file = |ending| folder.join(format!("{date}-{commit}.{ending}"));
        fs::write(file("json"), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(file("md"), tables::markdown(self))?;
        fs::write(file("svg"), plots::svg(self))?;
        Ok(file("md"))
    }
}
