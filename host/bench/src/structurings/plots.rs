//! The figures as a *plot*, in six panels.

use super::crash::OTHERS;
use super::figures::{Figures, Measured, Steps};
use super::subject::Structuring;
use super::tables;
use crate::numbers::{short, whole};
use crate::plot::{self, Area, Bar, Draw, FAINT, Group, Panel, RGBColor, Scale, lighter};

/// Of the steps, in their order. The step in which the structurings differ stands out.
const STEP_COLOURS: [RGBColor; 5] = [
    RGBColor(0xa9, 0xb8, 0xcc),
    RGBColor(0xc2, 0x18, 0x5b),
    RGBColor(0x5e, 0x4f, 0xa2),
    RGBColor(0xfd, 0xb8, 0x63),
    RGBColor(0x6f, 0x7d, 0x8c),
];

/// Where there is no bar.
const GAP: &str = "not\nmeasured";

/// Of p50, p99 and p99.9: the same hue, lighter and lighter.
const SHADES: [(&str, f64); 3] = [("p50", 1.0), ("p99", 0.6), ("p99.9", 0.3)];

/// The whole image.
pub(crate) fn svg(figures: &Figures) -> anyhow::Result<String> {
    let [subject, load] = tables::subject(figures);
    let all = &figures.structurings;
    let panels: [Draw<'_>; 6] = [
        &|area| stacked(area, all),
        &|area| steps(area, all),
        &|area| throughput(area, all),
        &|area| latency(area, all),
        &|area| memory(area, all),
        &|area| crash(area, all),
    ];
    plot::svg("Work per request", [&subject, &load], (2, 3), &panels)
}

/// All steps of a request on top of each other. What dwarfs the others is cut, and says how high it is.
fn stacked(area: &Area<'_>, measured: &[Measured]) -> anyhow::Result<()> {
    /// Twice as high as the next is still worth seeing.
    const CUT: f64 = 2.0;
    let mut sums: Vec<_> = measured.iter().map(|one| one.step_us.sum()).collect();
    sums.sort_unstable_by(f64::total_cmp);
    let next = sums.iter().rev().nth(1).copied().unwrap_or(0.0);
    let highest = sums.last().copied().unwrap_or(0.0).min(next * CUT);
    let panel = Panel::new(
        area,
        "One request on one connection (µs)",
        Scale::linear(highest),
    )?;
    let groups: Vec<_> = measured
        .iter()
        .map(|one| {
            let bars = one.step_us.all().into_iter().zip(STEP_COLOURS);
            let bars = bars
                .map(|(part, colour)| Bar::plain(part, colour))
                .collect();
            Group::new(one.name.name(), bars)
        })
        .collect();
    panel.stacks(&groups)?;
    let legend: Vec<_> = Steps::NAMES.into_iter().zip(STEP_COLOURS).collect();
    panel.legend(&legend)
}

/// Each step beside the same step of the others: what a structuring costs, and where.
fn steps(area: &Area<'_>, measured: &[Measured]) -> anyhow::Result<()> {
    let all = || measured.iter().flat_map(|one| one.step_us.all());
    let scale = Scale::log(all());
    let panel = Panel::new(area, "The same, step by step (µs, logarithmic)", scale)?;
    let names = [
        "receive",
        "create or\nhand over",
        "run",
        "file RPC",
        "reply",
    ];
    let group = |(at, name)| {
        let bar = |one: &Measured| Bar::plain(one.step_us.all()[at], colour(one.name));
        Group::new(name, measured.iter().map(bar).collect())
    };
    let groups: Vec<_> = names.into_iter().enumerate().map(group).collect();
    panel.groups(&groups)?;
    let legend: Vec<_> = measured
        .iter()
        .map(|one| (one.name.name(), colour(one.name)))
        .collect();
    panel.legend(&legend)
}

fn throughput(area: &Area<'_>, measured: &[Measured]) -> anyhow::Result<()> {
    let highest = measured
        .iter()
        .map(|one| one.fastest_round_per_second)
        .fold(0.0, f64::max);
    let panel = Panel::new(
        area,
        "Requests per second (line: slowest to fastest)",
        Scale::linear(highest),
    )?;
    let group = |one: &Measured| {
        let bar = Bar {
            value: one.requests_per_second,
            label: Some(whole(one.requests_per_second)),
            colour: colour(one.name),
            spread: Some((one.slowest_round_per_second, one.fastest_round_per_second)),
        };
        Group::new(one.name.name(), vec![bar])
    };
    panel.groups(&measured.iter().map(group).collect::<Vec<_>>())
}

fn latency(area: &Area<'_>, measured: &[Measured]) -> anyhow::Result<()> {
    let times = |one: &Measured| [one.latency_ms.p50, one.latency_ms.p99, one.latency_ms.p99_9];
    let scale = Scale::log(measured.iter().flat_map(times));
    let panel = Panel::new(area, "Latency under load (ms, logarithmic)", scale)?;
    let groups: Vec<_> = measured
        .iter()
        .map(|one| {
            let bars = times(one).into_iter().zip(SHADES);
            let bar = |(time, (_, shade))| Bar {
                value: time,
                label: Some(short(time)),
                colour: lighter(colour(one.name), shade),
                spread: None,
            };
            Group::new(one.name.name(), bars.map(bar).collect())
        })
        .collect();
    panel.groups(&groups)?;
    panel.legend(&SHADES.map(|(name, shade)| (name, lighter(FAINT, shade))))
}

fn memory(area: &Area<'_>, measured: &[Measured]) -> anyhow::Result<()> {
    let scale = Scale::log(measured.iter().filter_map(|one| one.memory_kib));
    let panel = Panel::new(area, "Memory of one more (KiB, logarithmic)", scale)?;
    panel.groups(&one_each(measured, |one| match one.memory_kib {
        Some(kib) => (kib, short(kib)),
        None => (0.0, GAP.into()),
    }))
}

fn crash(area: &Area<'_>, measured: &[Measured]) -> anyhow::Result<()> {
    let title = format!("One crash: lost, of {OTHERS} other requests in flight");
    let panel = Panel::new(area, &title, Scale::linear(OTHERS as f64))?;
    panel.groups(&one_each(measured, |one| {
        let Some(crash) = one.crash else {
            return (0.0, GAP.into());
        };
        let again = match crash.answers_again_ms {
            Some(time) => format!("back after\n{} ms", short(time)),
            None => "never back".into(),
        };
        let lost = crash.others_lost;
        (lost as f64, format!("{lost}\n{again}"))
    }))
}

/// One bar for each structuring.
fn one_each(measured: &[Measured], of: impl Fn(&Measured) -> (f64, String)) -> Vec<Group> {
    let group = |one: &Measured| {
        let (value, label) = of(one);
        let bar = Bar {
            value,
            label: Some(label),
            colour: colour(one.name),
            spread: None,
        };
        Group::new(one.name.name(), vec![bar])
    };
    measured.iter().map(group).collect()
}

/// Told apart by people who see colours differently, too (Okabe and Ito).
fn colour(structuring: Structuring) -> RGBColor {
    match structuring {
        Structuring::Single => RGBColor(0x56, 0xb4, 0xe9),
        Structuring::PerRequest => RGBColor(0x00, 0x72, 0xb2),
        Structuring::Pool => RGBColor(0x00, 0x9e, 0x73),
        Structuring::Threads => RGBColor(0x99, 0x99, 0x99),
        Structuring::ForkExec => RGBColor(0xd5, 0x5e, 0x00),
    }
}
