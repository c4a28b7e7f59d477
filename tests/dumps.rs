//! Core dumps: what a process leaves that traps, bounded in number, for its user alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::Folder;
use crate::support::server::{command, guest_over, outcome};

const DUMPED: &str = "the core was dumped";

#[test]
fn a_trap_leaves_a_core_and_the_oldest_make_room() {
    for name in ["misbehave", "http02"] {
        let folder = Folder::new();
        let dumps = folder.path().join("dumps");
        let flags = format!(
            "--workers 1 --core-dumps {} --core-dumps-max 2",
            dumps.display()
        );
        let server = guest_over(name, folder, &flags);
        fs::write(dumps.join("core-of-an-apple.wasm"), "somebody else's").expect("our own");
        let target = match name {
            "misbehave" => "/trap",
            _ => "/do?trap",
        };
        // One a second is dumped, however many trap.
        for count in 1..=3 {
            while server.entries(DUMPED).len() < count {
                assert_eq!(server.get(target).status, 502, "{name}");
            }
        }
        let said = server.wait_entries(DUMPED, 3);
        let mut kept: Vec<PathBuf> = fs::read_dir(&dumps)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        kept.sort();
        assert_eq!(kept.len(), 3, "{kept:?}");
        let newest: Vec<_> = said[1..].iter().map(|line| line["path"].clone()).collect();
        let paths: Vec<_> = kept
            .iter()
            .map(|path| path.to_str().expect("plain"))
            .collect();
        assert_eq!(paths[..2], newest, "{name}");
        assert!(paths[2].ends_with("apple.wasm"));
        let (pid, path) = (&said[2]["pid"], &kept[1]);
        assert!(paths[1].ends_with(&format!("-{pid}.wasm")), "{paths:?}");
        assert_eq!(
            path.metadata().expect("it is there").permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            dumps.metadata().expect("it is there").permissions().mode() & 0o777,
            0o700
        );
        let bytes = fs::read(path).expect("a file");
        assert!(bytes.starts_with(b"\0asm"), "{name}");
        for section in ["core", "coremodules", "coreinstances", "corestack"] {
            let found = bytes
                .windows(section.len())
                .any(|part| part == section.as_bytes());
            assert!(found, "{name}: {section}");
        }
        // The failure itself is told as ever.
        let end = server.wait_end(pid.as_u64().expect("a pid"));
        assert!(end["reason"].to_string().contains("backtrace: "), "{end}");
    }
}

#[test]
fn a_folder_that_can_t_be_used_is_said_at_the_start() {
    let folder = Folder::new().file("taken", "");
    for (flags, problem) in [
        (
            format!("--core-dumps {}", folder.root().join("taken").display()),
            "--core-dumps: the folder for core dumps",
        ),
        ("--core-dumps-max 3".to_owned(), "--core-dumps <DIR>"),
        (
            format!(
                "--core-dumps {} --core-dumps-max 0",
                folder.root().display()
            ),
            "give a number from 1 up",
        ),
        (
            format!("--core-dumps {} --memory 2GiB", folder.root().display()),
            "--memory 2.0 GiB: must be from 64.0 KiB to 1.0 GiB",
        ),
    ] {
        let (code, text) = outcome(&mut command(None, &folder.root(), &flags));
        assert_ne!(code, 0, "{flags}");
        assert!(text.contains(problem), "{flags}: {text}");
    }
}
