//! The results as *tables*, with a section for each case. In Markdown, which is readable in a
//! terminal too, and in HTML. Contestants are rows, and quantities are columns.

use crate::numbers::shown;
use crate::quantities::SHOWN;
use crate::results::{Figure, Results};

/// Replaces a figure that is missing. The reason is below the table.
const MISSING: &str = "—";

/// The least width of a column. A column is as wide as its widest cell.
const COLUMN: usize = 8;

/// A case with its table. The first row is the head, and the first cell of each row is a name.
struct Section {
    title: String,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

/// All figures, below a title, their origin and an introduction.
pub(crate) fn markdown(results: &Results, title: &str, introduction: &str) -> String {
    let sections: String = sections(results).iter().map(Section::markdown).collect();
    let origin = results.origin().join("\n");
    format!("# {title}\n\n{origin}\n\n{introduction}\n{sections}")
}

pub(crate) fn html(results: &Results) -> String {
    sections(results).iter().map(Section::html).collect()
}

fn sections(results: &Results) -> Vec<Section> {
    let of_entries = results.entries.iter().map(|entry| &entry.case);
    let of_gaps = results.not_measured.iter().map(|gap| &gap.case);
    let mut cases: Vec<&String> = Vec::new();
    for case in of_entries.chain(of_gaps) {
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    let mut sections = Vec::new();
    if !results.findings.is_empty() {
        sections.push(targets(results));
    }
    sections.extend(cases.into_iter().map(|case| of_case(results, case)));
    sections
}

fn targets(results: &Results) -> Section {
    let mut rows = vec![["", "value", "target"].map(String::from).into()];
    rows.extend(results.findings.iter().map(|finding| {
        let value = finding.shown().unwrap_or(MISSING.into());
        vec![finding.name.clone(), value, finding.verdict.clone()]
    }));
    Section {
        title: "targets".into(),
        rows,
        notes: Vec::new(),
    }
}

fn of_case(results: &Results, case: &str) -> Section {
    let is_shown = |(name, _): &&(&str, _)| {
        let mut entries = results.of_case(case);
        entries.any(|entry| entry.figures.contains_key(*name))
    };
    let columns: Vec<_> = SHOWN.iter().filter(is_shown).collect();
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(columns.iter().map(|(_, label)| String::from(*label)));
    for entry in results.of_case(case) {
        let figures = columns.iter().map(|(name, _)| entry.figures.get(*name));
        let cells = figures.map(|figure| figure.map_or(MISSING.into(), cell));
        rows.push(
            [entry.contestant.clone()]
                .into_iter()
                .chain(cells)
                .collect(),
        );
    }
    let notes = results.notes.iter().filter(|note| note.case == case);
    let gaps = results.not_measured.iter().filter(|gap| gap.case == case);
    let gaps = gaps.map(|gap| format!("not measured: {}: {}", gap.contestant, gap.why));
    Section {
        title: case.into(),
        rows,
        notes: notes.map(|note| note.text.clone()).chain(gaps).collect(),
    }
}

/// The median, and the spread of the rounds.
fn cell(figure: &Figure) -> String {
    let median = shown(figure.median);
    match figure.rounds.len() {
        1 => median,
        _ => format!("{median} ({:.0}%)", figure.spread_percent),
    }
}

impl Section {
    fn markdown(&self) -> String {
        let width = |at: usize| {
            let widths = self.rows.iter().map(|row| row[at].chars().count());
            widths.fold(COLUMN, usize::max)
        };
        let widths: Vec<_> = (0..self.rows[0].len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let mut line = format!("| {:1$} |", row[0], widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                line += &format!(" {cell:>width$} |");
            }
            line + "\n"
        };
        let rule = widths[1..].iter().map(|width| "-".repeat(width + 1) + ":|");
        let rule: String = ["-".repeat(widths[0] + 2) + "|"]
            .into_iter()
            .chain(rule)
            .collect();
        let rows: String = self.rows[1..].iter().map(line).collect();
        let notes = self.notes.iter().map(|note| format!("\n{note}\n"));
        format!(
            "\n## {}\n\n{}|{rule}\n{rows}{}",
            self.title,
            line(&self.rows[0]),
            notes.collect::<String>()
        )
    }

    fn html(&self) -> String {
        let line = |tag: &str, row: &Vec<String>| {
            let cells = row
                .iter()
                .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        let rows = self.rows[1..].iter().map(|row| line("td", row));
        let notes = self
            .notes
            .iter()
            .map(|note| format!("<p>{}</p>\n", escaped(note)));
        format!(
            "<h2>{}</h2>\n<table>\n{}{}</table>\n{}",
            escaped(&self.title),
            line("th", &self.rows[0]),
            rows.collect::<String>(),
            notes.collect::<String>()
        )
    }
}

/// Escapes a text for HTML.
pub(crate) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}
