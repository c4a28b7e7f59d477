//! Where the figures go. Files are opened before anything is measured, so that a path which can't
//! be written costs no minutes first.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::figures::Figures;
use super::{Settings, plots, tables};

/// In place of a file's name: standard output.
const STANDARD_OUTPUT: &str = "-";

/// All outputs that were asked for.
pub(crate) struct Outputs {
    /// Whether standard output has the table. Otherwise it has JSON.
    table: bool,
    json: Option<Output>,
    svg: Option<Output>,
    html: Option<Output>,
}

/// A file that will have the figures. Dropped before, a new one is removed, and an old one is as it
/// was.
struct Output {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl Outputs {
    /// # Errors
    /// Where a file can't be written: an error that names the flag.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let open = |flag: &str, path: Option<&PathBuf>| {
            let output = path.map(|path| Output::open(path)).transpose();
            output.with_context(|| format!("{flag}: can't write there"))
        };
        let json = settings.json.as_ref();
        let json = json.filter(|path| path.as_os_str() != STANDARD_OUTPUT);
        Ok(Self {
            table: json.is_some() || settings.json.is_none(),
            json: open("--json", json)?,
            svg: open("--svg", settings.svg.as_ref())?,
            html: open("--html", settings.html.as_ref())?,
        })
    }

    /// Writes all outputs, whether or not one fails: the figures took minutes.
    ///
    /// # Errors
    /// The first error.
    pub(crate) fn write(self, figures: &Figures) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(figures)?;
        let shown = if self.table {
            &tables::text(figures)
        } else {
            &json
        };
        let printed = writeln!(std::io::stdout(), "{shown}").context("can't print the figures");
        let write = |output: Option<Output>, text: &str| match output {
            Some(output) => output.write(text),
            None => Ok(()),
        };
        let written = write(self.json, &json);
        let image = plots::svg(figures);
        let page = write(self.html, &tables::html(figures, &image));
        let image = write(self.svg, &image);
        printed.and(written).and(page).and(image)
    }
}

impl Output {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        let (file, is_new) = match options.write(true).create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                (OpenOptions::new().write(true).open(path), false)
            }
            opened => (opened, true),
        };
        Ok(Self {
            path: path.to_owned(),
            file: file.with_context(|| path.display().to_string())?,
            is_new,
        })
    }

    fn write(mut self, text: &str) -> anyhow::Result<()> {
        self.is_new = false; // from here on, half of the file is better than nothing
        let written = self.file.metadata().and_then(|metadata| {
            if metadata.is_file() {
                self.file.set_len(0)?;
            }
            self.file.write_all(text.as_bytes())
        });
        written.with_context(|| format!("can't write {}", self.path.display()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_new {
            // It may have been removed already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
