//! `new`: what is refused, and that nothing is overwritten. What it makes is built in `languages`.

use std::fs;
use std::process::Command;

use super::run;
use crate::support::server::PROGRAM;

#[test]
fn a_name_is_one_that_all_tools_take() {
    let long = "a".repeat(65);
    for (name, said) in [
        ("", "begins with a small letter"),
        ("7", "begins with a small letter"),
        ("Worker", "begins with a small letter"),
        ("my worker", "begins with a small letter"),
        ("grüezi", "begins with a small letter"),
        ("a/b", "not a path"),
        ("../b", "not a path"),
        ("fn", "keep this name"),
        ("wasm-pool-guest", "keep this name"),
        (&*long, "at most 64"),
    ] {
        let (code, output, errors) = run(&["new", name]);
        assert_eq!((code, &*output), (2, ""), "{name}: {errors}");
        assert!(errors.contains(said), "{name}: {errors}");
    }
}

#[test]
fn an_unknown_language_is_refused_with_the_known_ones() {
    let (code, output, errors) = run(&["new", "worker", "--lang", "cobol"]);
    assert_eq!((code, &*output), (2, ""), "{errors}");
    for language in ["rust", "c", "go", "javascript", "python"] {
        assert!(errors.contains(language), "{errors}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("folder")).expect("a folder");
    fs::write(folder.path().join("folder/README.md"), "mine").expect("a file");
    fs::write(folder.path().join("file"), "mine").expect("a file");
    for name in ["folder", "file"] {
        let output = Command::new(PROGRAM)
            .args(["new", name])
            .current_dir(folder.path())
            .output()
            .expect("the program runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("already here"), "{errors}");
    }
    for file in ["folder/README.md", "file"] {
        let content = fs::read_to_string(folder.path().join(file)).expect("a file");
        assert_eq!(content, "mine", "{file}");
    }
    assert_eq!(
        fs::read_dir(folder.path().join("folder"))
            .expect("a folder")
            .count(),
        1
    );
}
