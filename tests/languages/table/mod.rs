//! The table of behaviour over workers in other languages than Rust. Each is made of what `new`
//! makes, or of an example, and a file beside this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::templates::Project;
use super::toolchains::{self, age, environment, javascript, python, succeed};
use crate::support::Folder;
use crate::support::guests::workspace;
use crate::support::server::module;
use crate::support::table::{FLAGS, SPIN_FLAGS, behaves, spins};

#[test]
fn of_c() {
    new("c", "worker.c");
}

#[test]
fn of_cgi_in_go() {
    new("go", "main.go");
}

#[test]
fn of_python_and_wasi_http_03() {
    new("python", "answer.py");
}

#[test]
fn of_cgi_in_c() {
    let Some(tools) = python() else { return };
    let folder = example("cgi");
    put("cgi.c", &folder.path().join("worker.c"));
    make(folder.path(), "cgi.wasm", tools);
    holds(&folder.path().join("cgi.wasm"), 502);
}

/// Its runtime answers exceptions that nobody catches with `500` itself, also that of memory.
#[test]
fn of_javascript() {
    let Some(modules) = javascript() else { return };
    let project = Project::new("javascript", "table-javascript");
    put("answer.js", &project.folder.join("answer.js"));
    toolchains::link(&modules, &project.folder);
    let mut build = Command::new("npm");
    build.args(["run", "build"]).current_dir(&project.folder);
    succeed(&mut build).unwrap_or_else(|error| panic!("{error}"));
    holds(&project.folder.join("table-javascript.wasm"), 500);
}

#[test]
fn of_python_and_wasi_http_02() {
    let Some(tools) = python() else { return };
    let folder = example("python");
    for file in ["app.py", "answer.py"] {
        put(file, &folder.path().join(file));
    }
    let wit = workspace().join("host/program/templates/javascript/wit");
    let mut build = Command::new(tools.join("bin/componentize-py"));
    build.arg("--wit-path").arg(wit).current_dir(folder.path());
    build.args([
        "--world",
        "worker",
        "componentize",
        "app",
        "--output",
        "python.wasm",
    ]);
    succeed(&mut build).unwrap_or_else(|error| panic!("{error}"));
    holds(&folder.path().join("python.wasm"), 502);
}

/// A project of `new` with its Makefile, and this file in the place of its own.
fn new(language: &str, file: &str) {
    let Some(tools) = python() else { return };
    let name = format!("table-{language}");
    let project = Project::new(language, &name);
    put(file, &project.folder.join(file));
    let module = format!("{name}.wasm");
    make(&project.folder, &module, tools);
    holds(&project.folder.join(module), 502);
}

/// The whole table. What crashes is answered with this status.
fn holds(worker: &Path, crashed: u16) {
    behaves(&module(worker, Folder::new(), FLAGS), "/table", crashed);
    spins(&module(worker, Folder::new(), SPIN_FLAGS), "/table");
}

/// Puts a file beside this one in the place of another.
fn put(name: &str, place: &Path) {
    let file = workspace().join("tests/languages/table").join(name);
    fs::copy(file, place).expect("a copy");
}

/// A copy of an example.
fn example(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    toolchains::copy(&workspace().join("examples").join(name), folder.path());
    folder
}

fn make(folder: &Path, goal: &str, tools: PathBuf) {
    age(&folder.join("requirements.txt"));
    let mut make = Command::new("make");
    make.arg(goal).current_dir(folder).envs(environment(tools));
    succeed(&mut make).unwrap_or_else(|error| panic!("{error}"));
}
