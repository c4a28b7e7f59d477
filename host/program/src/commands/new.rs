//! `new`: a folder with a worker to begin with, in one of five languages. It has all that the
//! language's own tools need: a handler, a test, a README, and one command that builds it.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use wasi_preview1_component_adapter_provider as adapter;

use crate::cli::Language;

// Lists of paths and contents, one for each language: build.rs has gathered them.
include!(concat!(env!("OUT_DIR"), "/templates.rs"));

pub(crate) fn new(name: &str, language: Language) -> anyhow::Result<ExitCode> {
    let folder = Path::new(name);
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{name} is already here, and nothing is overwritten: choose another name");
        }
        Err(error) => return Err(error).with_context(|| format!("can't make the folder {name}")),
    }
    if let Err(error) = fill(folder, name, language) {
        // The folder is new, so all that is in it is from here.
        let _left_behind = fs::remove_dir_all(folder);
        return Err(error);
    }
    tell(name, language)
}

fn fill(folder: &Path, name: &str, language: Language) -> anyhow::Result<()> {
    let files = match language {
        Language::Rust => RUST,
        Language::C => C,
        Language::Go => GO,
        Language::Javascript => JAVASCRIPT,
        Language::Python => PYTHON,
    };
    for (path, content) in files {
        match std::str::from_utf8(content) {
            Ok(text) => write(&folder.join(path), filled(text, name).as_bytes())?,
            Err(_) => write(&folder.join(path), content)?, // an object file has no name in it
        }
    }
    if language == Language::C {
        let path = format!(
            "bindings/{}.reactor.wasm",
            adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME
        );
        let content = adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
        write(&folder.join(path), content)?;
    }
    Ok(())
}

/// Fills the gaps of a template.
fn filled(text: &str, name: &str) -> String {
    text.replace("{{name}}", name)
        .replace("{{module}}", &rust_module(name))
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, content))
        .with_context(|| format!("can't write {}", path.display()))
}

/// Says what to do next: the same commands as the project's README.
fn tell(name: &str, language: Language) -> anyhow::Result<ExitCode> {
    let make = || format!("make\n  wasm-pool-host {name}.wasm");
    let next = match language {
        Language::Rust => format!(
            "cargo build --release --target wasm32-wasip2\n  \
             wasm-pool-host target/wasm32-wasip2/release/{}",
            rust_module(name)
        ),
        Language::Javascript => {
            format!("npm install\n  npm run build\n  wasm-pool-host {name}.wasm")
        }
        Language::C | Language::Go | Language::Python => make(),
    };
    let text = format!(
        "{name} is a worker in {}. Build it and run it:\n\n  cd {name}\n  {next}\n\n\
         {name}/README.md has the rest.",
        language.name()
    );
    writeln!(io::stdout().lock(), "{text}").context("can't write what to do next")?;
    Ok(ExitCode::SUCCESS)
}

/// cargo's name for the module of a package.
fn rust_module(name: &str) -> String {
    format!("{}.wasm", name.replace('-', "_"))
}
