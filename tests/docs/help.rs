//! What the program itself says: the flags of each command, with their defaults, from `--help`.

use std::process::Command;

use crate::support::server::PROGRAM;

/// The help of one command.
pub(super) struct Help {
    /// The words behind the program's name. None for the program itself.
    pub(super) command: Vec<String>,
    pub(super) text: String,
}

/// A flag as `--help` explains it.
pub(super) struct Flag {
    pub(super) name: String,
    /// The default, if it is one word.
    pub(super) default: Option<String>,
}

impl Help {
    /// The help of the program, and that of all commands.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Self::of(Vec::new())];
        let mut at = 0;
        while let Some(help) = all.get(at) {
            let below = help.commands();
            all.extend(below.into_iter().map(Self::of));
            at += 1;
        }
        all
    }

    fn of(command: Vec<String>) -> Self {
        let output = Command::new(PROGRAM).args(&command).arg("--help").output();
        let output = output.expect("the program runs");
        assert!(output.status.success(), "{command:?}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("help is text");
        Self { command, text }
    }

    /// The commands below this one: in the list that has this heading, the words at its margin.
    fn commands(&self) -> Vec<Vec<String>> {
        let list = self.text.lines().skip_while(|line| *line != "Commands:");
        let rows = list.skip(1).take_while(|line| !line.is_empty());
        let names = rows.filter_map(|row| {
            let row = row.strip_prefix("  ").filter(|row| !row.starts_with(' '))?;
            row.split(' ').next().filter(|name| *name != "help")
        });
        let below = |name: &str| self.command.iter().cloned().chain([name.to_owned()]);
        names.map(|name| below(name).collect()).collect()
    }

    /// The flags that are explained here, but for `--help` and `--version`.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let name = |line: &str| {
            let line = line.trim_start();
            let name = line.strip_prefix("--")?.split([' ', '=', '[']).next()?;
            Some(format!("--{name}"))
        };
        let lines: Vec<&str> = self.text.lines().collect();
        let starts: Vec<usize> = (0..lines.len())
            .filter(|at| lines[*at].starts_with("      --"))
            .collect();
        let ends = starts.iter().skip(1).copied().chain([lines.len()]);
        let explained = starts.iter().zip(ends).filter_map(|(start, end)| {
            let text = lines[*start..end].join(" ");
            let default = text.split_once("[default: ");
            let default = default.and_then(|(_, rest)| Some(rest.split_once(']')?.0));
            let default = default.filter(|default| !default.contains(' '));
            Some(Flag {
                name: name(lines[*start])?,
                default: default.map(str::to_owned),
            })
        });
        explained.collect()
    }
}
