//! The *plot*: panels on one image of the shape of a slide. A bar has its figure on it, since a
//! figure can be read and a bar can be compared. Drawings are few rectangles, lines and texts, so
//! they are written as SVG right away.

mod panel;
mod scale;

use std::fmt::Write;

pub(crate) use panel::{Bar, Content, Curve, Group, Panel};
pub(crate) use scale::Scale;

/// In pixels. An SVG image can be shown in any size: this is only the ratio to its text.
const SIZE: (f64, f64) = (1600.0, 900.0);
const HEAD: f64 = 104.0;
const FOOT: f64 = 8.0;

/// Red, green and blue.
#[derive(Clone, Copy)]
pub(crate) struct Colour(pub(crate) u32);

const WHITE: Colour = Colour(0xffffff);
const INK: Colour = Colour(0x222222);
pub(crate) const FAINT: Colour = Colour(0x666666);

impl Colour {
    /// So much of the colour, and the rest white.
    pub(crate) fn lighter(self, share: f64) -> Self {
        let mix = |part: u8| (f64::from(part) * share + 255.0 * (1.0 - share)) as u8;
        let [_, red, green, blue] = self.0.to_be_bytes().map(mix);
        Self(u32::from_be_bytes([0, red, green, blue]))
    }
}

/// How a text looks.
#[derive(Clone, Copy)]
struct Font {
    size: f64,
    weight: &'static str,
    colour: Colour,
}

impl Font {
    const fn new(size: f64, weight: &'static str, colour: Colour) -> Self {
        Self {
            size,
            weight,
            colour,
        }
    }
}

/// Where a text stands: it begins at a point, ends there, or has its middle there.
#[derive(Clone, Copy)]
enum Side {
    Begin,
    Middle,
    End,
}

/// An image with a title, two lines below it, and panels in so many rows and columns.
pub(crate) fn svg(
    title: &str,
    lines: [&str; 2],
    (rows, columns): (usize, usize),
    panels: &[Panel],
) -> String {
    let (width, height) = SIZE;
    let mut svg = Svg(format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\">\n"
    ));
    svg.rectangle((0.0, 0.0), SIZE, WHITE);
    let [first, second] = lines;
    for (text, y, size, weight, colour) in [
        (title, 32.0, 32.0, "bold", INK),
        (first, 64.0, 18.0, "normal", FAINT),
        (second, 88.0, 18.0, "normal", FAINT),
    ] {
        svg.text(
            (30.0, y),
            Side::Begin,
            Font::new(size, weight, colour),
            text,
        );
    }
    let size = (width / columns as f64, (height - HEAD - FOOT) / rows as f64);
    for (at, panel) in panels.iter().enumerate() {
        let (column, row) = (at % columns, at / columns);
        let corner = (column as f64 * size.0, HEAD + row as f64 * size.1);
        svg.add(format_args!(
            "<g transform=\"translate({} {})\">",
            corner.0, corner.1
        ));
        panel.draw(&mut svg, size);
        svg.add(format_args!("</g>"));
    }
    svg.0 + "</svg>\n"
}

/// An image that is being drawn.
struct Svg(String);

impl Svg {
    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "{element}");
    }

    /// Between two corners.
    fn rectangle(
        &mut self,
        (left, top): (f64, f64),
        (right, bottom): (f64, f64),
        Colour(fill): Colour,
    ) {
        let (width, height) = (right - left, bottom - top);
        self.add(format_args!(
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"#{fill:06x}\"/>"
        ));
    }

    fn line(&mut self, points: &[(f64, f64)], width: u32, Colour(colour): Colour) {
        let points: String = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1} "))
            .collect();
        self.add(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"#{colour:06x}\" stroke-width=\"{width}\"/>"
        ));
    }

    fn circle(&mut self, (x, y): (f64, f64), radius: f64, Colour(fill): Colour) {
        self.add(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"#{fill:06x}\"/>"
        ));
    }

    /// The point is at half the height of the text.
    fn text(&mut self, (x, y): (f64, f64), side: Side, font: Font, text: &str) {
        /// From the middle of small letters to the line that they stand on, as a share of the size.
        const BASE: f64 = 0.35;
        let anchor = match side {
            Side::Begin => "start",
            Side::Middle => "middle",
            Side::End => "end",
        };
        let Font {
            size,
            weight,
            colour: Colour(fill),
        } = font;
        let (y, text) = (y + BASE * size, escaped(text));
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" \
             font-weight=\"{weight}\" fill=\"#{fill:06x}\">{text}</text>"
        ));
    }
}

/// A text that means itself in SVG and HTML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
