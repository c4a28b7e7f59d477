//! The results as one *plot*, for a page or a slide: how much, how late, how dear, and whether it stays so.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::contestants::Contestant;
use crate::matrix::{Cell, Entry, Turn};
use crate::report;
use crate::results::Results;
use crate::scaling::{Of, Point};
use crate::site::Size;
use crate::tables::significant;

const WIDTH: u32 = 1600;
const HEIGHT: u32 = 1040;
const MARGIN: i32 = 36;
const TITLE_HEIGHT: u32 = 108;

/// Where bars begin, behind their names, and where they end, before the largest one's figure.
const BARS_FROM: i32 = 260;
const FIGURE_WIDTH: i32 = 100;
const PANEL_TITLE_HEIGHT: i32 = 50;

const FONT: &str = "sans-serif";
const TITLE: i32 = 34;
const HEADING: i32 = 24;
const TEXT: i32 = 19;
const INK: RGBColor = RGBColor(34, 40, 49);
const SOFT: RGBColor = RGBColor(107, 114, 128);
const GRID: RGBColor = RGBColor(229, 231, 235);
const HOST: RGBColor = RGBColor(79, 70, 229);
const HOST_TOO: RGBColor = RGBColor(165, 160, 245);
const PEER: RGBColor = RGBColor(190, 195, 204);
const OTHER: RGBColor = RGBColor(217, 119, 6);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How a panel of bars shows figures.
#[derive(Clone, Copy)]
enum Scale {
    Linear,
    /// Each step is ten times as much: for figures of which some dwarf the others.
    Tens,
}

pub(crate) fn write(results: &Results, path: &Path) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let (title, panels) = area.split_vertically(TITLE_HEIGHT);
    heading(&title, results)?;
    let panels = panels.split_evenly((2, 2));
    let cell = Cell::target(Size::Kib1);
    let entries: Vec<_> = results
        .entries
        .iter()
        .filter(|one| one.cell == cell)
        .collect();
    let bars = |panel, title, of, scale| bars(panel, title, &values(&entries, of), scale);
    let rate: fn(&Turn) -> f64 = |turn| turn.requests_per_second;
    bars(
        &panels[0],
        "requests per second · more is better",
        rate,
        Scale::Linear,
    )?;
    let cpu: fn(&Turn) -> f64 = |turn| turn.cpu_seconds_per_1000_requests * 1e3; // µs each
    bars(
        &panels[1],
        "CPU time of the server, µs per request · log scale, less is better",
        cpu,
        Scale::Tens,
    )?;
    let late: fn(&Turn) -> f64 = |turn| turn.p99_ms;
    bars(
        &panels[2],
        "99 of 100 answered within, ms · log scale, less is better",
        late,
        Scale::Tens,
    )?;
    curves(&panels[3], &results.scaling)?;
    area.present()?;
    Ok(())
}

fn heading(area: &Area<'_>, results: &Results) -> anyhow::Result<()> {
    let machine = &results.machine;
    let title = "wasm-pool-host beside its peers: a file of 1 KiB, 32 connections";
    area.draw_text(title, &text(TITLE, INK, HPos::Left), (MARGIN, 42))?;
    let below = format!(
        "{}, {} cores that servers and clients share · {} · commit {}",
        machine.cpu, machine.cores, machine.date, machine.commit
    );
    area.draw_text(&below, &text(TEXT, SOFT, HPos::Left), (MARGIN, 80))?;
    Ok(())
}

fn values(entries: &[&Entry], of: fn(&Turn) -> f64) -> Vec<(Contestant, f64)> {
    let value = |entry: &&Entry| Some((entry.contestant, entry.median(of)?));
    entries.iter().filter_map(value).collect()
}

/// A bar for each contestant, with its figure behind it.
fn bars(
    area: &Area<'_>,
    title: &str,
    values: &[(Contestant, f64)],
    scale: Scale,
) -> anyhow::Result<()> {
    area.draw_text(title, &text(HEADING, INK, HPos::Left), (MARGIN, 24))?;
    let (width, height) = area.dim_in_pixel();
    let room = i32::try_from(width)? - BARS_FROM - FIGURE_WIDTH - MARGIN;
    let rows = i32::try_from(values.len().max(1))?;
    let row = (i32::try_from(height)? - PANEL_TITLE_HEIGHT - MARGIN / 2) / rows;
    for (at, &(contestant, value)) in (0..).zip(values) {
        let middle = PANEL_TITLE_HEIGHT + at * row + row / 2;
        let end = BARS_FROM + (f64::from(room) * scale.share(value, values)) as i32;
        let half = row * 3 / 8;
        let bar = [(BARS_FROM, middle - half), (end, middle + half)];
        area.draw(&Rectangle::new(bar, colour(contestant).filled()))?;
        let ink = if contestant.is_host() { HOST } else { INK };
        let name = text(TEXT, ink, HPos::Right);
        area.draw_text(contestant.name(), &name, (BARS_FROM - 10, middle))?;
        let figure = text(TEXT, ink, HPos::Left);
        area.draw_text(&grouped(value), &figure, (end + 8, middle))?;
    }
    Ok(())
}

impl Scale {
    /// How much of the room a value takes, if the largest takes all of it.
    fn share(self, value: f64, all: &[(Contestant, f64)]) -> f64 {
        let most = all
            .iter()
            .map(|one| one.1)
            .fold(f64::MIN_POSITIVE, f64::max);
        let least = all.iter().map(|one| one.1).fold(most, f64::min);
        match self {
            Self::Linear => value / most,
            Self::Tens => {
                // The smallest is not nothing: its bar begins at the power of ten below it.
                let from = least.log10().floor();
                (value.log10() - from) / (most.log10() - from)
            }
        }
    }
}

fn colour(contestant: Contestant) -> RGBColor {
    if contestant == Contestant::Pool {
        HOST
    } else if contestant.is_host() {
        HOST_TOO
    } else {
        PEER
    }
}

/// The pool with more and more of everything.
fn curves(area: &Area<'_>, points: &[Point]) -> anyhow::Result<()> {
    let title = "the pool with ever more processes, or connections · requests per second";
    area.draw_text(title, &text(HEADING, INK, HPos::Left), (MARGIN, 24))?;
    let most = points
        .iter()
        .map(|point| point.requests_per_second)
        .fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin_top(PANEL_TITLE_HEIGHT)
        .margin_bottom(MARGIN / 2)
        .margin_left(MARGIN)
        .margin_right(MARGIN)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d((10.0..12_000.0).log_scale(), 0.0..most * 1.15)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(SOFT)
        .x_labels(4)
        .x_label_formatter(&|number: &f64| grouped(number.round()))
        .y_label_formatter(&|rate: &f64| grouped(rate.round()))
        .label_style((FONT, TEXT, &SOFT))
        .draw()?;
    let kinds = [
        (Of::Processes, HOST, "processes, 32 connections", -22),
        (Of::Connections, OTHER, "connections", 26),
    ];
    for (of, colour, name, aside) in kinds {
        let points = points.iter().filter(|point| point.of == of);
        let points: Vec<_> = points
            .map(|one| (one.number as f64, one.requests_per_second))
            .collect();
        let line = PathElement::new(points.clone(), colour.stroke_width(3));
        chart.draw_series([line])?;
        let dots = points
            .iter()
            .map(|&point| Circle::new(point, 5, colour.filled()));
        chart.draw_series(dots)?;
        if let Some(&last) = points.last() {
            let style = text(TEXT, colour, HPos::Right);
            let label = EmptyElement::at(last) + Text::new(name, (0, aside), style);
            chart.draw_series([label])?;
        }
    }
    Ok(())
}

fn text(size: i32, colour: RGBColor, side: HPos) -> TextStyle<'static> {
    let mut style = TextStyle::from((FONT, size)).pos(Pos::new(side, VPos::Center));
    style.color = colour.to_backend_color();
    style
}

/// As people read numbers: 12,345.
fn grouped(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        return significant(value);
    }
    report::whole(value)
}
