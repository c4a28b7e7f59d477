//! Checks the promises of ARCHITECTURE.md against the source: each file is on a floor, no file uses
//! a higher floor, and each library is named in one place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::guests::workspace;

/// The folders of the library and of the program, below the workspace.
const SOURCES: &[&str] = &["host/src", "host/program/src"];

/// An external crate, and the only place in the library that names it.
const KNOWN_IN_ONE_PLACE: &[(&str, &str)] = &[
    ("wasmtime", "sandbox"),
    ("wasmtime_wasi", "sandbox"),
    ("wasmtime_wasi_http", "sandbox"),
    ("hyper", "http"),
    ("hyper_util", "http"),
    ("h2", "http"),
    ("ppp", "http"),
    ("tokio_rustls", "http"),
    ("webpki_roots", "sandbox"),
    ("cap_std", "files"),
    ("async_task", "scheduler"),
    ("async_nats", "cluster"),
];

/// Where an external crate is named beside its only place: hyper's client sends guests' requests,
/// over TLS too, and what an operator asks is HTTP.
const ALSO_KNOWN_IN: &[(&str, &str)] = &[
    ("hyper", "sandbox/outbound"),
    ("tokio_rustls", "sandbox/outbound"),
    ("hyper", "admin"),
    ("hyper", "control"),
    ("hyper", "side_door.rs"),
    ("hyper_util", "control"),
    ("hyper_util", "side_door.rs"),
];

/// Crates that only the program needs. The library doesn't make its embedders build them.
const OF_THE_PROGRAM: &[&str] = &[
    "clap",
    "clap_complete",
    "clap_mangen",
    "bytesize",
    "humantime",
    "hdrhistogram",
    "httparse",
    "indicatif",
    "landlock",
    "libc",
    "listenfd",
    "nix",
    "mio",
    "plotters",
    "ratatui",
    "seccompiler",
    "sd_notify",
    "tempfile",
    "tracing_appender",
    "tracing_subscriber",
];

/// The program's floor. No other floor uses it.
const TOP: u8 = 8;

#[test]
fn no_floor_looks_up() {
    let floors = floors();
    let mut looks_up = Vec::new();
    for (file, text) in sources() {
        let floor = floors[&room(&file)];
        for other in rooms_named_in(&text) {
            match floors.get(other) {
                Some(&above) if above > floor => looks_up.push((file.clone(), other.to_owned())),
                Some(_) | None => {}
            }
        }
    }
    assert!(looks_up.is_empty(), "{looks_up:#?}");
}

#[test]
fn every_file_is_on_a_floor() {
    let floors = floors();
    let homeless = sources()
        .into_keys()
        .filter(|file| !floors.contains_key(&room(file)));
    assert_eq!(homeless.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    let rooms: Vec<String> = sources().keys().map(|file| room(file)).collect();
    let empty = floors.keys().filter(|name| !rooms.contains(name));
    assert_eq!(empty.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn each_library_is_known_in_one_place() {
    let mut strangers = Vec::new();
    let floors = floors();
    for (file, text) in sources() {
        let room = room(&file);
        for (name, home) in KNOWN_IN_ONE_PLACE {
            let is_exempt = |(also, place): &(&str, &str)| also == name && file.starts_with(place);
            let is_at_home = room == *home || ALSO_KNOWN_IN.iter().any(is_exempt);
            if names(&text, name) && !is_at_home {
                strangers.push((file.clone(), *name));
            }
        }
        for name in OF_THE_PROGRAM {
            if names(&text, name) && floors[&room] < TOP {
                strangers.push((file.clone(), name));
            }
        }
        let reads_arguments = names(&text, "std::env::args") || names(&text, "std::env::var");
        if reads_arguments && floors[&room] < TOP {
            strangers.push((file.clone(), "the environment"));
        }
    }
    assert!(strangers.is_empty(), "{strangers:#?}");
}

#[test]
fn comments_end_at_column_100() {
    const COLUMNS: usize = 100;
    let mut wide = Vec::new();
    for file in files() {
        let text = fs::read_to_string(&file).expect("a source file");
        let comments = text
            .lines()
            .filter(|line| line.trim_start().starts_with("//"));
        let too_wide = comments.filter(|line| line.chars().count() > COLUMNS);
        wide.extend(too_wide.map(|line| (file.clone(), line.to_owned())));
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

/// A module that has modules of its own is `x/mod.rs`, and not `x.rs` beside `x/`.
#[test]
fn modules_have_one_form() {
    let others = files().filter(|file| file.with_extension("").is_dir());
    assert_eq!(others.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

/// All Rust files of the project.
fn files() -> impl Iterator<Item = PathBuf> {
    let folders = ["host", "tests", "examples", "guest-worker"];
    let below = |folder| files_below(&workspace().join(folder));
    folders.into_iter().flat_map(below)
}

/// All Rust files below a folder, except build output.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The library's manifest names no crate that only the program needs.
#[test]
fn the_library_is_free_of_the_program() {
    let manifest = fs::read_to_string(workspace().join("host/Cargo.toml")).expect("a manifest");
    let (_, rest) = manifest
        .split_once("[dependencies]\n")
        .expect("dependencies");
    let section = rest.split("\n[").next().expect("a first part");
    let dependencies: Vec<String> = section
        .lines()
        .filter(|line| line.starts_with(|letter: char| letter.is_alphanumeric()))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .map(|name| name.replace('-', "_"))
        .collect();
    assert!(
        dependencies.contains(&"hyper_util".to_owned()),
        "the dependencies were found: {dependencies:?}"
    );
    let of_the_program = dependencies
        .iter()
        .filter(|name| OF_THE_PROGRAM.contains(&name.as_str()));
    assert_eq!(of_the_program.collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The floor of each file or folder of the source, from the table in ARCHITECTURE.md.
fn floors() -> BTreeMap<String, u8> {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("the map");
    let mut floors = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", floor, rooms, _, ""] = cells[..] else {
            continue;
        };
        let Ok(floor) = floor.parse::<u8>() else {
            continue;
        };
        for room in rooms.split('`').skip(1).step_by(2) {
            floors.insert(room.trim_end_matches('/').to_owned(), floor);
        }
    }
    assert!(floors.len() > 10, "the table is there: {floors:?}");
    floors
}

/// The code of the library's and the program's files, without tests and comments. `lib.rs` only
/// lists the modules, and is on no floor.
fn sources() -> BTreeMap<PathBuf, String> {
    let mut sources = BTreeMap::new();
    for src in SOURCES {
        read(&workspace().join(src), &mut sources);
    }
    sources.remove(Path::new("lib.rs"));
    sources
}

fn read(src: &Path, sources: &mut BTreeMap<PathBuf, String>) {
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let code = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                let file = path.strip_prefix(src).expect("below the source");
                sources.insert(file.to_owned(), code.collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

/// The name of a file in ARCHITECTURE.md: its folder's name, or its own without the ending.
fn room(file: &Path) -> String {
    let first = file.components().next().expect("a file has a name");
    let name = first.as_os_str().to_str().expect("plain names");
    name.trim_end_matches(".rs").to_owned()
}

/// The names behind `crate::`, and behind `wasm_pool_host::` in the program's files.
fn rooms_named_in(text: &str) -> impl Iterator<Item = &str> {
    let uses = ["crate::", "wasm_pool_host::"].map(|start| text.split(start).skip(1));
    uses.into_iter().flatten().map(|rest| {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// Whether the text has a path that begins with this name.
fn names(text: &str, name: &str) -> bool {
    let ends = |letter: Option<char>| {
        letter.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_')
    };
    text.match_indices(name).any(|(at, _)| {
        ends(text[..at].chars().next_back())
            && ends(text[at + name.len()..].chars().next())
            && (name.contains("::") || text[at + name.len()..].starts_with("::"))
    })
}
