//! The figures as a *plot*, in six panels.

use super::crash::{Crash, OTHERS};
use super::figures::{Figures, Measured, Steps};
use super::subject::Structuring;
use super::tables;
use crate::numbers::{short, whole};
use crate::plot::{self, Bar, Colour, Content, FAINT, Group, Panel, Scale};

/// Of the steps, in their order. The step in which the structurings differ stands out.
const STEP_COLOURS: [u32; 5] = [0xa9b8cc, 0xc2185b, 0x5e4fa2, 0xfdb863, 0x6f7d8c];

/// Where there is no bar.
const GAP: &str = "not\nmeasured";

/// Of p50, p99 and p99.9: the same hue, lighter and lighter.
const SHADES: [(&str, f64); 3] = [("p50", 1.0), ("p99", 0.6), ("p99.9", 0.3)];

/// The whole image.
pub(crate) fn svg(figures: &Figures) -> String {
    let [subject, load] = tables::subject(figures);
    let panels = [stacked, steps, throughput, latency, memory, crash];
    let panels = panels.map(|panel| panel(&figures.structurings));
    plot::svg("Work per request", [&subject, &load], (2, 3), &panels)
}

/// All steps of a request on top of each other. A bar that dwarfs the others is cut, and says how
/// high it is.
fn stacked(measured: &[Measured]) -> Panel {
    /// Twice as high as the next is still worth seeing.
    const CUT: f64 = 2.0;
    let mut sums: Vec<_> = measured.iter().map(|one| one.step_us.sum()).collect();
    sums.sort_unstable_by(f64::total_cmp);
    let next = sums.iter().rev().nth(1).copied().unwrap_or(0.0);
    let highest = sums.last().copied().unwrap_or(0.0).min(next * CUT);
    let colours = STEP_COLOURS.map(Colour);
    let group = |one: &Measured| {
        let bars = one.step_us.all().into_iter().zip(colours);
        let bars = bars.map(|(part, colour)| Bar::new(part, String::new(), colour));
        Group(one.name.name(), bars.collect())
    };
    Panel {
        title: "One request on one connection (µs)".into(),
        scale: Scale::linear(highest),
        content: Content::Stacks(measured.iter().map(group).collect()),
        legend: Steps::NAMES.into_iter().zip(colours).collect(),
    }
}

/// Each step beside the same step of the others: what a structuring costs, and where.
fn steps(measured: &[Measured]) -> Panel {
    let names = [
        "receive",
        "create or\nhand over",
        "run",
        "file RPC",
        "reply",
    ];
    let group = |(at, name)| {
        let us = |one: &Measured| one.step_us.all()[at];
        let bar = |one: &Measured| Bar::new(us(one), String::new(), colour(one.name));
        Group(name, measured.iter().map(bar).collect())
    };
    let name = |one: &Measured| (one.name.name(), colour(one.name));
    Panel {
        title: "The same, step by step (µs, logarithmic)".into(),
        scale: Scale::log(measured.iter().flat_map(|one| one.step_us.all())),
        content: Content::Groups(names.into_iter().enumerate().map(group).collect()),
        legend: measured.iter().map(name).collect(),
    }
}

fn throughput(measured: &[Measured]) -> Panel {
    let rounds = |one: &Measured| (one.slowest_round_per_second, one.fastest_round_per_second);
    let bar = |one: &Measured| Bar {
        spread: Some(rounds(one)),
        ..bar(one, one.requests_per_second, whole(one.requests_per_second))
    };
    Panel {
        title: "Requests per second (line: slowest to fastest)".into(),
        scale: Scale::linear(measured.iter().map(|one| rounds(one).1).fold(0.0, f64::max)),
        content: one_each(measured, bar),
        legend: Vec::new(),
    }
}

fn latency(measured: &[Measured]) -> Panel {
    let times = |one: &Measured| [one.latency_ms.p50, one.latency_ms.p99, one.latency_ms.p99_9];
    let group = |one: &Measured| {
        let shaded =
            |(time, (_, shade))| Bar::new(time, short(time), colour(one.name).lighter(shade));
        let bars = times(one).into_iter().zip(SHADES).map(shaded);
        Group(one.name.name(), bars.collect())
    };
    let shade = |(name, shade)| (name, FAINT.lighter(shade));
    Panel {
        title: "Latency under load (ms, logarithmic)".into(),
        scale: Scale::log(measured.iter().flat_map(times)),
        content: Content::Groups(measured.iter().map(group).collect()),
        legend: SHADES.map(shade).into(),
    }
}

fn memory(measured: &[Measured]) -> Panel {
    let gap = || (0.0, GAP.to_owned());
    let shown = |one: &Measured| one.memory_kib.map_or_else(gap, |kib| (kib, short(kib)));
    Panel {
        title: "Memory of one more (KiB, logarithmic)".into(),
        scale: Scale::log(measured.iter().filter_map(|one| one.memory_kib)),
        content: one_each(measured, |one| {
            let (kib, label) = shown(one);
            bar(one, kib, label)
        }),
        legend: Vec::new(),
    }
}

fn crash(measured: &[Measured]) -> Panel {
    let label = |crash: Crash| match crash.answers_again_ms {
        Some(time) => format!("{}\nback after\n{} ms", crash.others_lost, short(time)),
        None => format!("{}\nnever back", crash.others_lost),
    };
    Panel {
        title: format!("One crash: lost, of {OTHERS} other requests in flight"),
        scale: Scale::linear(OTHERS as f64),
        content: one_each(measured, |one| match one.crash {
            Some(crash) => bar(one, crash.others_lost as f64, label(crash)),
            None => bar(one, 0.0, GAP.into()),
        }),
        legend: Vec::new(),
    }
}

/// One bar for each structuring.
fn one_each(measured: &[Measured], bar: impl Fn(&Measured) -> Bar) -> Content {
    let group = |one: &Measured| Group(one.name.name(), vec![bar(one)]);
    Content::Groups(measured.iter().map(group).collect())
}

fn bar(one: &Measured, value: f64, label: String) -> Bar {
    Bar::new(value, label, colour(one.name))
}

/// Told apart by people who see colours differently, too (Okabe and Ito).
fn colour(structuring: Structuring) -> Colour {
    Colour(match structuring {
        Structuring::Single => 0x56b4e9,
        Structuring::PerRequest => 0x0072b2,
        Structuring::Pool => 0x009e73,
        Structuring::Threads => 0x999999,
        Structuring::ForkExec => 0xd55e00,
    })
}
