//! The *table*: the figures in rows and columns, for a terminal and for a page.

use super::crash::OTHERS;
use super::figures::{Figures, Measured, Steps};
use super::numbers::whole;
use super::structurings::Structuring;

/// Of a terminal that is not small: everything fits 100 columns.
const LABEL_COLUMNS: usize = 27;
const CELL_COLUMNS: usize = 14;

/// In the place of a figure that is missing.
const GAP: &str = "not measured";

/// Rows that belong together.
pub(super) struct Section {
    pub(super) title: String,
    pub(super) rows: Vec<Row>,
    /// What a reader must know of them.
    pub(super) note: Option<String>,
}

/// One figure, of all structurings.
pub(super) struct Row {
    pub(super) label: &'static str,
    pub(super) cells: Vec<String>,
}

/// What was measured, in two lines.
pub(super) fn subject(figures: &Figures) -> [String; 2] {
    let (load, machine) = (&figures.load, &figures.machine);
    let bytes = whole(load.body_bytes as f64);
    let rounds = if load.rounds == 1 { "round" } else { "rounds" };
    [
        format!(
            "module {}, path {}, {bytes} bytes · {} cores of {}",
            load.module, load.path, machine.cores, machine.processor
        ),
        format!(
            "{} {rounds} of {} s each · threads and fork-exec are native servers, without wasm",
            load.rounds, load.seconds
        ),
    ]
}

/// All rows.
pub(super) fn sections(figures: &Figures) -> [Section; 4] {
    let row = |label, cell: &dyn Fn(&Measured) -> String| Row {
        label,
        cells: figures.structurings.iter().map(cell).collect(),
    };
    let named = Steps::NAMES.into_iter().enumerate();
    let mut steps: Vec<_> = named
        .map(|(at, name)| row(name, &|one| short(one.step_us.all()[at])))
        .collect();
    steps.push(row("together", &|one| short(one.step_us.sum())));
    [
        Section {
            title: "work per request, in microseconds, on one connection".into(),
            rows: steps,
            note: None,
        },
        Section {
            title: format!("under load, {} connections", figures.load.connections),
            rows: vec![
                row("requests per second", &|one| whole(one.requests_per_second)),
                row("rounds apart by, %", &|one| short(one.spread_percent)),
                row("latency p50, ms", &|one| short(one.latency_ms.p50)),
                row("latency p99, ms", &|one| short(one.latency_ms.p99)),
                row("latency p99.9, ms", &|one| short(one.latency_ms.p99_9)),
            ],
            note: order(figures),
        },
        Section {
            title: "memory".into(),
            rows: vec![row("one more takes, KiB", &|one| {
                shown(one.memory_kib, short)
            })],
            note: None,
        },
        Section {
            title: format!(
                "a worker of the bench's own crashes while {OTHERS} other requests are in flight"
            ),
            rows: vec![
                row("other requests lost", &|one| {
                    shown(one.crash, |crash| crash.others_lost.to_string())
                }),
                row("connections lost", &|one| {
                    shown(one.crash, |crash| crash.connections_lost.to_string())
                }),
                row("answers again after, ms", &|one| {
                    shown(one.crash, |crash| {
                        crash.answers_again_ms.map_or("never".into(), short)
                    })
                }),
            ],
            note: None,
        },
    ]
}

/// Where the rounds don't tell which structuring serves more requests.
fn order(figures: &Figures) -> Option<String> {
    if figures.load.rounds == 1 {
        return Some("one round does not say how far rounds lie apart".into());
    }
    let group = |group: Vec<Structuring>| {
        let names: Vec<_> = group.into_iter().map(Structuring::name).collect();
        names.join(", ")
    };
    let groups: Vec<_> = figures.without_order().into_iter().map(group).collect();
    (!groups.is_empty()).then(|| format!("rounds overlap, no order: {}", groups.join(" · ")))
}

fn shown<T>(figure: Option<T>, show: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| GAP.into(), show)
}

/// The names of the columns.
pub(super) fn names(figures: &Figures) -> Vec<&'static str> {
    figures
        .structurings
        .iter()
        .map(|one| one.name.name())
        .collect()
}

/// For a terminal.
pub(super) fn text(figures: &Figures) -> String {
    let cells = |cells: &[&str]| -> String {
        let pad = |cell: &&str| format!("{cell:>CELL_COLUMNS$}");
        cells.iter().map(pad).collect()
    };
    let mut lines = subject(figures).to_vec();
    lines.push(String::new());
    lines.push(format!("{:LABEL_COLUMNS$}{}", "", cells(&names(figures))));
    for Section { title, rows, note } in sections(figures) {
        lines.push(title);
        for Row { label, cells: row } in rows {
            let row: Vec<_> = row.iter().map(String::as_str).collect();
            lines.push(format!(
                "  {label:<width$}{}",
                cells(&row),
                width = LABEL_COLUMNS - 2
            ));
        }
        lines.extend(note.map(|note| format!("  ({note})")));
    }
    lines.extend(
        figures
            .not_measured
            .iter()
            .map(|gap| format!("{GAP}: {gap}")),
    );
    lines.join("\n")
}

/// Three digits, or all that stand before the point.
pub(super) fn short(value: f64) -> String {
    match value {
        100.0.. => whole(value),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
