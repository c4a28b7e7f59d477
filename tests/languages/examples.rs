//! The examples that are no Rust workers of this host's own contract, or ask more than one line of
//! their clients: their READMEs' commands are run.

use std::fs;
use std::path::{Path, PathBuf};

use super::readme::Readme;
use super::toolchains::{environment, javascript, python, tree};
use crate::support::guests::{self, workspace};

#[test]
fn markdown_answers_as_its_readme_says() {
    of_rust("markdown", 3);
}

#[test]
fn wasi_http_answers_as_its_readme_says() {
    of_rust("wasi-http", 4);
}

#[test]
fn cgi_answers_as_its_readme_says() {
    let Some(tools) = python() else { return };
    of_other("cgi", environment(tools), &[], 3);
}

#[test]
fn javascript_answers_as_its_readme_says() {
    let Some(_modules) = javascript() else { return };
    of_other("javascript", Vec::new(), &["npm install"], 4);
}

#[test]
fn python_answers_as_its_readme_says() {
    let Some(tools) = python() else { return };
    of_other("python", environment(tools), &[], 4);
}

/// An example that is built with the other guests.
fn of_rust(name: &str, requests: usize) {
    let locate = |file: &str| {
        let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str());
        guests::path(stem.expect("a module's name"))
    };
    play(
        name,
        workspace(),
        Vec::new(),
        &["make examples"],
        &locate,
        requests,
    );
}

fn of_other(name: &str, environment: Vec<(&'static str, PathBuf)>, done: &[&str], requests: usize) {
    play(
        name,
        tree(),
        environment,
        done,
        &|file| tree().join(file),
        requests,
    );
}

fn play(
    name: &str,
    folder: &Path,
    environment: Vec<(&'static str, PathBuf)>,
    done: &[&str],
    locate: &dyn Fn(&str) -> PathBuf,
    requests: usize,
) {
    let path = workspace().join("examples").join(name).join("README.md");
    let readme = Readme {
        text: fs::read_to_string(path).expect("each example has a README"),
        folder,
        environment,
        done,
        locate,
    };
    assert_eq!(readme.play(), requests);
}
