//! `ps`, `status` and `hosts` as a person reads them.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use bytesize::ByteSize;

use super::printable::printable;
use crate::cli::{Order, Pid};
use crate::control::api::{ClusterHost, Process, Status};

/// A process, and how far it stands to the right in a tree.
pub(super) struct Line {
    process: Process,
    depth: usize,
}

/// Sorts processes, which come sorted by pid.
pub(super) fn sort(processes: &mut [Process], order: Order) {
    match order {
        Order::Pid => {}
        Order::Age => processes.sort_by_key(|process| Reverse(process.age_ms)),
        Order::Requests => processes.sort_by_key(|process| Reverse(process.requests)),
        Order::Running => processes.sort_by_key(|process| Reverse(process.request_ms)),
        Order::Memory => processes.sort_by_key(|process| Reverse(process.memory)),
        Order::Cpu => processes.sort_by_key(|process| Reverse(process.cpu_ms)),
    }
}

pub(super) fn flat(processes: Vec<Process>) -> Vec<Line> {
    let line = |process| Line { process, depth: 0 };
    processes.into_iter().map(line).collect()
}

/// Children behind their parents. Whoever has a parent that is gone stands at the left.
pub(super) fn tree(processes: Vec<Process>) -> Vec<Line> {
    let alive: HashSet<u64> = processes.iter().map(|process| process.pid).collect();
    let parent = |process: &Process| process.parent.filter(|parent| alive.contains(parent));
    let (roots, mut others): (Vec<_>, Vec<_>) = processes
        .into_iter()
        .partition(|process| parent(process).is_none());
    let mut lines = Vec::new();
    let mut waiting: Vec<Line> = flat(roots);
    waiting.reverse();
    while let Some(line) = waiting.pop() {
        let (children, rest): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|process| process.parent == Some(line.process.pid));
        others = rest;
        let depth = line.depth + 1;
        let below = children.into_iter().rev();
        waiting.extend(below.map(|process| Line { process, depth }));
        lines.push(line);
    }
    lines
}

/// A line for each process, below a line with the names of the columns.
pub(super) fn table(lines: &[Line]) -> String {
    let head = [
        "PID", "POOL", "STATE", "SINCE", "AGE", "REQUESTS", "REQUEST", "FOR", "MEMORY", "CPU",
        "FILES", "MAILBOX", "PARENT", "NAMES",
    ];
    let rows = lines.iter().map(|line| {
        let Line { process, depth } = line;
        [
            format!("{}{}", "  ".repeat(*depth), Pid(process.pid)),
            printable(&process.pool),
            process.state.clone(),
            time(process.state_ms),
            time(process.age_ms),
            process.requests.to_string(),
            or_none(process.request.map(|request| request.to_string())),
            or_none(process.request_ms.map(time)),
            ByteSize(process.memory).to_string(),
            time(process.cpu_ms),
            process.open_files.to_string(),
            or_none(process.messages.map(|messages| messages.to_string())),
            or_none(process.parent.map(|parent| Pid(parent).to_string())),
            printable(&process.names.join(",")),
        ]
    });
    aligned(&head, &rows.collect::<Vec<_>>())
}

/// A host on one screen.
pub(super) fn status(status: &Status) -> String {
    let mut text = format!(
        "wasm-pool-host {} · pid {} · {} · up {} · {} requests answered\n\n",
        status.version,
        status.pid,
        status.address,
        time(status.age_ms),
        status.answered
    );
    let head = [
        "POOL",
        "STATE",
        "WORKERS",
        "ALIVE",
        "IDLE",
        "LINE",
        "REFUSED",
        "RESTARTS",
        "P50",
        "P99",
        "MEMORY",
        "GENERATION",
        "MODULE",
        "ROUTES",
    ];
    let rows = status.pools.iter().map(|pool| {
        [
            printable(&pool.name),
            match (pool.is_draining, pool.is_failing) {
                (true, _) => "draining".to_owned(),
                (_, true) => "failing".to_owned(),
                (false, false) => "serving".to_owned(),
            },
            match (pool.min, pool.max) {
                (Some(min), Some(max)) => format!("{min}..{max}"),
                (None, _) | (_, None) => "-".to_owned(),
            },
            pool.alive.to_string(),
            pool.idle.to_string(),
            pool.waiting.to_string(),
            pool.refused.to_string(),
            pool.restarts.to_string(),
            or_none(pool.latency.p50_us.map(latency)),
            or_none(pool.latency.p99_us.map(latency)),
            ByteSize(pool.memory).to_string(),
            pool.generation.to_string(),
            printable(&pool.module),
            pool.routes.join(" "),
        ]
    });
    text.push_str(&aligned(&head, &rows.collect::<Vec<_>>()));
    if !status.hosts.is_empty() {
        text.push('\n');
        text.push_str(&hosts(&status.hosts));
    }
    if let Some(obstacle) = &status.obstacle {
        let _ = write!(text, "\nnot ready: {obstacle}\n");
    }
    if !status.ended.is_empty() {
        let ended = status
            .ended
            .iter()
            .map(|(exit, count)| format!("{exit} {count}"));
        let ended: Vec<_> = ended.collect();
        let _ = write!(text, "\nended: {}\n", ended.join(", "));
    }
    text
}

/// A line for each host of a cluster. Only a host knows when it has heard the others.
pub(super) fn hosts(hosts: &[ClusterHost]) -> String {
    let mut head = vec![
        "HOST", "NAME", "ROLE", "VERSION", "SEATS", "RUNNING", "WAITING", "STATE", "MODULE",
        "FOLLOWS", "ADDRESS",
    ];
    let hears = hosts.iter().any(|host| host.is_this);
    head.extend(hears.then_some("HEARD"));
    let or_dash = |text: &str| or_none(Some(printable(text)).filter(|text| !text.is_empty()));
    let rows = hosts.iter().map(|host| {
        let state = match host.is_draining {
            true => "draining",
            false => "serving",
        };
        let heard = match host.is_this {
            true => "this host".to_owned(),
            false => format!("{} ago", time(host.heard_ms)),
        };
        let follows: Vec<_> = host.follows.keys().map(String::as_str).collect();
        let mut row = vec![
            host.number.to_string(),
            or_dash(&host.name),
            host.role.clone(),
            or_dash(&host.version),
            host.seats.to_string(),
            host.running.to_string(),
            host.waiting.to_string(),
            state.to_owned(),
            or_dash(&host.module),
            or_dash(&follows.join(",")),
            or_dash(&host.address),
        ];
        row.extend(hears.then_some(heard));
        row
    });
    aligned(&head, &rows.collect::<Vec<_>>())
}

/// Columns of equal width. The first is to the left, so that a tree can be seen.
fn aligned<R: AsRef<[String]>>(head: &[&str], rows: &[R]) -> String {
    let mut widths: Vec<_> = head.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut put = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    put(&mut head.iter().copied());
    for row in rows {
        put(&mut row.as_ref().iter().map(String::as_str));
    }
    text
}

/// A time in three digits or so.
pub(super) fn latency(us: u64) -> String {
    let ms = us as f64 / 1e3;
    match us {
        0..1_000 => format!("{us}us"),
        1_000..10_000 => format!("{ms:.1}ms"),
        10_000..1_000_000 => format!("{ms:.0}ms"),
        _ => format!("{:.1}s", ms / 1e3),
    }
}

fn or_none(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// A time in its two largest units, at most.
pub(super) fn time(ms: u64) -> String {
    let rounded = match ms {
        0..1_000 => ms,
        1_000..60_000 => ms / 100 * 100,
        _ => ms / 1_000 * 1_000,
    };
    let long = humantime::format_duration(Duration::from_millis(rounded)).to_string();
    long.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
