//! The results as a *chart* with the aspect ratio of a slide: panels of bars. Each bar has its
//! figure beside it: readers read figures and compare bars. The background is white, whatever the
//! background of the page.

use std::ops::Range;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::numbers::shown;
use crate::quantities::label;
use crate::results::Results;

/// The size in pixels. An SVG image scales to any size, so only the ratio to the text size matters.
const SIZE: (u32, u32) = (1600, 900);
const HEAD: i32 = 104;
const MARGIN: i32 = 30;

/// Above and below the bars of a panel, in pixels: its title and its axis.
const TITLE: u32 = 44;
const AXIS: u32 = 46;

/// The width of a letter, on average, in pixels.
const LETTER: usize = 8;

/// The gap between contestants, in bars.
const BETWEEN: f64 = 0.5;

/// Font sizes, in pixels.
const LARGE: i32 = 36;
const MEDIUM: i32 = 23;
const SMALL: i32 = 18;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x66);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// People with colour blindness can tell these colours apart.
const OURS: RGBColor = RGBColor(0x4f, 0x46, 0xe5);
const OTHERS: RGBColor = RGBColor(0x9a, 0xa3, 0xb2);

/// Replaces a figure that an entry lacks: a server that has ended never answers again.
const MISSING: &str = "never";

/// A panel of bars for all contestants of a case.
pub(crate) struct Panel<'a> {
    title: &'a str,
    case: &'a str,
    /// Each contestant has a bar for each quantity.
    quantities: &'a [&'static str],
    /// The name and the unit of the axis.
    axis: &'a str,
    is_log: bool,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws columns of panels.
///
/// # Errors
/// If the library can't draw.
pub(crate) fn svg(
    results: &Results,
    title: &str,
    is_ours: impl Fn(&str) -> bool,
    columns: &[&[Panel<'_>]],
) -> anyhow::Result<String> {
    let mut image = String::new();
    let root = SVGBackend::with_string(&mut image, SIZE).into_drawing_area();
    let drawn = draw(&root, results, title, is_ours, columns);
    drawn.map_err(|error| anyhow!("can't draw the chart: {error}"))?;
    drop(root);
    Ok(image)
}

type Drawn<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn draw(
    root: &Area<'_>,
    results: &Results,
    title: &str,
    is_ours: impl Fn(&str) -> bool,
    columns: &[&[Panel<'_>]],
) -> Drawn {
    root.fill(&WHITE)?;
    let [machine, version, settings] = results.origin();
    for (text, y, size, colour) in [
        (title, 14, LARGE, &INK),
        (&format!("{machine} · {version}"), 54, MEDIUM, &FAINT),
        (&settings, 78, MEDIUM, &FAINT),
    ] {
        root.draw_text(
            text,
            &style(size, colour, HPos::Left, VPos::Top),
            (MARGIN, y),
        )?;
    }
    let (_, body) = root.split_vertically(HEAD);
    for (area, panels) in body.split_evenly((1, columns.len())).iter().zip(columns) {
        let bars = panels.iter().map(|panel| panel.bars(results, &is_ours));
        let bars: Vec<_> = bars.collect();
        // Panels share a column by their numbers of bars.
        let around = panels.len() as u32 * (TITLE + AXIS);
        let room = area.dim_in_pixel().1.saturating_sub(around);
        let each = f64::from(room) / bars.iter().map(|bars| height(bars)).sum::<f64>();
        let mut rest = area.clone();
        for (panel, bars) in panels.iter().zip(&bars) {
            let height = (each * height(bars)) as u32 + TITLE + AXIS;
            let (this, next) = rest.split_vertically(height);
            panel.draw(&this, bars)?;
            rest = next;
        }
    }
    root.present()?;
    Ok(())
}

struct Bar {
    contestant: String,
    /// The distance from the panel's top, in bars.
    at: f64,
    value: f64,
    /// The slowest and the fastest round.
    rounds: Range<f64>,
    label: String,
    colour: RGBAColor,
}

/// The height of a panel, in bars.
fn height(bars: &[Bar]) -> f64 {
    bars.last().map_or(0.0, |bar| bar.at + 1.0 + BETWEEN)
}

impl<'a> Panel<'a> {
    /// Creates a panel with a logarithmic axis, since the figures differ by orders of magnitude.
    pub(crate) fn new(
        title: &'a str,
        case: &'a str,
        quantities: &'a [&'static str],
        axis: &'a str,
    ) -> Self {
        Self {
            title,
            case,
            quantities,
            axis,
            is_log: true,
        }
    }

    pub(crate) fn linear(mut self) -> Self {
        self.is_log = false;
        self
    }

    fn bars(&self, results: &Results, is_ours: impl Fn(&str) -> bool) -> Vec<Bar> {
        let mut bars = Vec::new();
        let series = self.quantities.len();
        for (above, entry) in results.of_case(self.case).enumerate() {
            let colour = if is_ours(&entry.contestant) {
                OURS
            } else {
                OTHERS
            };
            for (number, quantity) in self.quantities.iter().enumerate() {
                let figure = entry.figures.get(*quantity);
                let value = figure.map_or(MISSING.into(), |figure| shown(figure.median));
                let name = label(quantity).split(',').next().unwrap_or_default();
                bars.push(Bar {
                    contestant: entry.contestant.clone(),
                    at: BETWEEN + above as f64 * (series as f64 + BETWEEN) + number as f64,
                    value: figure.map_or(0.0, |figure| figure.median),
                    rounds: figure.map_or(0.0..0.0, |figure| figure.lowest..figure.highest),
                    label: if series > 1 {
                        format!("{value} {name}")
                    } else {
                        value
                    },
                    colour: colour.mix(1.0 - 0.7 * number as f64 / series as f64),
                });
            }
        }
        bars
    }

    fn draw(&self, area: &Area<'_>, bars: &[Bar]) -> Drawn {
        let most = bars.iter().map(|bar| bar.rounds.end).fold(0.0, f64::max);
        if !self.is_log {
            return self.draw_over(area, bars, 0.0..most.max(1.0), 0.0);
        }
        let values = bars
            .iter()
            .map(|bar| bar.value)
            .filter(|value| *value > 0.0);
        // The axis begins at a thousandth or higher: smaller values are negligible.
        let low = 10_f64.powf(values.fold(most, f64::min).log10().floor().max(-3.0));
        let high = most.max(low * 10.0);
        self.draw_over(area, bars, (low..high).log_scale(), low)
    }

    /// Draws over an axis that begins at `low`.
    fn draw_over<X>(&self, area: &Area<'_>, bars: &[Bar], axis: X, low: f64) -> Drawn
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
    {
        let longest = |text: fn(&Bar) -> &String| {
            let letters = bars.iter().map(|bar| text(bar).chars().count());
            (letters.fold(0, usize::max) * LETTER) as u32 + MARGIN as u32 / 2
        };
        let mut chart = ChartBuilder::on(area)
            .margin_top(TITLE)
            .margin_left(MARGIN / 2)
            .margin_right(longest(|bar| &bar.label))
            .x_label_area_size(AXIS)
            .y_label_area_size(longest(|bar| &bar.contestant))
            .build_cartesian_2d(axis, height(bars)..0.0)?;
        let title = style(MEDIUM, &INK, HPos::Left, VPos::Top);
        area.draw_text(self.title, &title, (MARGIN, TITLE as i32 / 3))?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .y_labels(0)
            .x_labels(5)
            .max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(style(SMALL, &FAINT, HPos::Center, VPos::Top))
            .x_desc(self.axis)
            .x_label_formatter(&|tick| tick_label(*tick))
            .draw()?;
        let name_style = style(SMALL, &INK, HPos::Right, VPos::Center);
        let label_style = style(SMALL, &INK, HPos::Left, VPos::Center);
        for group in bars.chunks(self.quantities.len()) {
            let name = Text::new(group[0].contestant.clone(), (-8, 0), name_style.clone());
            let middle = group[0].at + group.len() as f64 / 2.0;
            chart.draw_series([EmptyElement::at((low, middle)) + name])?;
        }
        for bar in bars {
            let (top, middle, bottom) = (bar.at + 0.1, bar.at + 0.5, bar.at + 0.9);
            let [value, start, end] =
                [bar.value, bar.rounds.start, bar.rounds.end].map(|at| at.max(low));
            let rectangle = Rectangle::new([(low, top), (value, bottom)], bar.colour.filled());
            chart.draw_series([rectangle])?;
            let whisker = PathElement::new([(start, middle), (end, middle)], INK.stroke_width(2));
            chart.draw_series([whisker])?;
            let label = Text::new(bar.label.clone(), (6, 0), label_style.clone());
            chart.draw_series([EmptyElement::at((end, middle)) + label])?;
        }
        Ok(())
    }
}

/// The shortest text for a tick.
fn tick_label(tick: f64) -> String {
    if tick < 1.0 {
        tick.to_string()
    } else {
        shown(tick)
    }
}

fn style(size: i32, colour: &'static RGBColor, across: HPos, down: VPos) -> TextStyle<'static> {
    let style = TextStyle::from(("sans-serif", size).into_font());
    style.color(colour).pos(Pos::new(across, down))
}
