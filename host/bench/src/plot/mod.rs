//! The *plot*: panels on one image of the shape of a slide. A bar has its figure on it, since a figure can be read and a
//! bar can be compared.

mod panel;
mod scale;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle};

pub(crate) use panel::{Bar, Curve, Group, Panel};
pub(crate) use plotters::style::RGBColor;
pub(crate) use scale::Scale;

/// In pixels. An SVG image can be shown in any size: this is only the ratio to its text.
const SIZE: (u32, u32) = (1600, 900);
const HEAD: i32 = 104;
const FOOT: i32 = 8;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(crate) const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x66);

/// Where a panel is drawn.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws one panel.
pub(crate) type Draw<'a> = &'a dyn Fn(&Area<'_>) -> anyhow::Result<()>;

/// An image with a title, two lines below it, and panels in so many rows and columns.
pub(crate) fn svg(
    title: &str,
    [first, second]: [&str; 2],
    grid: (usize, usize),
    panels: &[Draw<'_>],
) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, rest) = root.split_vertically(HEAD);
        let left = Pos::new(HPos::Left, VPos::Top);
        for (text, size, style, colour, y) in [
            (title, 32.0, FontStyle::Bold, &INK, 16),
            (first, 18.0, FontStyle::Normal, &FAINT, 54),
            (second, 18.0, FontStyle::Normal, &FAINT, 78),
        ] {
            let style = font(size, style).color(colour).pos(left);
            head.draw(&Text::new(text.to_owned(), (30, y), style))?;
        }
        let (rest, _) = rest.split_vertically(SIZE.1 as i32 - HEAD - FOOT);
        for (area, draw) in rest.split_evenly(grid).iter().zip(panels) {
            draw(area)?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// So much of the colour, and the rest white.
pub(crate) fn lighter(RGBColor(red, green, blue): RGBColor, share: f64) -> RGBColor {
    let mix = |part: u8| (f64::from(part) * share + 255.0 * (1.0 - share)) as u8;
    RGBColor(mix(red), mix(green), mix(blue))
}

fn font(size: f64, style: FontStyle) -> FontDesc<'static> {
    FontDesc::new(FontFamily::SansSerif, size, style)
}
