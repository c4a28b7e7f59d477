//! The results as a *plot*: all contestants with files of 1 KiB, and how the pool scales.

use super::contestants::Contestant;
use super::matrix::Cell;
use super::results::Results;
use super::scaling::Of;
use super::site::Size;
use crate::numbers::{significant, whole};
use crate::plot::{self, Bar, Colour, Content, Curve, Panel, Scale};
use crate::turn::Turn;

const HOST: Colour = Colour(0x4f46e5);
const PEER: Colour = Colour(0xbec3cc);
const OTHER: Colour = Colour(0xd97706);

/// The numbers of processes and connections that the curves span, as powers of ten.
const NUMBERS: Scale = Scale::Log { low: 1, high: 4 };

/// The whole image.
pub(crate) fn svg(results: &Results) -> String {
    let rate = |turn: &Turn| turn.requests_per_second;
    let cpu = |turn: &Turn| turn.cpu_seconds_per_1000_requests * 1e3; // µs each
    let late = |turn: &Turn| turn.p99_ms;
    let linear = |values: &[f64]| Scale::linear(values.iter().copied().fold(0.0, f64::max));
    // Some figures dwarf the others.
    let logarithmic = |values: &[f64]| Scale::log(values.iter().copied());
    let cpu_title = "CPU time of the server, µs per request (logarithmic, less is better)";
    let late_title = "99 of 100 answered within, ms (logarithmic, less is better)";
    let panels = [
        bars(
            results,
            "Requests per second (more is better)",
            rate,
            linear,
        ),
        bars(results, cpu_title, cpu, logarithmic),
        bars(results, late_title, late, logarithmic),
        curves(results),
    ];
    let title = "wasm-pool-host beside its peers: a file of 1 KiB, 32 connections";
    let origin = &results.machine;
    let when = format!("{} · servers and clients share the cores", origin.date);
    plot::svg(title, [&origin.text(), &when], (2, 2), &panels)
}

/// A bar for each contestant.
fn bars(
    results: &Results,
    title: &str,
    of: fn(&Turn) -> f64,
    scale: impl Fn(&[f64]) -> Scale,
) -> Panel {
    let cell = Cell::target(Size::Kib1);
    let entries = results.entries.iter().filter(|entry| entry.cell == cell);
    let values = entries.filter_map(|entry| Some((entry.contestant, entry.rounds.median(of)?)));
    let (contestants, values): (Vec<_>, Vec<_>) = values.unzip();
    let row = |(contestant, value): (Contestant, f64)| {
        let show = if value < 100.0 { significant } else { whole };
        let bar = Bar::new(value, show(value), colour(contestant));
        (contestant.name(), bar)
    };
    Panel {
        title: title.into(),
        scale: scale(&values),
        content: Content::Rows(contestants.into_iter().zip(values).map(row).collect()),
        legend: Vec::new(),
    }
}

/// The pool with more and more processes, and with more and more connections.
fn curves(results: &Results) -> Panel {
    let points = || results.scaling.iter();
    let curve = |of, colour| {
        let points = points().filter(|point| point.of == of);
        let points = points.map(|point| (point.number as f64, point.requests_per_second));
        Curve(colour, points.collect())
    };
    let most = points()
        .map(|point| point.requests_per_second)
        .fold(0.0, f64::max);
    let curves = vec![curve(Of::Processes, HOST), curve(Of::Connections, OTHER)];
    Panel {
        title: "The pool with more processes, or connections: requests per second".into(),
        scale: Scale::linear(most),
        content: Content::Curves(NUMBERS, curves),
        legend: vec![("processes, 32 connections", HOST), ("connections", OTHER)],
    }
}

fn colour(contestant: Contestant) -> Colour {
    if contestant == Contestant::Pool {
        HOST
    } else if contestant.is_host() {
        HOST.lighter(0.5)
    } else {
        PEER
    }
}
