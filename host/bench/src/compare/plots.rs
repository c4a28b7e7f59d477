//! The results as a *plot*: all contestants with files of 1 KiB, and how the pool scales.

use super::contestants::Contestant;
use super::matrix::Cell;
use super::results::Results;
use super::scaling::Of;
use super::site::Size;
use crate::numbers::{significant, whole};
use crate::plot::{self, Area, Bar, Curve, Draw, Panel, RGBColor, Scale, lighter};
use crate::turn::Turn;

const HOST: RGBColor = RGBColor(0x4f, 0x46, 0xe5);
const PEER: RGBColor = RGBColor(0xbe, 0xc3, 0xcc);
const OTHER: RGBColor = RGBColor(0xd9, 0x77, 0x06);

/// The numbers of processes and connections that the curves span, as powers of ten.
const NUMBERS: Scale = Scale::Log { low: 1, high: 4 };

/// Each step of a logarithmic scale is ten times as much: for figures of which some dwarf the others.
#[derive(Clone, Copy)]
enum Kind {
    Linear,
    Logarithmic,
}

/// The whole image.
pub(crate) fn svg(results: &Results) -> anyhow::Result<String> {
    let bars = |area: &Area<'_>, title, of, kind| bars(area, results, title, of, kind);
    let panels: [Draw<'_>; 4] = [
        &|area| {
            let title = "Requests per second (more is better)";
            bars(area, title, |turn| turn.requests_per_second, Kind::Linear)
        },
        &|area| {
            let title = "CPU time of the server, µs per request (logarithmic, less is better)";
            let us = |turn: &Turn| turn.cpu_seconds_per_1000_requests * 1e3;
            bars(area, title, us, Kind::Logarithmic)
        },
        &|area| {
            let title = "99 of 100 answered within, ms (logarithmic, less is better)";
            bars(area, title, |turn| turn.p99_ms, Kind::Logarithmic)
        },
        &|area| curves(area, results),
    ];
    let title = "wasm-pool-host beside its peers: a file of 1 KiB, 32 connections";
    let origin = &results.machine;
    let when = format!("{} · servers and clients share the cores", origin.date);
    plot::svg(title, [&origin.text(), &when], (2, 2), &panels)
}

/// A bar for each contestant.
fn bars(
    area: &Area<'_>,
    results: &Results,
    title: &str,
    of: fn(&Turn) -> f64,
    kind: Kind,
) -> anyhow::Result<()> {
    let cell = Cell::target(Size::Kib1);
    let entries = results.entries.iter().filter(|entry| entry.cell == cell);
    let values = entries.filter_map(|entry| Some((entry.contestant, entry.rounds.median(of)?)));
    let values: Vec<_> = values.collect();
    let numbers = values.iter().map(|(_, value)| *value);
    let scale = match kind {
        Kind::Linear => Scale::linear(numbers.fold(0.0, f64::max)),
        Kind::Logarithmic => Scale::log(numbers),
    };
    let row = |&(contestant, value): &(Contestant, f64)| {
        let label = if value < 100.0 {
            significant(value)
        } else {
            whole(value)
        };
        let bar = Bar {
            label: Some(label),
            ..Bar::plain(value, colour(contestant))
        };
        (contestant.name(), bar)
    };
    let rows: Vec<_> = values.iter().map(row).collect();
    Panel::new(area, title, scale)?.rows(&rows)
}

/// The pool with more and more processes, and with more and more connections.
fn curves(area: &Area<'_>, results: &Results) -> anyhow::Result<()> {
    let curve = |of, name, colour| {
        let points = results.scaling.iter().filter(|point| point.of == of);
        let points = points.map(|point| (point.number as f64, point.requests_per_second));
        Curve {
            name,
            colour,
            points: points.collect(),
        }
    };
    let curves = [
        curve(Of::Processes, "processes, 32 connections", HOST),
        curve(Of::Connections, "connections", OTHER),
    ];
    let rates = results
        .scaling
        .iter()
        .map(|point| point.requests_per_second);
    let scale = Scale::linear(rates.fold(0.0, f64::max));
    let title = "The pool with more processes, or connections: requests per second";
    Panel::new(area, title, scale)?.curves(NUMBERS, &curves)
}

fn colour(contestant: Contestant) -> RGBColor {
    if contestant == Contestant::Pool {
        HOST
    } else if contestant.is_host() {
        lighter(HOST, 0.5)
    } else {
        PEER
    }
}
