//! The results as *tables* in Markdown, which are read as they are in a terminal, too.

use super::contestants::Contestant;
use super::matrix::Entry;
use super::results::Results;
use super::scaling::{Point, Soak};
use crate::findings;
use crate::numbers::significant;
use crate::table::{MISSING, Row, Section, Table};
use crate::turn::Turn;

pub(crate) fn markdown(results: &Results) -> String {
    let mut text = heading(results);
    let title = "Targets: 32 connections that are kept, unless it says otherwise";
    text += &findings::table(title, &results.findings).markdown();
    text += &cells(&results.entries).markdown();
    if !results.scaling.is_empty() {
        text += &scaling(results).markdown();
    }
    text
}

fn heading(results: &Results) -> String {
    let origin = &results.machine;
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
        "# Compared on {}\n\n{}.\n{versions}.\n\n\
         Load and servers share the cores. Medians over the rounds, in which all take turns; *spread* is how \
         far\nthe rounds' rates lie apart. CPU is seconds per 1,000 requests, of the server and all its \
         children, in user\nmode and in the kernel. Memory is the sum of what each of its processes held at \
         most; pages that they share\nare counted with each, and CGI programs, which have ended by then, are \
         not.\n",
        origin.date,
        origin.text(),
    )
}

/// A section for each way to ask, and how each contestant did.
fn cells(entries: &[Entry]) -> Table {
    let head = [
        "requests/s",
        "spread",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "CPU s/1000",
        "peak MiB",
    ];
    let section = |entries: &[Entry]| {
        let obstacles = entries.iter().filter_map(|entry| {
            let obstacle = entry.obstacle.as_ref()?;
            Some(format!("{}: {obstacle}", entry.contestant.name()))
        });
        let rows = entries.iter().map(row).collect();
        Section::new(entries[0].cell.name(), rows).noting(obstacles)
    };
    let by_cell = entries.chunk_by(|one, next| one.cell == next.cell);
    Table::new(&head, by_cell.map(section).collect())
}

fn row(entry: &Entry) -> Row {
    let figure = |of: fn(&Turn) -> f64| shown(entry.rounds.median(of).map(significant));
    let cells = vec![
        figure(|turn| turn.requests_per_second),
        shown(entry.rounds.spread().map(|spread| format!("{spread:.0} %"))),
        figure(|turn| turn.p50_ms),
        figure(|turn| turn.p99_ms),
        figure(|turn| turn.p99_9_ms),
        figure(|turn| turn.cpu_seconds_per_1000_requests),
        figure(|turn| turn.peak_mib),
    ];
    Row::new(entry.contestant.name(), cells)
}

fn shown(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| MISSING.into())
}

fn scaling(results: &Results) -> Table {
    let row = |point: &Point| {
        let cells = [
            point.requests_per_second,
            point.p99_ms,
            point.cpu_seconds_per_1000_requests,
        ];
        let name = format!("{} {}", point.number, point.of.name());
        Row::new(name, cells.map(significant).into())
    };
    let title = format!("{}, 1 KiB: how it scales", Contestant::Pool.name());
    let section = Section::new(title, results.scaling.iter().map(row).collect());
    let section = section.noting(results.soak.as_ref().map(soak));
    Table::new(&["requests/s", "p99 ms", "CPU s/1000"], vec![section])
}

pub(crate) fn soak(soak: &Soak) -> String {
    format!(
        "Over {:.0} requests the host's resident memory went from {:.1} to {:.1} MiB.",
        soak.requests, soak.before_mib, soak.after_mib
    )
}
