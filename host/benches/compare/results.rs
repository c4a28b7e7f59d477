//! The *results* of a run, with all that one needs to doubt them: when, on what machine, with which versions.
//! Written as JSON, as Markdown, and as a plot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::findings::Finding;
use crate::matrix::Entry;
use crate::scaling::{Point, Soak};
use crate::{plot, tables};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// Each peer, and its version if it was there.
    pub(crate) versions: Vec<(String, Option<String>)>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) scaling: Vec<Point>,
    pub(crate) soak: Option<Soak>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// As YYYY-MM-DD.
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Of this repository; with a `+` where there were changes.
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) fn this() -> anyhow::Result<Self> {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let (date, _time) = now.split_once('T').context("a date without a time")?;
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let mut fields = cpus.lines().filter_map(|line| line.split_once(':'));
        let cpu = fields.find(|(name, _)| name.trim() == "model name");
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            date: date.into(),
            cpu: cpu.map_or("an unnamed CPU", |(_, name)| name.trim()).into(),
            cores: std::thread::available_parallelism()?.into(),
            kernel: kernel.trim().into(),
            commit: commit().unwrap_or_else(|| "unknown".into()),
        })
    }
}

/// What git says, if it is there and this is a repository.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty=+", "--exclude=*"]);
    let output = git.current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    let commit = commit.trim();
    (output.status.success() && !commit.is_empty()).then(|| commit.into())
}

impl Results {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is no result of this bench", path.display()))
    }

    /// Writes all three, by the names of day and commit: only the same over again replaces them. Returns the path
    /// of the Markdown.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let Machine { date, commit, .. } = &self.machine;
        let file = |ending| folder.join(format!("{date}-{commit}.{ending}"));
        fs::write(file("json"), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(file("md"), tables::markdown(self))?;
        plot::write(self, &file("svg"))?;
        Ok(file("md"))
    }
}
