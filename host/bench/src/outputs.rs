//! The files for the results. They are opened before the measurement, so that a path that can't be
//! written fails at once and not after minutes.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::results::Results;
use crate::table::{self, escaped};

/// The file name that stands for standard output.
const STANDARD_OUTPUT: &str = "-";

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1600px; margin: 2rem auto; padding: 0 1rem }
svg { width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem 1rem; text-align: right }
td:first-child { text-align: left }
th { border-bottom: 1px solid #bbb }";

/// The requested files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The file for JSON. `-` is standard output, which then has no table.
    pub json: Option<PathBuf>,
    /// The file for the chart.
    pub svg: Option<PathBuf>,
    /// The file for the HTML page.
    pub html: Option<PathBuf>,
}

/// All requested outputs.
pub(crate) struct Outputs {
    /// Whether standard output has the table. Otherwise it has JSON.
    table: bool,
    json: Option<Output>,
    svg: Option<Output>,
    html: Option<Output>,
}

/// A file for the results. If this is dropped before the results are written, a new file is removed
/// and an old file is unchanged.
struct Output {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl Outputs {
    /// # Errors
    /// If a file can't be written. The error names the flag.
    pub(crate) fn open(files: &Files) -> anyhow::Result<Self> {
        let open = |flag: &str, path: Option<&PathBuf>| {
            let output = path.map(|path| Output::open(path)).transpose();
            output.with_context(|| format!("{flag}: can't write there"))
        };
        let json = files.json.as_ref();
        let json = json.filter(|path| path.as_os_str() != STANDARD_OUTPUT);
        Ok(Self {
            table: json.is_some() || files.json.is_none(),
            json: open("--json", json)?,
            svg: open("--svg", files.svg.as_ref())?,
            html: open("--html", files.html.as_ref())?,
        })
    }

    /// Writes all outputs, even if one fails, since the figures took minutes.
    ///
    /// # Errors
    /// The first error.
    pub(crate) fn write(self, results: &Results, table: &str, svg: &str) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(results)?;
        let shown = if self.table { table } else { &json };
        let printed = writeln!(std::io::stdout(), "{}", shown.trim_end());
        let write = |output: Option<Output>, text: &str| match output {
            Some(output) => output.write(text),
            None => Ok(()),
        };
        let written = write(self.json, &json);
        let page = write(self.html, &page(results, svg));
        let image = write(self.svg, svg);
        printed.context("can't print the figures")?;
        written.and(page).and(image)
    }
}

/// A page with the chart, the tables and the origin of the figures. It needs no other file.
fn page(results: &Results, svg: &str) -> String {
    let origin = results.origin().map(|line| escaped(&line)).join("<br>\n");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>wasm-pool-host, measured</title>\n<style>{STYLE}\n</style>\n\
         {svg}\n{}<p>{origin}<br>\n<code>{}</code></p>\n</html>\n",
        table::html(results),
        escaped(&results.command),
    )
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
        self.is_new = false; // from here on, a part of the file is better than none
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
            // The file may have been removed already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
