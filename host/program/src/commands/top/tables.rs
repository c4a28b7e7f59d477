//! The *tables* of `top`: one of the pools, one of the processes. Each has the rows and the columns
//! for which there is room.

use std::collections::HashMap;

use bytesize::ByteSize;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table};

use crate::cli::Pid;
use crate::commands::printable::shortened;
use crate::commands::ps;
use crate::control::api::{Pool, Process, Rate};

/// The columns of pools, each with its usual width, so that they seldom move. With a short name
/// all of them fit into 80 columns of the terminal.
const POOLS: [(&str, usize); 12] = [
    ("POOL", 6),
    ("ALIVE", 5),
    ("IDLE", 4),
    ("LINE", 4),
    ("REQ/S", 6),
    ("FAIL/S", 6),
    ("P50", 5),
    ("P99", 5),
    ("REFUSED", 7),
    ("RESTARTS", 8),
    ("GEN", 3),
    ("MEMORY", 9),
];

/// The columns of processes. All but the last fit into 80 columns of the terminal.
const PROCESSES: [(&str, usize); 11] = [
    ("PID", 5),
    ("POOL", 6),
    ("STATE", 8),
    ("SINCE", 9),
    ("REQUESTS", 8),
    ("REQUEST", 7),
    ("FOR", 9),
    ("MEMORY", 9),
    ("CPU%", 5),
    ("FILES", 5),
    ("MAILBOX", 7),
];

/// The columns that have words. All others have numbers, which stand at the right.
const WORDS: [&str; 2] = ["POOL", "STATE"];

/// Characters of a name: enough to recognise it.
const NAME: usize = 20;

/// Colours of the terminal's own sixteen, or none. Words or numbers say the same.
#[derive(Clone, Copy, Debug)]
pub(super) enum Paint {
    Coloured,
    Plain,
}

impl Paint {
    pub(super) fn with(self, color: Color) -> Style {
        match self {
            Self::Coloured => Style::new().fg(color),
            Self::Plain => Style::new(),
        }
    }
}

/// The number of rows for which there is room below the names of the columns.
pub(super) fn room(area: Rect) -> usize {
    area.height.saturating_sub(1).into()
}

/// Draws pools, and returns their number. If there is no room for all of them, those in trouble
/// come first.
pub(super) fn pools(
    frame: &mut Frame,
    area: Rect,
    paint: Paint,
    pools: &[Pool],
    rates: &[Rate],
) -> usize {
    let mut pools: Vec<_> = pools.iter().enumerate().collect();
    if pools.len() > room(area) {
        pools.sort_by_key(|(_, pool)| (!pool.is_failing, !pool.is_draining));
        pools.truncate(room(area));
    }
    let rows = pools.iter().map(|(at, of)| pool(paint, of, rates.get(*at)));
    table(frame, area, POOLS, &rows.collect::<Vec<_>>());
    pools.len()
}

/// Draws all these processes.
pub(super) fn processes(
    frame: &mut Frame,
    area: Rect,
    paint: Paint,
    processes: &[Process],
    cpu: &HashMap<u64, u64>,
) {
    let rows = processes
        .iter()
        .map(|of| process(paint, of, cpu.get(&of.pid)));
    table(frame, area, PROCESSES, &rows.collect::<Vec<_>>());
}

fn pool(paint: Paint, pool: &Pool, rate: Option<&Rate>) -> [Line<'static>; POOLS.len()] {
    let name = shortened(&pool.name, NAME);
    let name = match (pool.is_failing, pool.is_draining) {
        (true, _) => Line::styled(format!("{name} failing"), paint.with(Color::Red)),
        (false, true) => Line::styled(format!("{name} draining"), paint.with(Color::Yellow)),
        (false, false) => Line::from(name),
    };
    let alive = match pool.max {
        Some(max) => format!("{}/{max}", pool.alive),
        None => pool.alive.to_string(),
    };
    let alarm = |is_on, color| {
        if is_on {
            paint.with(color)
        } else {
            Style::new()
        }
    };
    let has_failed = rate.is_some_and(|rate| rate.failed > 0.0);
    [
        name,
        alive.into(),
        pool.idle.to_string().into(),
        Line::styled(
            pool.waiting.to_string(),
            alarm(pool.waiting > 0, Color::Yellow),
        ),
        or_none(rate.map(|rate| per_second(rate.requests))),
        or_none(rate.map(|rate| per_second(rate.failed))).style(alarm(has_failed, Color::Red)),
        or_none(rate.and_then(|rate| rate.p50_us).map(ps::latency)),
        or_none(rate.and_then(|rate| rate.p99_us).map(ps::latency)),
        pool.refused.to_string().into(),
        pool.restarts.to_string().into(),
        pool.generation.to_string().into(),
        ByteSize(pool.memory).to_string().into(),
    ]
}

fn process(paint: Paint, process: &Process, cpu: Option<&u64>) -> [Line<'static>; PROCESSES.len()] {
    let style = match &*process.state {
        "running" => paint.with(Color::Green),
        "starting" => paint.with(Color::Cyan),
        "ending" => paint.with(Color::Yellow),
        _ => Style::new(),
    };
    [
        Pid(process.pid).to_string().into(),
        shortened(&process.pool, NAME).into(),
        Line::styled(shortened(&process.state, NAME), style),
        ps::time(process.state_ms).into(),
        process.requests.to_string().into(),
        or_none(process.request.map(|request| request.to_string())),
        or_none(process.request_ms.map(ps::time)),
        ByteSize(process.memory).to_string().into(),
        or_none(cpu.map(|cpu| format!("{}.{}", cpu / 10, cpu % 10))),
        process.open_files.to_string().into(),
        or_none(process.messages.map(|messages| messages.to_string())),
    ]
}

/// Draws a table. Columns for which there is no room are dropped from the right.
fn table<const N: usize>(
    frame: &mut Frame,
    area: Rect,
    columns: [(&'static str, usize); N],
    rows: &[[Line<'static>; N]],
) {
    let mut widths = columns.map(|(_, usual)| usual);
    for row in rows {
        for (width, field) in widths.iter_mut().zip(row) {
            *width = field.width().max(*width);
        }
    }
    let mut end = 0;
    let fitting = widths.iter().take_while(|width| {
        end += **width + 1; // the space before the next column
        end <= usize::from(area.width) + 1
    });
    // The first column is cut instead.
    let count = fitting.count().max(1);
    let field = |(field, (head, _)): (&Line<'static>, (&str, usize))| {
        let field = field.clone();
        match WORDS.contains(&head) {
            true => field,
            false => field.right_aligned(),
        }
    };
    let row = |fields: &[Line<'static>; N]| {
        let fields = fields.iter().zip(columns).take(count);
        Row::new(fields.map(field))
    };
    let head = row(&columns.map(|(head, _)| head.into())).style(Modifier::REVERSED);
    let width = |width: &usize| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX));
    let widths = widths[..count].iter().map(width);
    frame.render_widget(Table::new(rows.iter().map(row), widths).header(head), area);
}

/// A rate in four digits or so.
pub(super) fn per_second(rate: f64) -> String {
    match rate < 1000.0 {
        true => format!("{rate:.1}"),
        false => format!("{rate:.0}"),
    }
}

fn or_none(text: Option<String>) -> Line<'static> {
    Line::from(text.unwrap_or_else(|| "-".to_owned()))
}
