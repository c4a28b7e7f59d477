//! One *panel*: bars over an axis in groups that have names, bars beside their names, or curves.

use plotters::prelude::*;
use plotters::style::FontStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::scale::{Scale, tick_label};
use super::{Area, FAINT, INK, font};
use crate::numbers::short;

/// Where a panel's title and its legend are, in pixels from its corner.
const TITLE_AT: (i32, i32) = (30, 14);
const LEGEND_AT: (i32, i32) = (30, 50);

/// Between the panel's border and what it draws, in pixels.
const LEFT: i32 = 70;
const RIGHT: i32 = 20;
const TOP: i32 = 90;
const BOTTOM: i32 = 50;

const TITLE_SIZE: f64 = 21.0;
const NAME_SIZE: f64 = 17.0;
const LABEL_SIZE: f64 = 16.0;
const LINE: i32 = 18;

/// Of the labels of bars that stand close together.
const SMALL_SIZE: f64 = 13.0;

/// Between a text and what it belongs to, in pixels.
const GAP: i32 = 8;

/// What a group's bars take of its place.
const FILLED: f64 = 0.8;

/// The widest that one bar may be, in pixels.
const WIDEST: f64 = 64.0;

const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

pub(crate) struct Bar {
    pub(crate) value: f64,
    pub(crate) label: Option<String>,
    pub(crate) colour: RGBColor,
    /// What the value is the median of: the lowest and the highest.
    pub(crate) spread: Option<(f64, f64)>,
}

pub(crate) struct Group {
    name: &'static str,
    bars: Vec<Bar>,
}

/// Points with a name and a colour: how far right, and how high.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) colour: RGBColor,
    pub(crate) points: Vec<(f64, f64)>,
}

pub(crate) struct Panel<'a, 'b> {
    area: &'a Area<'b>,
    scale: Scale,
    size: (i32, i32),
}

impl Bar {
    /// Without a label.
    pub(crate) fn plain(value: f64, colour: RGBColor) -> Self {
        Self {
            value,
            label: None,
            colour,
            spread: None,
        }
    }
}

impl Group {
    pub(crate) fn new(name: &'static str, bars: Vec<Bar>) -> Self {
        Self { name, bars }
    }
}

impl<'a, 'b> Panel<'a, 'b> {
    pub(crate) fn new(area: &'a Area<'b>, title: &str, scale: Scale) -> anyhow::Result<Self> {
        let (width, height) = area.dim_in_pixel();
        let size = (i32::try_from(width)?, i32::try_from(height)?);
        let panel = Self { area, scale, size };
        let style = font(TITLE_SIZE, FontStyle::Bold).color(&INK);
        panel.text(title, TITLE_AT, style.pos(Pos::new(HPos::Left, VPos::Top)))?;
        Ok(panel)
    }

    /// Bars below each other, each between its name and its figure.
    pub(crate) fn rows(&self, rows: &[(&str, Bar)]) -> anyhow::Result<()> {
        /// Where bars begin, behind their names; the width of a figure; and a bar's share of its row's height.
        const FROM: i32 = 260;
        const FIGURE: i32 = 80;
        const SHARE: f64 = 0.75;
        let room = f64::from(self.size.0 - FROM - FIGURE);
        let height = f64::from(self.size.1 - LEGEND_AT.1 - GAP) / rows.len().max(1) as f64;
        let style = font(LABEL_SIZE, FontStyle::Normal).color(&INK);
        for (at, (name, bar)) in rows.iter().enumerate() {
            let middle = f64::from(LEGEND_AT.1) + (at as f64 + 0.5) * height;
            let half = height * SHARE / 2.0;
            let end = FROM + (room * self.scale.height(bar.value)) as i32;
            let corners = [
                (FROM, (middle - half) as i32),
                (end, (middle + half) as i32),
            ];
            self.area
                .draw(&Rectangle::new(corners, bar.colour.filled()))?;
            let beside = |side| style.pos(Pos::new(side, VPos::Center));
            let middle = middle as i32;
            self.text(name, (FROM - GAP, middle), beside(HPos::Right))?;
            let figure = bar.label.as_deref().unwrap_or_default();
            self.text(figure, (end + GAP, middle), beside(HPos::Left))?;
        }
        Ok(())
    }

    /// Curves over a second scale.
    pub(crate) fn curves(&self, x: Scale, curves: &[Curve]) -> anyhow::Result<()> {
        /// The radius of a point.
        const POINT: i32 = 5;
        self.grid()?;
        let width = f64::from(self.size.0 - LEFT - RIGHT);
        let at = |value| LEFT + (width * x.height(value)) as i32;
        for tick in x.ticks() {
            self.name(&tick_label(tick), at(tick))?;
        }
        for Curve { colour, points, .. } in curves {
            let points = points.iter().map(|&(right, up)| (at(right), self.y(up)));
            let points: Vec<_> = points.collect();
            for &point in &points {
                let point = Circle::new(point, POINT, colour.filled());
                self.area.draw(&point)?;
            }
            let line = PathElement::new(points, colour.stroke_width(3));
            self.area.draw(&line)?;
        }
        self.base()?;
        let names = curves.iter().map(|curve| (curve.name, curve.colour));
        self.legend(&names.collect::<Vec<_>>())
    }

    fn grid(&self) -> anyhow::Result<()> {
        let style = font(LABEL_SIZE, FontStyle::Normal).color(&FAINT);
        let style = style.pos(Pos::new(HPos::Right, VPos::Center));
        for tick in self.scale.ticks() {
            let y = self.y(tick);
            let line = [(LEFT, y), (self.size.0 - RIGHT, y)];
            self.area
                .draw(&PathElement::new(line, GRID.stroke_width(1)))?;
            self.text(&tick_label(tick), (LEFT - GAP, y), style.clone())?;
        }
        Ok(())
    }

    /// Bars beside each other, group by group.
    pub(crate) fn groups(&self, groups: &[Group]) -> anyhow::Result<()> {
        self.grid()?;
        for (at, group) in groups.iter().enumerate() {
            let (centre, place) = self.place(at, groups.len());
            self.name(group.name, centre)?;
            let count = group.bars.len() as f64;
            let width = (place * FILLED / count).min(WIDEST);
            for (at, bar) in group.bars.iter().enumerate() {
                let left = f64::from(centre) + (at as f64 - count / 2.0) * width;
                self.bar((left, left + width), (0.0, bar.value), bar.colour)?;
                let x = (left + width / 2.0) as i32;
                let top = bar.spread.map_or(bar.value, |(_, high)| high);
                if let Some(spread) = bar.spread {
                    self.whisker(x, spread)?;
                }
                if let Some(label) = &bar.label {
                    let size = if group.bars.len() > 1 {
                        SMALL_SIZE
                    } else {
                        LABEL_SIZE
                    };
                    self.label(label, (x, self.y(top)), size)?;
                }
            }
        }
        self.base()
    }

    /// Bars on top of each other, with their sum above them.
    pub(crate) fn stacks(&self, groups: &[Group]) -> anyhow::Result<()> {
        self.grid()?;
        for (at, group) in groups.iter().enumerate() {
            let (centre, place) = self.place(at, groups.len());
            self.name(group.name, centre)?;
            let width = (place * FILLED).min(WIDEST);
            let left = f64::from(centre) - width / 2.0;
            let mut below = 0.0;
            for bar in &group.bars {
                let above = below + bar.value;
                self.bar((left, left + width), (below, above), bar.colour)?;
                below = above;
            }
            let top = self.y(below);
            if self.scale.height(below) >= 1.0 {
                self.cut(left as i32, (left + width) as i32, top + 2 * LINE)?;
            }
            self.label(&short(below), (centre, top), LABEL_SIZE)?;
        }
        self.base()
    }

    /// In one line below the title.
    pub(crate) fn legend(&self, entries: &[(&str, RGBColor)]) -> anyhow::Result<()> {
        /// The widths of a letter of this size, on average, and of a square.
        const LETTER: i32 = 8;
        const SQUARE: i32 = 12;
        let style = font(LABEL_SIZE, FontStyle::Normal).color(&INK);
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        let (mut x, y) = LEGEND_AT;
        for (name, colour) in entries {
            let square = [(x, y - SQUARE / 2), (x + SQUARE, y + SQUARE / 2)];
            self.area.draw(&Rectangle::new(square, colour.filled()))?;
            self.text(name, (x + SQUARE + GAP, y), style.clone())?;
            x += SQUARE + 2 * GAP + LETTER * i32::try_from(name.len())?;
        }
        Ok(())
    }

    /// Where a group stands: its centre, and its width.
    fn place(&self, at: usize, count: usize) -> (i32, f64) {
        let width = f64::from(self.size.0 - LEFT - RIGHT) / count as f64;
        let centre = f64::from(LEFT) + (at as f64 + 0.5) * width;
        (centre as i32, width)
    }

    fn y(&self, value: f64) -> i32 {
        let height = f64::from(self.size.1 - TOP - BOTTOM) * self.scale.height(value);
        self.size.1 - BOTTOM - height as i32
    }

    fn bar(&self, x: (f64, f64), values: (f64, f64), colour: RGBColor) -> anyhow::Result<()> {
        let corners = [
            (x.0 as i32, self.y(values.1)),
            (x.1 as i32, self.y(values.0)),
        ];
        Ok(self.area.draw(&Rectangle::new(corners, colour.filled()))?)
    }

    /// From the lowest to the highest, over the middle of its bar.
    fn whisker(&self, x: i32, (low, high): (f64, f64)) -> anyhow::Result<()> {
        /// Half of the width of its ends.
        const END: i32 = 8;
        let (low, high) = (self.y(low), self.y(high));
        for line in [
            [(x, low), (x, high)],
            [(x - END, low), (x + END, low)],
            [(x - END, high), (x + END, high)],
        ] {
            let line = PathElement::new(line, INK.stroke_width(2));
            self.area.draw(&line)?;
        }
        Ok(())
    }

    /// A gap that says: this goes on.
    fn cut(&self, left: i32, right: i32, y: i32) -> anyhow::Result<()> {
        /// How far the one line is below the other, and how much each rises.
        const APART: i32 = 8;
        const RISE: i32 = 6;
        for y in [y, y + APART] {
            let line = [(left - RISE, y + RISE), (right + RISE, y - RISE)];
            self.area
                .draw(&PathElement::new(line, WHITE.stroke_width(4)))?;
        }
        Ok(())
    }

    /// Above a bar that ends here; the last line is the lowest.
    fn label(&self, text: &str, (x, y): (i32, i32), size: f64) -> anyhow::Result<()> {
        let style = font(size, FontStyle::Normal).color(&INK);
        let style = style.pos(Pos::new(HPos::Center, VPos::Bottom));
        let lines = text.lines().rev().zip(0..);
        for (line, at) in lines {
            self.text(line, (x, y - GAP / 2 - at * LINE), style.clone())?;
        }
        Ok(())
    }

    fn name(&self, name: &str, x: i32) -> anyhow::Result<()> {
        let style = font(NAME_SIZE, FontStyle::Normal).color(&INK);
        let style = style.pos(Pos::new(HPos::Center, VPos::Top));
        for (line, at) in name.lines().zip(0..) {
            let y = self.size.1 - BOTTOM + GAP + at * LINE;
            self.text(line, (x, y), style.clone())?;
        }
        Ok(())
    }

    /// What all bars stand on.
    fn base(&self) -> anyhow::Result<()> {
        let y = self.size.1 - BOTTOM;
        let line = [(LEFT, y), (self.size.0 - RIGHT, y)];
        Ok(self
            .area
            .draw(&PathElement::new(line, INK.stroke_width(2)))?)
    }

    fn text(&self, text: &str, at: (i32, i32), style: TextStyle<'_>) -> anyhow::Result<()> {
        Ok(self.area.draw(&Text::new(text.to_owned(), at, style))?)
    }
}
