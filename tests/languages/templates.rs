//! What `new` makes: each template is built with its real tools, its own tests are run, and its
//! worker is served and asked, by the commands of its README.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use wasm_pool_guest_build::build;

use super::readme::Readme;
use super::toolchains::{age, cache, environment, javascript, link, python};
use crate::support::guests::workspace;
use crate::support::server::PROGRAM;

#[test]
fn a_new_worker_in_rust() {
    let project = Project::new("rust", "new-rust");
    // The versions that this workspace has downloaded already.
    let lock = workspace().join("Cargo.lock");
    fs::copy(lock, project.folder.join("Cargo.lock")).expect("a lock file");
    // Compiling may include the standard library, which other guests need too: they share it.
    let manifest = project.folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("its Cargo.toml");
    let more = "\n[profile.guest]\ninherits = \"release\"\ndebug = false\n";
    fs::write(&manifest, text + more).expect("its Cargo.toml");
    let shared = workspace().join("target/guests");
    fs::create_dir_all(&shared).expect("a folder");
    fs::create_dir(project.folder.join("target")).expect("a folder");
    symlink(shared, project.folder.join("target/guests")).expect("a link");
    let folder = build(&project.folder, &["new-rust"]).expect("it builds");

    let module = folder.join("new_rust.wasm");
    let locate = |file: &str| {
        assert_eq!(file, "target/wasm32-wasip2/release/new_rust.wasm");
        module.clone()
    };
    let environment = vec![("CARGO_TARGET_DIR", cache().join("rust"))];
    project.play(environment, &["rustup", "cargo build"], &locate);
}

#[test]
fn a_new_worker_in_c() {
    with_python("c", "new-c");
}

#[test]
fn a_new_worker_in_go() {
    with_python("go", "new-go");
}

#[test]
fn a_new_worker_in_python() {
    with_python("python", "new-python");
}

#[test]
fn a_new_worker_in_javascript() {
    let Some(modules) = javascript() else { return };
    let project = Project::new("javascript", "new-javascript");
    link(&modules, &project.folder);
    project.play(Vec::new(), &["npm install"], &|file| {
        project.folder.join(file)
    });
}

/// For languages whose tools PyPI has.
fn with_python(language: &str, name: &str) {
    let Some(tools) = python() else { return };
    let project = Project::new(language, name);
    age(&project.folder.join("requirements.txt"));
    project.play(environment(tools), &[], &|file| project.folder.join(file));
}

/// A project that `new` has made. It lives as long as the value.
pub(super) struct Project {
    pub(super) folder: PathBuf,
    _parent: tempfile::TempDir,
}

impl Project {
    pub(super) fn new(language: &str, name: &str) -> Self {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let output = Command::new(PROGRAM)
            .args(["new", name, "--lang", language])
            .current_dir(parent.path())
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{output:?}");
        let folder = parent.path().join(name);
        let (said, readme) = (String::from_utf8_lossy(&output.stdout), readme(&folder));
        // What is said to do next is what the README says.
        for command in said.lines().filter_map(|line| line.strip_prefix("  ")) {
            let is_there = readme.contains(&format!("$ {command}"));
            assert!(
                is_there || command == format!("cd {name}"),
                "{command} in {readme}"
            );
        }
        for gap in ["{{", "}}"] {
            assert!(!readme.contains(gap), "{readme}");
        }
        Self {
            folder,
            _parent: parent,
        }
    }

    fn play(
        &self,
        environment: Vec<(&'static str, PathBuf)>,
        done: &[&str],
        locate: &dyn Fn(&str) -> PathBuf,
    ) {
        let text = readme(&self.folder);
        let has_test = ["$ make test", "$ npm test", "$ cargo test"]
            .iter()
            .any(|command| text.contains(command));
        assert!(has_test, "{text}");
        let readme = Readme {
            text,
            folder: &self.folder,
            environment,
            done,
            locate,
        };
        assert_eq!(readme.play(), 1);
        let ignored = self.folder.join(".gitignore");
        assert!(ignored.exists());
    }
}

fn readme(folder: &Path) -> String {
    fs::read_to_string(folder.join("README.md")).expect("a README")
}
