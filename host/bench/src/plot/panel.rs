//! One *panel*: bars over an axis in groups that have names, bars beside their names, or curves.

use super::scale::{Scale, tick_label};
use super::{Colour, FAINT, Font, INK, Side, Svg, WHITE};
use crate::numbers::short;

/// Where a panel's title and its legend are, in pixels from its corner.
const TITLE_AT: (f64, f64) = (30.0, 24.0);
const LEGEND_AT: (f64, f64) = (30.0, 50.0);

/// Between the panel's border and what it draws, in pixels.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 90.0;
const BOTTOM: f64 = 50.0;

const TITLE: Font = Font::new(21.0, "bold", INK);
const NAME: Font = Font::new(17.0, "normal", INK);
const LABEL: Font = Font::new(16.0, "normal", INK);
const TICK: Font = Font::new(16.0, "normal", FAINT);

/// Of the labels of bars that stand close together.
const SMALL: Font = Font::new(13.0, "normal", INK);

/// From one line of a text to the next, in pixels.
const LINE: f64 = 18.0;

/// Between a text and what it belongs to, in pixels.
const GAP: f64 = 8.0;

/// The share that a group's bars have of its place, and the widest that one bar may be, in pixels.
const FILLED: f64 = 0.8;
const WIDEST: f64 = 64.0;

const GRID: Colour = Colour(0xdddddd);

pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) scale: Scale,
    pub(crate) content: Content,
    /// Names of colours.
    pub(crate) legend: Vec<(&'static str, Colour)>,
}

pub(crate) enum Content {
    /// Bars beside each other.
    Groups(Vec<Group>),
    /// Bars on top of each other, with their sum above them.
    Stacks(Vec<Group>),
    /// Bars below each other, each between its name and its figure.
    Rows(Vec<(&'static str, Bar)>),
    /// Curves over a scale of their own.
    Curves(Scale, Vec<Curve>),
}

/// A name, and its bars.
pub(crate) struct Group(pub(crate) &'static str, pub(crate) Vec<Bar>);

/// A colour, and points: how far right, and how high.
pub(crate) struct Curve(pub(crate) Colour, pub(crate) Vec<(f64, f64)>);

pub(crate) struct Bar {
    pub(crate) value: f64,
    pub(crate) label: String,
    pub(crate) colour: Colour,
    /// The lowest and the highest of the values whose median this is.
    pub(crate) spread: Option<(f64, f64)>,
}

impl Bar {
    pub(crate) fn new(value: f64, label: String, colour: Colour) -> Self {
        Self {
            value,
            label,
            colour,
            spread: None,
        }
    }
}

impl Panel {
    pub(super) fn draw(&self, svg: &mut Svg, size: (f64, f64)) {
        let scale = self.scale;
        let mut canvas = Canvas { svg, size, scale };
        canvas.svg.text(TITLE_AT, Side::Begin, TITLE, &self.title);
        match &self.content {
            Content::Groups(groups) => canvas.groups(groups),
            Content::Stacks(groups) => canvas.stacks(groups),
            Content::Rows(rows) => canvas.rows(rows),
            Content::Curves(x, curves) => canvas.curves(*x, curves),
        }
        canvas.legend(&self.legend);
    }
}

/// Where a panel is drawn.
struct Canvas<'a> {
    svg: &'a mut Svg,
    size: (f64, f64),
    scale: Scale,
}

impl Canvas<'_> {
    fn groups(&mut self, groups: &[Group]) {
        self.grid();
        for (at, Group(name, bars)) in groups.iter().enumerate() {
            let (centre, place) = self.place(at, groups.len());
            self.name(name, centre);
            let count = bars.len() as f64;
            let width = (place * FILLED / count).min(WIDEST);
            let font = if bars.len() > 1 { SMALL } else { LABEL };
            for (at, bar) in bars.iter().enumerate() {
                let left = centre + (at as f64 - count / 2.0) * width;
                let middle = left + width / 2.0;
                self.bar((left, left + width), (0.0, bar.value), bar.colour);
                if let Some(spread) = bar.spread {
                    self.whisker(middle, spread);
                }
                let top = bar.spread.map_or(bar.value, |(_, high)| high);
                self.label(&bar.label, (middle, self.y(top)), font);
            }
        }
        self.base();
    }

    fn stacks(&mut self, groups: &[Group]) {
        self.grid();
        for (at, Group(name, bars)) in groups.iter().enumerate() {
            let (centre, place) = self.place(at, groups.len());
            self.name(name, centre);
            let half = (place * FILLED).min(WIDEST) / 2.0;
            let sides = (centre - half, centre + half);
            let mut below = 0.0;
            for bar in bars {
                let above = below + bar.value;
                self.bar(sides, (below, above), bar.colour);
                below = above;
            }
            let top = self.y(below);
            if self.scale.height(below) >= 1.0 {
                self.cut(sides, top + 2.0 * LINE);
            }
            self.label(&short(below), (centre, top), LABEL);
        }
        self.base();
    }

    fn rows(&mut self, rows: &[(&str, Bar)]) {
        /// Where bars begin, behind their names; the width of a figure; and a bar's share of its
        /// row's height.
        const FROM: f64 = 260.0;
        const FIGURE: f64 = 80.0;
        const SHARE: f64 = 0.75;
        let height = (self.size.1 - LEGEND_AT.1 - GAP) / rows.len().max(1) as f64;
        for (at, (name, bar)) in rows.iter().enumerate() {
            let middle = LEGEND_AT.1 + (at as f64 + 0.5) * height;
            let half = height * SHARE / 2.0;
            let end = FROM + (self.size.0 - FROM - FIGURE) * self.scale.height(bar.value);
            let corner = (end, middle + half);
            self.svg
                .rectangle((FROM, middle - half), corner, bar.colour);
            self.svg.text((FROM - GAP, middle), Side::End, LABEL, name);
            self.svg
                .text((end + GAP, middle), Side::Begin, LABEL, &bar.label);
        }
    }

    fn curves(&mut self, x: Scale, curves: &[Curve]) {
        const RADIUS: f64 = 5.0;
        self.grid();
        let width = self.size.0 - LEFT - RIGHT;
        let right = |value| LEFT + width * x.height(value);
        for tick in x.ticks() {
            self.name(&tick_label(tick), right(tick));
        }
        for Curve(colour, points) in curves {
            let points = points.iter().map(|&(x, y)| (right(x), self.y(y)));
            let points: Vec<_> = points.collect();
            self.svg.line(&points, 3, *colour);
            for point in points {
                self.svg.circle(point, RADIUS, *colour);
            }
        }
        self.base();
    }

    fn grid(&mut self) {
        for tick in self.scale.ticks() {
            let y = self.y(tick);
            self.across(y, 1, GRID);
            self.svg
                .text((LEFT - GAP, y), Side::End, TICK, &tick_label(tick));
        }
    }

    /// The line on which all bars stand.
    fn base(&mut self) {
        self.across(self.size.1 - BOTTOM, 2, INK);
    }

    fn across(&mut self, y: f64, width: u32, colour: Colour) {
        let ends = [(LEFT, y), (self.size.0 - RIGHT, y)];
        self.svg.line(&ends, width, colour);
    }

    /// In one line below the title.
    fn legend(&mut self, entries: &[(&str, Colour)]) {
        /// The widths of a letter of this size, on average, and of a square.
        const LETTER: f64 = 8.0;
        const SQUARE: f64 = 12.0;
        let (mut x, y) = LEGEND_AT;
        for (name, colour) in entries {
            let corners = ((x, y - SQUARE / 2.0), (x + SQUARE, y + SQUARE / 2.0));
            self.svg.rectangle(corners.0, corners.1, *colour);
            self.svg
                .text((x + SQUARE + GAP, y), Side::Begin, LABEL, name);
            x += SQUARE + 2.0 * GAP + LETTER * name.len() as f64;
        }
    }

    /// The centre and the width of a group's place.
    fn place(&self, at: usize, count: usize) -> (f64, f64) {
        let width = (self.size.0 - LEFT - RIGHT) / count as f64;
        (LEFT + (at as f64 + 0.5) * width, width)
    }

    fn y(&self, value: f64) -> f64 {
        let height = self.size.1 - TOP - BOTTOM;
        self.size.1 - BOTTOM - height * self.scale.height(value)
    }

    fn bar(&mut self, sides: (f64, f64), (low, high): (f64, f64), colour: Colour) {
        let (low, high) = (self.y(low), self.y(high));
        self.svg.rectangle((sides.0, high), (sides.1, low), colour);
    }

    /// From the lowest value to the highest, over the middle of a bar.
    fn whisker(&mut self, x: f64, (low, high): (f64, f64)) {
        /// Half of the width of its ends.
        const END: f64 = 8.0;
        let (low, high) = (self.y(low), self.y(high));
        let ends = [low, high].map(|y| [(x - END, y), (x + END, y)]);
        for line in ends.into_iter().chain([[(x, low), (x, high)]]) {
            self.svg.line(&line, 2, INK);
        }
    }

    /// A gap in a bar that goes on beyond the panel.
    fn cut(&mut self, (left, right): (f64, f64), y: f64) {
        /// How far the one line is below the other, and how much each rises.
        const APART: f64 = 8.0;
        const RISE: f64 = 6.0;
        for y in [y, y + APART] {
            let line = [(left - RISE, y + RISE), (right + RISE, y - RISE)];
            self.svg.line(&line, 4, WHITE);
        }
    }

    /// Above a bar that ends here. The last line is the lowest.
    fn label(&mut self, text: &str, (x, y): (f64, f64), font: Font) {
        for (line, at) in text.lines().rev().zip(0..) {
            let y = y - GAP - font.size / 2.0 - f64::from(at) * LINE;
            self.svg.text((x, y), Side::Middle, font, line);
        }
    }

    fn name(&mut self, name: &str, x: f64) {
        for (line, at) in name.lines().zip(0..) {
            let y = self.size.1 - BOTTOM + 2.0 * GAP + f64::from(at) * LINE;
            self.svg.text((x, y), Side::Middle, NAME, line);
        }
    }
}
