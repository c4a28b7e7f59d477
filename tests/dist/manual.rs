//! The manual and completions say what `--help` says.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{COMMANDS, files, has, page, succeeded};
use crate::support::server::PROGRAM;

/// What nobody is told of.
const HIDDEN: &[&str] = &["yardstick", "end-with-parent"];

/// What is offered for the last word of a command line.
const OFFERED: &[(&[&str], &[&str])] = &[
    (&["wasm-pool-host", "--lis"], &["--listen"]),
    (&["wasm-pool-host", "dr"], &["drain", "drill"]),
    (
        &["wasm-pool-host", "serve", "--mode", "pe"],
        &["per-request"],
    ),
    (
        &["wasm-pool-host", "serve", "--max-con"],
        &["--max-connections"],
    ),
    (&["wasm-pool-host", "config", "ch"], &["check"]),
    (&["wasm-pool-host", "log-level", "--ho"], &["--host"]),
    (&["wasm-pool-host", "serve", "--end"], &[]),
    (&["wasm-pool-host", "yard"], &[]),
];

/// Completes the last of its arguments, as bash does when somebody presses the tabulator.
const COMPLETE: &str = r#"
    source "$1"; shift
    function=$(complete -p wasm-pool-host | sed 's/.* -F \([^ ]*\) .*/\1/')
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    for word in "${COMPREPLY[@]}"; do echo "$word"; done
"#;

fn program(arguments: &str) -> String {
    succeeded(Command::new(PROGRAM).args(arguments.split_whitespace()))
}

/// The commands that the help of a command lists.
fn listed(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| line.starts_with("  "));
    // Further lines of a text stand further to the right.
    let begin = lines.filter(|line| !line.starts_with("   "));
    begin.filter_map(|line| line.split_whitespace().next())
}

/// The flags that the help of a command explains.
fn explained(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split([' ', ',', '[']));
    words.filter(|word| word.starts_with('-'))
}

#[test]
fn the_manual_has_every_command_and_flag() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let manual = folder.path().join("some/manual");
    program(&format!("generate man {}", manual.display()));
    let pages: Vec<_> = files(&manual).into_keys().collect();
    let mut expected: Vec<_> = COMMANDS.iter().map(|command| page(command)).collect();
    expected.sort();
    assert_eq!(pages, expected);
    let renders = has("groff");
    for command in COMMANDS {
        let path = manual.join(page(command));
        let text = fs::read_to_string(&path).expect("a page");
        let help = program(&format!("{command} --help"));
        // In a page, a dash that is no hyphen is escaped.
        let plain = text.replace('\\', "");
        for flag in explained(&help) {
            assert!(plain.contains(flag), "{flag} in {}", path.display());
        }
        for below in listed(&help).filter(|below| *below != "help") {
            let name = format!("{command} {below}");
            assert!(COMMANDS.contains(&name.trim()), "{name} has no page");
            let name = page(name.trim()).replace(".1", "(1)");
            assert!(plain.contains(&name), "{name} in {}", path.display());
        }
        for hidden in HIDDEN {
            assert!(!plain.contains(hidden), "{hidden} in {}", path.display());
        }
        let mut lines = text.lines().filter(|line| !line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            let is_empty = lines.peek().is_none_or(|next| next.starts_with(".SH"));
            assert!(!line.starts_with(".SH") || !is_empty, "{line} is empty");
        }
        if renders {
            let mut groff = Command::new("groff");
            groff.args(["-man", "-ww", "-z", "-Tutf8"]).arg(&path);
            assert_eq!(succeeded(&mut groff), "", "{}", path.display());
        }
    }
    let main = fs::read_to_string(manual.join(page(""))).expect("a page");
    for section in ["SYNOPSIS", "EXIT STATUS", "SIGNALS", "FILES", "SEE ALSO"] {
        let heading = format!(".SH {section}\n");
        let quoted = format!(".SH \"{section}\"\n");
        assert!(
            main.contains(&heading) || main.contains(&quoted),
            "{section}"
        );
    }
}

#[test]
fn completions_offer_what_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |shell: &str| {
        let path = folder.path().join(shell);
        let text = program(&format!("generate completions {shell}"));
        for hidden in HIDDEN {
            assert!(!text.contains(hidden), "{hidden} for {shell}");
        }
        fs::write(&path, text).expect("our own");
        path
    };
    let (bash, zsh, fish) = (file("bash"), file("zsh"), file("fish"));
    if has("bash") {
        succeeded(Command::new("bash").arg("-n").arg(&bash));
        offers(|words| {
            let mut complete = Command::new("bash");
            complete.args(["--norc", "-c", COMPLETE, "bash"]);
            succeeded(complete.arg(&bash).args(words))
        });
    }
    if has("zsh") {
        succeeded(Command::new("zsh").arg("-n").arg(&zsh));
    }
    if has("fish") {
        offers(|words| {
            let line = words.join(" ");
            let complete = "source $argv[1]; complete -C $argv[2]";
            let mut shell = Command::new("fish");
            // It keeps its history and settings here, and not in somebody's home.
            shell.env("HOME", folder.path());
            shell.args(["--no-config", "-c", complete]).arg(&fish);
            let offered = succeeded(shell.arg(line));
            // Each with its explanation behind it.
            let words = offered.lines().filter_map(|line| line.split('\t').next());
            words.map(|word| format!("{word}\n")).collect()
        });
    }
}

/// Checks what a shell offers: a line for each word.
fn offers(complete: impl Fn(&[&str]) -> String) {
    for (words, expected) in OFFERED {
        let offered = complete(words);
        // Where there is nothing else, files are offered.
        let offered = offered.lines().filter(|word| !Path::new(word).exists());
        assert_eq!(offered.collect::<Vec<_>>(), *expected, "{words:?}");
    }
}
