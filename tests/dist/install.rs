//! `make install` and `make uninstall`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::{COMMANDS, files, make, page, succeeded};
use crate::support::guests::workspace;
use crate::support::server::PROGRAM;

/// All that is installed below the prefix beside manual and guides, with its modes.
const FILES: &[(&str, u32)] = &[
    ("bin/wasm-pool-host", 0o755),
    ("lib/systemd/system/wasm-pool-host.service", 0o644),
    ("lib/systemd/system/wasm-pool-host.socket", 0o644),
    ("share/bash-completion/completions/wasm-pool-host", 0o644),
    ("share/doc/wasm-pool-host/LICENSE", 0o644),
    ("share/doc/wasm-pool-host/README.md", 0o644),
    (
        "share/doc/wasm-pool-host/examples/60-wasm-pool-host.conf",
        0o644,
    ),
    ("share/doc/wasm-pool-host/examples/host.toml", 0o644),
    ("share/fish/vendor_completions.d/wasm-pool-host.fish", 0o644),
    ("share/zsh/site-functions/_wasm-pool-host", 0o644),
];

#[test]
fn each_file_has_its_place_and_leaves_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("root");
    let destination = ("DESTDIR", &*root);
    make("install", &[destination]);
    let mut expected: BTreeMap<String, u32> = BTreeMap::new();
    let mut expect = |file: &str, mode| expected.insert(format!("usr/local/{file}"), mode);
    for (file, mode) in FILES {
        expect(file, *mode);
    }
    for command in COMMANDS {
        expect(&format!("share/man/man1/{}", page(command)), 0o644);
    }
    for guide in fs::read_dir(workspace().join("docs")).expect("the guides") {
        let guide = guide.expect("an entry").file_name();
        let guide = guide.to_str().expect("plain names");
        if guide.ends_with(".md") {
            expect(&format!("share/doc/wasm-pool-host/docs/{guide}"), 0o644);
        }
    }
    assert_eq!(files(&root), expected);

    let installed = root.join("usr/local/bin/wasm-pool-host");
    let version = succeeded(Command::new(&installed).arg("--version"));
    let built = concat!("wasm-pool-host ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(version, built);
    let size = |path| fs::metadata(path).expect("it is there").len();
    assert!(size(&*installed) < size(PROGRAM.as_ref()), "it is stripped");
    let unit = root.join("usr/local/lib/systemd/system/wasm-pool-host.service");
    let unit = fs::read_to_string(unit).expect("it is there");
    for line in [
        "ExecStart=/usr/local/bin/wasm-pool-host serve --config /etc/wasm-pool-host/host.toml ",
        "ExecReload=/usr/local/bin/wasm-pool-host reload ",
    ] {
        assert!(
            unit.lines().any(|other| other.starts_with(line)),
            "{line} in\n{unit}"
        );
    }

    // What others have put beside it stays.
    let others = [
        "share/doc/wasm-pool-host/notes",
        "share/man/man1/wasm-pool.1",
    ];
    let others = others.map(|name| format!("usr/local/{name}"));
    for other in &others {
        fs::write(root.join(other), "").expect("our own");
    }
    make("uninstall", &[destination]);
    let left: Vec<_> = files(&root).into_keys().collect();
    assert_eq!(left, others);
    fs::remove_file(root.join(&others[0])).expect("our own");
    make("uninstall", &[destination]);
    assert!(!root.join("usr/local/share/doc/wasm-pool-host").exists());
}

#[test]
fn a_missing_binary_is_named() {
    let mut make = Command::new("make");
    make.current_dir(workspace());
    let made = make
        .args(["--silent", "install", "BINARY=no/such/binary"])
        .output();
    let made = made.expect("make runs");
    let text = super::text(&made);
    assert!(
        !made.status.success() && text.contains("no/such/binary"),
        "{text}"
    );
}
