//! The guides are true: what they show is done, what they name is there, and where they lead is
//! something.

mod help;
mod pages;
mod play;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use wasm_pool_guest_build::build;

use self::help::Help;
use self::pages::{Page, flags};
use self::play::Play;
use crate::support::Folder;
use crate::support::guests::workspace;
use crate::support::server::{PROGRAM, module, outcome};
use crate::support::shell::words;

/// Consoles that no test runs as they stand: the page, a command in them, and the reason. Their
/// commands are parsed nevertheless.
const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        "docs/operating.md",
        "wasm-pool-host bench --root examples/site --path /style.css",
        "it measures for a minute; `bench::everything_is_measured_and_shown` runs a short one",
    ),
    (
        "docs/embedding.md",
        "cargo run -q --example embed -- examples/site",
        "cargo builds it; `library::the_example_serves_until_it_is_interrupted` runs it",
    ),
    (
        "docs/connections.md",
        "wasm-pool-host examples/site --listen 443 --tls-cert site.pem --tls-key site.key",
        "it needs a certificate; `connections::curl_speaks_every_protocol` has one",
    ),
    (
        "docs/connections.md",
        "wasm-pool-host site.wasm --listen 0.0.0.0:80 --reuse-port &",
        "it needs a port for everybody; `connections::fifty_hosts_take_over_from_each_other` has one of its own",
    ),
    (
        "docs/cluster.md",
        "nats-server -js -c examples/cluster/nats.conf",
        "its ports are others' too; the tests of `cluster` start this configuration, and hosts of all roles",
    ),
];

/// Flags in the guides that are not this program's, and whose they are.
const FOREIGN: &[(&str, &str)] = &[
    ("--allow-direct", "nats"),
    ("--bench", "cargo"),
    ("--check-config", "gunicorn"),
    ("--defaults", "nats"),
    ("--deploy-hook", "certbot"),
    ("--discard", "nats"),
    ("--doors", "cargo bench"),
    ("--example", "cargo"),
    ("--http2-prior-knowledge", "curl"),
    ("--max-bytes", "nats"),
    ("--max-consumers", "nats"),
    ("--max-msgs", "nats"),
    ("--release", "cargo"),
    ("--replicas", "nats"),
    ("--retention", "nats"),
    ("--storage", "nats"),
    ("--subject", "nats"),
    ("--subjects", "nats"),
    ("--target", "cargo"),
    ("--test", "cargo"),
    ("--ttl", "nats"),
];

/// The code that [`a_command_in_rust_answers_as_the_guide_says`] builds.
const COMMAND: &str = "PATH_INFO";

#[test]
fn what_the_guides_show_happens() {
    let pages = Page::guides();
    let mut failed: Vec<&str> = Vec::new();
    std::thread::scope(|scope| {
        let all: Vec<_> = pages
            .iter()
            .map(|page| (page, scope.spawn(|| happens(page))))
            .collect();
        for (page, played) in all {
            if played.join().is_err() {
                failed.push(&page.name);
            }
        }
    });
    assert!(failed.is_empty(), "see above: {failed:?}");
}

fn happens(page: &Page) {
    let mut play: Option<Play<'_>> = None;
    let mut excused: BTreeSet<&str> = BTreeSet::new();
    for block in page.blocks() {
        let commands = block.commands();
        let is_shown = |command: &str| commands.iter().any(|shown| shown.command == command);
        let excuse = NOT_RUN
            .iter()
            .find(|(name, command, _)| *name == page.name && is_shown(command));
        match excuse {
            Some((_, command, _)) => {
                excused.insert(command);
                for shown in &commands {
                    is_parsed(&format!("{}:{}", page.name, block.line), &shown.command);
                }
            }
            None => play.get_or_insert_with(|| Play::new(page)).block(&block),
        }
    }
    for (name, command, _) in NOT_RUN {
        let is_gone = *name == page.name && !excused.contains(command);
        assert!(
            !is_gone,
            "{name} has no {command:?} any more: clear NOT_RUN"
        );
    }
}

/// Has the program parse a command, and do nothing: what stands in front of `--help` is parsed
/// before. Commands of others are left out.
fn is_parsed(place: &str, command: &str) {
    let words = words(command);
    let is_own = |word: &&String| !["&", "&&", ">", "#"].contains(&word.as_str());
    let mut own = words.iter().skip_while(|word| *word == "sudo");
    if own.next().is_none_or(|word| word != "wasm-pool-host") {
        return;
    }
    let mut program = Command::new(PROGRAM);
    program.args(own.take_while(is_own)).arg("--help");
    let (code, text) = outcome(&mut program);
    assert_eq!(code, 0, "{place}: {command}\n{text}");
}

#[test]
fn commands_for_a_shell_are_parsed() {
    let mut seen = 0;
    for page in Page::guides() {
        for block in page.blocks() {
            for line in block.lines.iter().filter(|_| block.language == "sh") {
                seen += usize::from(line.contains("wasm-pool-host "));
                is_parsed(&format!("{}:{}", page.name, block.line), line);
            }
        }
    }
    assert!(seen >= 5, "{seen} commands were found");
}

#[test]
fn consoles_that_are_not_run_are_in_guides() {
    let pages = Page::guides();
    for (name, command, reason) in NOT_RUN {
        assert!(
            pages.iter().any(|page| page.name == *name) && !reason.is_empty(),
            "{name}: {command}"
        );
    }
}

#[test]
fn links_lead_somewhere() {
    let others = ["ARCHITECTURE.md", "CONTRIBUTING.md"].map(Page::of);
    let pages: Vec<Page> = Page::guides().into_iter().chain(others).collect();
    let mut dead = Vec::new();
    let mut seen = 0;
    for page in &pages {
        for (line, link) in page.links() {
            seen += 1;
            let (file, heading) = page.target(link);
            let is_there = match heading {
                _ if !file.exists() => false,
                Some(heading) => {
                    let text = fs::read_to_string(&file).unwrap_or_default();
                    let name = file.display().to_string();
                    Page { name, text }.anchors().contains(&heading)
                }
                None => true,
            };
            if !is_there {
                dead.push(format!("{}:{line}: {link}", page.name));
            }
        }
    }
    assert!(dead.is_empty(), "dead links: {dead:#?}");
    assert!(seen > 100, "{seen} links were found");
}

#[test]
fn flags_that_are_named_are_known() {
    let known: BTreeSet<String> = Help::all()
        .iter()
        .flat_map(|help| flags(&help.text))
        .collect();
    let mut foreign: BTreeSet<&str> = FOREIGN.iter().map(|(flag, _)| *flag).collect();
    let mut unknown = Vec::new();
    for page in Page::guides() {
        for flag in flags(&page.text) {
            if !known.contains(&flag) && !FOREIGN.iter().any(|(name, _)| *name == flag) {
                unknown.push(format!("{}: {flag}", page.name));
            }
            foreign.remove(&*flag);
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(foreign.is_empty(), "named nowhere: {foreign:?}");
}

#[test]
fn every_flag_is_in_the_table() {
    let page = Page::of("docs/limits.md");
    let rows = |title| -> Vec<&str> {
        let lines = page.section(title).into_iter();
        lines.filter(|line| line.starts_with('|')).collect()
    };
    let (all, others) = (rows("All flags"), rows("Flags of the other commands"));
    let row = |flag: &str| {
        let begins = |row: &&&str| {
            let cell = row.split('|').nth(1).unwrap_or_default();
            cell.trim_start().starts_with('`') && flags(cell).contains(flag)
        };
        all.iter().find(begins).copied()
    };
    let mut missing = Vec::new();
    for help in Help::all() {
        let is_of_serve = help.command.is_empty();
        let command = help.command.join(" ");
        for flag in help.flags() {
            let name = &flag.name;
            let of_others = || others.iter().any(|row| flags(row).contains(name));
            match row(name) {
                Some(row) if is_of_serve => {
                    let default = flag.default.unwrap_or_default();
                    if !row.contains(&default) {
                        missing.push(format!("{name}: its default, {default}"));
                    }
                }
                None if is_of_serve || !of_others() => missing.push(format!("{command} {name}")),
                Some(_) | None => {}
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/limits.md: {missing:#?}");
    let known: BTreeSet<String> = Help::all()
        .iter()
        .flat_map(|help| flags(&help.text))
        .collect();
    let named = all.iter().chain(&others).flat_map(|row| flags(row));
    let unknown: Vec<String> = named.filter(|flag| !known.contains(flag)).collect();
    assert!(unknown.is_empty(), "only in docs/limits.md: {unknown:?}");
}

#[test]
fn tests_that_are_named_exist() {
    let page = Page::of("docs/security.md");
    let is_name = |text: &&str| {
        let parts: Vec<&str> = text.split("::").collect();
        let is_word = |part: &&str| {
            let fits = |letter: char| letter.is_ascii_lowercase() || letter == '_';
            !part.is_empty() && part.chars().all(|l| fits(l) || l.is_ascii_digit())
        };
        parts.len() > 1 && parts.iter().all(is_word)
    };
    let names: BTreeSet<&str> = page.text.split('`').filter(is_name).collect();
    assert!(names.len() > 80, "{names:?}");
    let missing: Vec<&str> = names.into_iter().filter(|name| !is_test(name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whether this is the path of a test, in the tests or in the library.
fn is_test(path: &str) -> bool {
    let (file, function) = path.rsplit_once("::").expect("a path");
    let file = file.replace("::", "/");
    let places = ["tests", "host/src"].map(|folder| workspace().join(folder).join(&file));
    let files = places
        .iter()
        .flat_map(|place| [place.with_extension("rs"), place.join("mod.rs")]);
    let texts = files.filter_map(|file| fs::read_to_string(file).ok());
    let function = format!("fn {function}()");
    texts.into_iter().any(|text| text.contains(&function))
}

#[test]
fn code_that_is_shown_is_in_the_source() {
    let folders = [
        "examples",
        "guest-worker",
        "host/examples",
        "host/program/templates",
    ];
    let sources: BTreeMap<PathBuf, Vec<String>> = folders
        .iter()
        .flat_map(|folder| rust_files(&workspace().join(folder)))
        .map(|file| {
            let text = fs::read_to_string(&file).expect("a source file");
            (file, code(text.lines()))
        })
        .collect();
    let mut seen = 0;
    for page in Page::guides() {
        for block in page.blocks() {
            let is_built = block.lines.iter().any(|line| line.contains(COMMAND));
            if block.language != "rust" || is_built {
                continue;
            }
            seen += 1;
            let wanted = code(block.lines.iter().copied());
            let has_it = |lines: &Vec<String>| lines.windows(wanted.len()).any(|w| w == wanted);
            let place = format!("{}:{}", page.name, block.line);
            assert!(sources.values().any(has_it), "{place}: in no source file");
        }
    }
    assert!(seen >= 4, "{seen} blocks of Rust were found");
}

/// The lines of code or of an example in a comment, without the marks of the comment.
fn code<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let plain = lines.map(|line| {
        let mut line = line.trim();
        while let Some(rest) = line.strip_prefix("///").or(line.strip_prefix("//!")) {
            line = rest.trim();
        }
        line.to_owned()
    });
    plain.filter(|line| !line.is_empty()).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the source");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files = Vec::new();
    for path in paths {
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        match path.is_dir() {
            true if path.ends_with("target") || path.ends_with("node_modules") => {}
            true => files.extend(rust_files(&path)),
            false if is_rust => files.push(path),
            false => {}
        }
    }
    files
}

#[test]
fn a_command_in_rust_answers_as_the_guide_says() {
    let page = Page::of("docs/workers.md");
    let blocks = page.blocks();
    let mut blocks = blocks.iter().filter(|block| block.language == "rust");
    let block = blocks.find(|block| block.lines.iter().any(|line| line.contains(COMMAND)));
    let source = block.expect("a command in Rust").lines.join("\n");

    let folder = Folder::new();
    let project = folder.path().join("project");
    fs::create_dir_all(project.join("src")).expect("a folder");
    fs::create_dir(project.join("target")).expect("a folder");
    // Compiling may include the standard library, which other guests need too: they share it.
    let shared = workspace().join("target/guests");
    fs::create_dir_all(&shared).expect("a folder");
    symlink(shared, project.join("target/guests")).expect("a link");
    fs::write(project.join("src/main.rs"), source).expect("its source");
    let manifest = "[package]\nname = \"printed-hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
                    [profile.guest]\ninherits = \"release\"\n";
    fs::write(project.join("Cargo.toml"), manifest).expect("its Cargo.toml");
    let built = build(&project, &["printed-hello"]).expect("it builds");

    let server = module(&built.join("printed-hello.wasm"), Folder::new(), "");
    let reply = server.get("/anything");
    let shown = "hello, you asked for /anything\n";
    assert_eq!((reply.status, &*reply.text()), (200, shown));
    assert_eq!(reply.field("content-type"), Some("text/plain"));
}

#[test]
fn figures_are_those_of_a_run() {
    let results = workspace().join("host/bench/results");
    let entries = fs::read_dir(results).expect("the folder of results");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let texts: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| fs::read_to_string(path).expect("results"))
        .collect();
    let page = Page::of("docs/comparison.md");
    let section = page.section("Figures");
    let rows: Vec<&str> = section
        .into_iter()
        .filter(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() > 20, "{rows:?}");
    let is_kept = |row: &&str| {
        texts
            .iter()
            .any(|text| text.lines().any(|line| line == *row))
    };
    let invented: Vec<&str> = rows.into_iter().filter(|row| !is_kept(row)).collect();
    assert!(invented.is_empty(), "in no results file: {invented:#?}");
}

#[test]
fn the_first_page_is_short() {
    let lines = Page::of("README.md").text.lines().count();
    assert!((100..=170).contains(&lines), "{lines} lines");
}
