//! The results as *tables*, in Markdown that is read as it is in a terminal.

use std::fmt::Write;

use crate::contestants::Contestant;
use crate::findings::Finding;
use crate::matrix::{Cell, Entry, Turn};
use crate::report;
use crate::results::Results;
use crate::scaling::Soak;

/// The widths of a table's columns: the name, and the others.
const NAME: usize = 24;
const COLUMN: usize = 12;

/// What is in place of a figure that there is none of. The reason stands below the table.
const NONE: &str = "—";

pub(crate) fn markdown(results: &Results) -> String {
    let mut text = heading(results);
    text += &findings(results);
    for one in Cell::all() {
        text += &cell(results, one);
    }
    text += &scaling(results);
    text
}

fn heading(results: &Results) -> String {
    let machine = &results.machine;
    let version = |(name, version): &(String, Option<String>)| match version {
        Some(version) => format!("{name} {version}"),
        None => format!("{name}: not installed, not compared"),
    };
    let versions: Vec<_> = results.versions.iter().map(version).collect();
    let versions = if versions.is_empty() {
        "Without peers".into()
    } else {
        versions.join(", ")
    };
    format!(
        "# Compared on {}\n\n\
         {}, {} cores, Linux {}; commit {}.\n\
         {}.\n\n\
         Load and servers share the cores. Medians over the rounds, in which all take turns; *spread* is how \
         far\nthe rounds' rates lie apart. CPU is seconds per 1,000 requests, of the server and all its \
         children, in user\nmode and in the kernel. Memory is the sum of what each of its processes held at \
         most; pages that they share\nare counted with each, and CGI programs, which have ended by then, are \
         not.\n",
        machine.date, machine.cpu, machine.cores, machine.kernel, machine.commit, versions,
    )
}

fn findings(results: &Results) -> String {
    let mut text =
        "\n## Targets\n\n32 connections that are kept, unless it says otherwise.\n\n".to_owned();
    let width = |of: fn(&Finding) -> usize| results.findings.iter().map(of).max().unwrap_or(0);
    let name = width(|one| one.name.chars().count());
    let verdict = width(|one| one.verdict.chars().count());
    let _ = writeln!(
        text,
        "| {:name$} | {:>COLUMN$} | {:verdict$} |",
        "", "value", "target"
    );
    let _ = writeln!(
        text,
        "|{:-<1$}|{2}|{3}|",
        "",
        name + 2,
        right(COLUMN),
        "-".repeat(verdict + 2)
    );
    for one in &results.findings {
        let value = one.value.map_or(NONE.into(), significant);
        let value = [value.as_str(), &one.unit].join(" ");
        let value = value.trim_end();
        let _ = writeln!(
            text,
            "| {:name$} | {value:>COLUMN$} | {:verdict$} |",
            one.name, one.verdict
        );
    }
    text
}

/// One way to ask, and how each of them did.
fn cell(results: &Results, cell: Cell) -> String {
    let there: Vec<_> = results
        .entries
        .iter()
        .filter(|entry| entry.cell == cell)
        .collect();
    if there.is_empty() {
        return String::new();
    }
    let mut text = format!("\n## {}\n\n", cell.name());
    let head = [
        "requests/s",
        "spread",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "CPU s/1000",
        "peak MiB",
    ];
    row(&mut text, "", &head);
    rule(&mut text, head.len());
    for entry in &there {
        let figure = |of: fn(&Turn) -> f64| entry.median(of).map_or(NONE.into(), significant);
        let rates = entry.each(|turn| turn.requests_per_second);
        let spread = if rates.is_empty() {
            NONE.into()
        } else {
            format!("{:.0} %", report::spread(rates))
        };
        let cells = [
            figure(|turn| turn.requests_per_second),
            spread,
            figure(|turn| turn.p50_ms),
            figure(|turn| turn.p99_ms),
            figure(|turn| turn.p99_9_ms),
            figure(|turn| turn.cpu_seconds_per_1000_requests),
            figure(|turn| turn.peak_mib),
        ];
        row(&mut text, entry.contestant.name(), &cells);
    }
    text + &obstacles(&there)
}

fn obstacles(entries: &[&Entry]) -> String {
    let reason = |entry: &&Entry| {
        let reason = entry.obstacle.as_ref()?;
        Some(format!("\n{}: {reason}\n", entry.contestant.name()))
    };
    entries.iter().filter_map(reason).collect()
}

fn scaling(results: &Results) -> String {
    if results.scaling.is_empty() {
        return String::new();
    }
    let mut text = format!("\n## {}, 1 KiB: how it scales\n\n", Contestant::Pool.name());
    row(&mut text, "", &["requests/s", "p99 ms", "CPU s/1000"]);
    rule(&mut text, 3);
    for point in &results.scaling {
        let name = format!("{} {}", point.number, point.of.name());
        let cells = [
            point.requests_per_second,
            point.p99_ms,
            point.cpu_seconds_per_1000_requests,
        ];
        row(&mut text, &name, &cells.map(significant));
    }
    if let Some(one) = &results.soak {
        text = text + "\n" + &soak(one) + "\n";
    }
    text
}

pub(crate) fn soak(soak: &Soak) -> String {
    format!(
        "Over {:.0} requests the host's resident memory went from {:.1} to {:.1} MiB.",
        soak.requests, soak.before_mib, soak.after_mib
    )
}

fn row(text: &mut String, name: &str, cells: &[impl AsRef<str>]) {
    let _ = write!(text, "| {name:<NAME$} |"); // a string takes everything
    for cell in cells {
        let _ = write!(text, " {:>COLUMN$} |", cell.as_ref());
    }
    text.push('\n');
}

fn rule(text: &mut String, columns: usize) {
    let columns = vec![right(COLUMN); columns].join("|");
    let _ = writeln!(text, "|{}|{columns}|", "-".repeat(NAME + 2));
}

/// What stands below the name of a column whose cells are so wide and end at the right.
fn right(width: usize) -> String {
    "-".repeat(width + 1) + ":"
}

/// Three digits that count; the rest is noise.
pub(crate) fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let decimals = (2.0 - value.abs().log10().floor()).clamp(0.0, 5.0) as usize;
    format!("{value:.decimals$}")
}
