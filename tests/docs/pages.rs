//! A *page* of the documentation, and what stands in it: blocks, sections, links, flags.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::support::guests::workspace;

/// A page, by its path from the root of the repository.
pub(super) struct Page {
    pub(super) name: String,
    pub(super) text: String,
}

/// What stands between two fences.
pub(super) struct Block<'a> {
    /// The number of its fence's line, from 1 on.
    pub(super) line: usize,
    pub(super) language: &'a str,
    pub(super) lines: Vec<&'a str>,
}

/// A command of a console, and the output that is shown below it.
pub(super) struct Shown<'a> {
    pub(super) command: String,
    pub(super) output: Vec<&'a str>,
}

impl Page {
    pub(super) fn of(name: &str) -> Self {
        let text = fs::read_to_string(workspace().join(name));
        Self {
            name: name.to_owned(),
            text: text.unwrap_or_else(|error| panic!("{name}: {error}")),
        }
    }

    /// The first page, and all guides.
    pub(super) fn guides() -> Vec<Self> {
        let entries = fs::read_dir(workspace().join("docs")).expect("the folder of guides");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        let mut names: Vec<String> = names
            .filter(|name| name.ends_with(".md"))
            .map(|name| format!("docs/{name}"))
            .collect();
        names.sort();
        names.insert(0, "README.md".to_owned());
        names.iter().map(|name| Self::of(name)).collect()
    }

    pub(super) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks: Vec<Block<'_>> = Vec::new();
        let mut is_open = false;
        for (number, line) in (1..).zip(self.text.lines()) {
            match line.strip_prefix("```") {
                Some(_) if is_open => is_open = false,
                Some(language) => {
                    is_open = true;
                    blocks.push(Block {
                        line: number,
                        language,
                        lines: Vec::new(),
                    });
                }
                None if is_open => blocks.last_mut().expect("it is open").lines.push(line),
                None => {}
            }
        }
        assert!(!is_open, "{}: a fence is not closed", self.name);
        blocks
    }

    /// The lines outside of blocks, with their numbers.
    fn prose(&self) -> Vec<(usize, &str)> {
        let mut is_open = false;
        let is_prose = |(_, line): &(usize, &str)| {
            let is_fence = line.starts_with("```");
            is_open ^= is_fence;
            !is_open && !is_fence
        };
        (1..).zip(self.text.lines()).filter(is_prose).collect()
    }

    /// The lines below a heading of the second level, up to the next one.
    pub(super) fn section(&self, title: &str) -> Vec<&str> {
        let heading = format!("## {title}");
        let prose = self.prose();
        let from = prose.iter().position(|(_, line)| *line == heading);
        let from = from.unwrap_or_else(|| panic!("{}: no heading {heading:?}", self.name));
        let below = prose[from + 1..].iter().map(|(_, line)| *line);
        below.take_while(|line| !line.starts_with("## ")).collect()
    }

    /// What links to a heading may name, as GitHub derives it from the heading's text.
    pub(super) fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose().into_iter().filter_map(|(_, line)| {
            let title = line.trim_start_matches('#').strip_prefix(' ')?;
            line.starts_with('#').then_some(title)
        });
        headings.map(anchor).collect()
    }

    /// The targets of all links to files and headings, each with its line's number.
    pub(super) fn links(&self) -> Vec<(usize, &str)> {
        let mut links = Vec::new();
        for (number, line) in self.prose() {
            let rests = line.split("](").skip(1);
            let targets = rests.filter_map(|rest| Some(rest.split_once(')')?.0));
            let own = targets.filter(|target| !target.contains("://"));
            links.extend(own.map(|target| (number, target)));
        }
        links
    }

    /// The page that a link leads to, and the heading there.
    pub(super) fn target(&self, link: &str) -> (PathBuf, Option<String>) {
        let (path, heading) = link.split_once('#').unwrap_or((link, ""));
        let page = workspace().join(&self.name);
        let file = match path {
            "" => page,
            path => page.with_file_name("").join(path),
        };
        (
            file,
            Some(heading.to_owned()).filter(|text| !text.is_empty()),
        )
    }
}

impl<'a> Block<'a> {
    /// The commands of a console, each with its output. A `\` at the end continues a command.
    pub(super) fn commands(&self) -> Vec<Shown<'a>> {
        let mut commands: Vec<Shown<'a>> = Vec::new();
        for line in &self.lines {
            let continued = commands.last_mut().filter(|last| {
                let is_continued = last.command.ends_with('\\');
                is_continued && last.output.is_empty()
            });
            if let Some(last) = continued {
                last.command.pop();
                last.command.push_str(line.trim_start());
            } else if let Some(command) = line.strip_prefix("$ ") {
                commands.push(Shown {
                    command: command.to_owned(),
                    output: Vec::new(),
                });
            } else if let Some(last) = commands.last_mut() {
                last.output.push(line);
            }
        }
        commands
    }
}

/// The anchor of a heading: lower case, `-` for spaces, nothing for most signs.
fn anchor(title: &str) -> String {
    let kept = title.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter => letter.is_alphanumeric().then_some(letter),
    });
    kept.flat_map(char::to_lowercase).collect()
}

/// All flags that a text names: two dashes, and a word in lower case.
pub(super) fn flags(text: &str) -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    for (at, dashes) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        let rest = &text[at + dashes.len()..];
        let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        let end = rest.find(|letter: char| !is_part(letter) && letter != '-');
        let name = rest[..end.unwrap_or(rest.len())].trim_end_matches('-');
        let is_word = name.starts_with(is_part);
        if is_word && before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '-') {
            flags.insert(format!("--{name}"));
        }
    }
    flags
}
