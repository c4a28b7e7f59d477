//! The table of behaviour over workers in other languages than Rust. Each is made of what `new`
//! makes, or of an example, and a file beside this one.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::templates::Project;
use super::toolchains::{self, age, cache, javascript, python, succeed};
use crate::support::Folder;
use crate::support::guests::workspace;
use crate::support::server::module;
use crate::support::table::{FLAGS, SPIN_FLAGS, behaves, crashes, spins};

#[test]
fn of_c() {
    let Some(tools) = python() else { return };
    let project = Project::new("c", "table-c");
    put("worker.c", &project.folder.join("worker.c"));
    make(&project.folder, "table-c.wasm", &tools);
    holds(&project.folder.join("table-c.wasm"), 502);
}

#[test]
fn of_cgi_in_c() {
    let Some(tools) = python() else { return };
    let folder = example("cgi");
    put("cgi.c", &folder.path().join("worker.c"));
    make(folder.path(), "cgi.wasm", &tools);
    holds(&folder.path().join("cgi.wasm"), 502);
}

#[test]
fn of_cgi_in_go() {
    let Some(tools) = python() else { return };
    let project = Project::new("go", "table-go");
    put("main.go", &project.folder.join("main.go"));
    make(&project.folder, "table-go.wasm", &tools);
    holds(&project.folder.join("table-go.wasm"), 502);
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

#[test]
fn of_python_and_wasi_http_03() {
    let Some(tools) = python() else { return };
    let project = Project::new("python", "table-python");
    put("answer.py", &project.folder.join("answer.py"));
    make(&project.folder, "table-python.wasm", &tools);
    holds(&project.folder.join("table-python.wasm"), 502);
}

/// The whole table. What crashes is answered with this status.
fn holds(worker: &Path, crashed: u16) {
    let server = module(worker, Folder::new(), FLAGS);
    behaves(&server, "/table");
    crashes(&server, "/table", crashed);
    drop(server);
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

fn make(folder: &Path, goal: &str, tools: &Path) {
    age(&folder.join("requirements.txt"));
    let mut make = Command::new("make");
    make.arg(goal).current_dir(folder).env("VENV", tools);
    make.env("GOCACHE", cache().join("go"))
        .env("ZIG_GLOBAL_CACHE_DIR", cache().join("zig"));
    succeed(&mut make).unwrap_or_else(|error| panic!("{error}"));
}
