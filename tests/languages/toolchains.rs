//! The languages' own tools, from their own package registries, in a folder that later runs find
//! again. A tool that can't be had skips its tests, and says so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::guests::workspace;
use crate::support::untested;

/// A tool, or why it can't be had.
type Found = Result<PathBuf, String>;

/// The same packages and versions as in the templates and the examples.
const REQUIREMENTS: &[&str] = &[
    "host/program/templates/c/requirements.txt",
    "host/program/templates/go/requirements.txt",
    "host/program/templates/python/requirements.txt",
    "examples/cgi/requirements.txt",
    "examples/python/requirements.txt",
];

/// The file beside tools that are whole.
const WHOLE: &str = ".whole";

/// Where tools are kept.
pub(super) fn cache() -> PathBuf {
    workspace().join("target/toolchains")
}

/// A virtual environment with the packages of PyPI: the compilers for C, Go and Python.
pub(super) fn python() -> Option<PathBuf> {
    static FOUND: OnceLock<Found> = OnceLock::new();
    or_skip("C, Go and Python", FOUND.get_or_init(install_python))
}

/// The variables that tell a Makefile where these tools are, and where to keep what they compile.
pub(super) fn environment(tools: PathBuf) -> Vec<(&'static str, PathBuf)> {
    vec![
        ("VENV", tools),
        ("GOCACHE", cache().join("go")),
        ("ZIG_GLOBAL_CACHE_DIR", cache().join("zig")),
    ]
}

/// A `node_modules` with componentize-js.
pub(super) fn javascript() -> Option<PathBuf> {
    static FOUND: OnceLock<Found> = OnceLock::new();
    or_skip("JavaScript", FOUND.get_or_init(install_javascript))
}

/// A copy of the examples that aren't in Rust, so that their READMEs' commands leave nothing in the
/// source tree. It has the same neighbours.
pub(super) fn tree() -> &'static Path {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(|| {
        let tree = cache().join("tree");
        for example in ["cgi", "javascript", "python"] {
            copy(
                &workspace().join("examples").join(example),
                &tree.join("examples").join(example),
            );
        }
        for (name, original) in [("host", "host"), ("examples/site", "examples/site")] {
            let _earlier = fs::remove_file(tree.join(name));
            symlink(workspace().join(original), tree.join(name)).expect("a link to the original");
        }
        tree
    })
}

fn install_python() -> Found {
    let environment = cache().join("python");
    begin(&environment);
    let pip = environment.join("bin/pip");
    if !pip.exists() {
        let folder = environment.to_str().ok_or("a path that is not UTF-8")?;
        succeed(Command::new("python3").args(["-m", "venv", folder]))?;
    }
    let mut install = Command::new(pip);
    install.args(["install", "--quiet", "--disable-pip-version-check"]);
    for requirements in REQUIREMENTS {
        install.arg("-r").arg(workspace().join(requirements));
    }
    succeed(&mut install)?;
    end(&environment);
    Ok(environment)
}

fn install_javascript() -> Found {
    let node = Command::new("node").arg("--version").output();
    node.map_err(|error| format!("node: {error}"))?;
    let modules = tree().join("examples/javascript/node_modules");
    begin(&modules);
    // The README's command. What is there already takes npm a second.
    let mut install = Command::new("npm");
    install.current_dir(tree());
    install.args(["install", "--prefix", "examples/javascript"]);
    install.args(["--no-fund", "--no-audit", "--prefer-offline"]);
    succeed(&mut install)?;
    end(&modules);
    Ok(modules)
}

/// Removes tools whose installation was broken off: their installers would take them for whole.
fn begin(tools: &Path) {
    if !tools.join(WHOLE).exists() {
        let _not_there = fs::remove_dir_all(tools);
    }
}

fn end(tools: &Path) {
    fs::write(tools.join(WHOLE), "").expect("a file beside the tools");
}

/// Gives a JavaScript project the modules that are installed already.
pub(super) fn link(modules: &Path, project: &Path) {
    symlink(modules, project.join("node_modules")).expect("a link");
}

/// Runs a command. An error has its output.
pub(super) fn succeed(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Err(format!("{command:?}: {}\n{text}", output.status))
}

fn or_skip(languages: &str, found: &Found) -> Option<PathBuf> {
    match found {
        Ok(path) => Some(path.clone()),
        Err(why) => {
            untested(&format!("there are no tools for {languages}: {why}"));
            None
        }
    }
}

/// Copies the files of a folder, and not what earlier runs have left in it.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        if path.is_file() {
            fs::copy(&path, to.join(name)).expect("a copy");
        }
    }
    age(&to.join("requirements.txt"));
}

/// Makes a project's list of packages older than the tools, which are installed already.
pub(super) fn age(requirements: &Path) {
    if let Ok(file) = fs::File::options().append(true).open(requirements) {
        file.set_modified(std::time::UNIX_EPOCH)
            .expect("its time can be set");
    }
}
