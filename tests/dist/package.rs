//! The package for Debian is built, installed into a folder of its own, and removed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{COMMANDS, files, has, make, page, succeeded};

/// What stays when the package is removed, and goes when it is purged.
const CONFIGURATION: &str = "etc/wasm-pool-host/host.toml";

/// What else is only in the package.
const FILES: &[&str] = &[
    "usr/bin/wasm-pool-host",
    "usr/lib/systemd/system/wasm-pool-host.service",
    "usr/share/doc/wasm-pool-host/changelog.gz",
    "usr/share/doc/wasm-pool-host/copyright",
    "usr/share/zsh/vendor-completions/_wasm-pool-host",
];

#[test]
fn the_package_is_installed_and_removed() {
    if !has("dpkg-deb") || !has("dpkg") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    make("deb", &[("DEBS", folder.path())]);
    let packages = files(folder.path());
    let [name] = &*packages.keys().collect::<Vec<_>>() else {
        panic!("one package: {packages:?}");
    };
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        name.starts_with(&format!("wasm-pool-host_{version}_")),
        "{name}"
    );
    let package = folder.path().join(name);
    let field = |name: &str| {
        let mut ask = Command::new("dpkg-deb");
        succeeded(ask.arg("--field").arg(&package).arg(name))
    };
    assert!(
        field("Depends").contains("libc6 (>= "),
        "{}",
        field("Depends")
    );
    assert_eq!(field("Version").trim(), version);

    // Everything is root's, nobody else may write it, and only what runs may be run.
    let listed = succeeded(Command::new("dpkg-deb").arg("--contents").arg(&package));
    for line in listed.lines() {
        let mode = match () {
            () if line.starts_with('d') || line.ends_with("/bin/wasm-pool-host") => "rwxr-xr-x",
            () => "rw-r--r--",
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(
            words[0].ends_with(mode) && words[1] == "root/root",
            "{line}"
        );
    }

    let root = folder.path().join("root");
    let mut expected: Vec<String> = FILES.iter().map(|file| (*file).to_owned()).collect();
    expected.extend([CONFIGURATION.to_owned()]);
    let pages = COMMANDS.iter().map(|command| page(command));
    expected.extend(pages.map(|page| format!("usr/share/man/man1/{page}.gz")));
    let check = || {
        let installed = files(&root);
        for file in &expected {
            assert!(installed.contains_key(file), "{file} in {installed:#?}");
        }
        assert!(!installed.contains_key("usr/share/doc/wasm-pool-host/LICENSE"));
    };
    if !rustix::process::geteuid().is_root() && !has("fakeroot") {
        succeeded(
            Command::new("dpkg-deb")
                .arg("--extract")
                .args([&package, &root]),
        );
        return check();
    }
    let state = root.join("var/lib/dpkg");
    for name in ["info", "updates"] {
        fs::create_dir_all(state.join(name)).expect("our own");
    }
    fs::write(state.join("status"), "").expect("our own");
    let dpkg = |what: &str, of: &Path| {
        let mut dpkg = match rustix::process::geteuid().is_root() {
            true => Command::new("dpkg"),
            false => {
                let mut fakeroot = Command::new("fakeroot");
                fakeroot.arg("dpkg");
                fakeroot
            }
        };
        dpkg.arg(format!("--root={}", root.display()));
        // There is nothing but this package: neither libraries nor a shell for its scripts.
        dpkg.args([
            "--force-depends",
            "--force-script-chrootless",
            "--force-not-root",
            "--force-bad-path",
        ]);
        dpkg.args(["--log=/dev/null", what]).arg(of);
        succeeded(&mut dpkg);
    };
    let left = || {
        let left = files(&root).into_keys();
        let left = left.filter(|file| !file.starts_with("var/lib/dpkg/"));
        left.collect::<Vec<_>>()
    };
    dpkg("--install", &package);
    check();
    dpkg("--remove", Path::new("wasm-pool-host"));
    assert_eq!(left(), [CONFIGURATION]);
    dpkg("--purge", Path::new("wasm-pool-host"));
    assert_eq!(left(), Vec::<String>::new());
}
