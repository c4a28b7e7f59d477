//! Where the figures go. Files are opened before anything is measured, so that a path which can't be written
//! does not cost minutes first.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::figures::Figures;
use super::{page, plot, table};
use crate::cli::Bench;

/// In place of a file's name: standard output.
const STANDARD_OUTPUT: &str = "-";

/// All that was asked for.
pub(super) struct Outputs {
    /// Whether standard output has the table; otherwise it has JSON.
    table: bool,
    json: Option<Output>,
    svg: Option<Output>,
    html: Option<Output>,
}

/// A file to be. Dropped before it was written, it is as it was.
struct Output {
    path: PathBuf,
    file: File,
    is_ours: bool,
}

impl Outputs {
    /// # Errors
    /// Where a file can't be written: an error that names the flag.
    pub(super) fn open(args: &Bench) -> anyhow::Result<Self> {
        let open = |flag: &str, path: Option<&PathBuf>| {
            let output = path.map(|path| Output::open(path));
            output
                .transpose()
                .with_context(|| format!("{flag}: can't write there"))
        };
        let json = args.json.as_ref();
        Ok(Self {
            table: json.is_none_or(|path| path.as_os_str() != STANDARD_OUTPUT),
            json: open(
                "--json",
                json.filter(|path| path.as_os_str() != STANDARD_OUTPUT),
            )?,
            svg: open("--svg", args.svg.as_ref())?,
            html: open("--html", args.html.as_ref())?,
        })
    }

    /// All of them, whatever becomes of the others: the figures took minutes.
    ///
    /// # Errors
    /// The first there was.
    pub(super) fn write(self, figures: &Figures) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(figures)?;
        let shown = if self.table {
            &table::text(figures)
        } else {
            &json
        };
        let printed = writeln!(std::io::stdout(), "{shown}").context("can't print the figures");
        let written = self.json.map_or(Ok(()), |output| output.write(&json));
        let plotted = plotted(self.svg, self.html, figures);
        printed.and(written).and(plotted)
    }
}

/// Those of the plots, where they are asked for.
fn plotted(svg: Option<Output>, html: Option<Output>, figures: &Figures) -> anyhow::Result<()> {
    if svg.is_none() && html.is_none() {
        return Ok(());
    }
    let image = plot::svg(figures)?;
    let html = html.map_or(Ok(()), |output| output.write(&page::html(figures, &image)));
    let svg = svg.map_or(Ok(()), |output| output.write(&image));
    html.and(svg)
}

impl Output {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        let (file, is_ours) = match options.write(true).create_new(true).open(path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let file = OpenOptions::new().write(true).open(path);
                (file.with_context(|| path.display().to_string())?, false)
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            is_ours,
        })
    }

    fn write(mut self, text: &str) -> anyhow::Result<()> {
        self.is_ours = false; // from here on, what is there is better than nothing
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
        if self.is_ours {
            // Whoever removed it before us wanted the same.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
