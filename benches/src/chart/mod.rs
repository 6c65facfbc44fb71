//! Plots, each written as SVG and as PNG, in one manner.

mod rows;
mod xy;

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::BenchError;
pub use rows::{Row, Rows};
pub use xy::{Axis, Chart, Mark, Series, Style};

/// Blue: ours.
pub const OURS: RGBColor = RGBColor(32, 122, 158);
/// Grey: what it is compared with.
pub const OTHERS: RGBColor = RGBColor(134, 144, 156);
/// Orange: another way of ours.
pub const SECOND: RGBColor = RGBColor(214, 126, 28);
/// Green: a third way.
pub const THIRD: RGBColor = RGBColor(74, 140, 72);
/// Violet: a fourth one.
pub const FOURTH: RGBColor = RGBColor(128, 92, 168);
/// Red: what is stated elsewhere, or a limit.
pub const STATED: RGBColor = RGBColor(192, 32, 32);

const INK: RGBColor = RGBColor(38, 38, 38);
const FAINT: RGBColor = RGBColor(105, 105, 105);

const FONT: &str = "sans-serif";
const SANS: &[u8] = include_bytes!("../../../shimq/src/demo/sans.ttf");

type Outcome<D> = Result<(), DrawingAreaErrorKind<<D as DrawingBackend>::ErrorType>>;

/// Something that can be drawn on either backend.
trait Drawing {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws on a white ground.
    fn draw<D: DrawingBackend>(&self, area: &DrawingArea<D, Shift>) -> Outcome<D>;
}

/// Writes `NAME.svg` and `NAME.png` to `folder`.
fn write(drawing: &impl Drawing, folder: &Path, name: &str) -> Result<(), BenchError> {
    let file = |extension: &str| folder.join(format!("{name}.{extension}"));
    let (svg, png) = (file("svg"), file("png"));
    let failure = |file: &Path| {
        let file = file.to_owned();
        move |reason: String| BenchError::Plot { file, reason }
    };
    register_font(FONT, FontStyle::Normal, SANS)
        .map_err(|_| failure(&svg)("the built-in font is unusable".to_owned()))?;
    let area = SVGBackend::new(&svg, drawing.size()).into_drawing_area();
    present(drawing, &area).map_err(failure(&svg))?;
    let area = BitMapBackend::new(&png, drawing.size()).into_drawing_area();
    present(drawing, &area).map_err(failure(&png))
}

fn present<D: DrawingBackend>(
    drawing: &impl Drawing,
    area: &DrawingArea<D, Shift>,
) -> Result<(), String> {
    area.fill(&WHITE)
        .and_then(|()| drawing.draw(area))
        .and_then(|()| area.present())
        .map_err(|error| error.to_string())
}

/// Draws the headline and the line below it.
fn headline<D: DrawingBackend>(
    area: &DrawingArea<D, Shift>,
    title: &str,
    subtitle: &str,
) -> Outcome<D> {
    let large = (FONT, 24).into_font().color(&INK);
    area.draw(&Text::new(title.to_owned(), (24, 16), large))?;
    let small = (FONT, 15).into_font().color(&FAINT);
    area.draw(&Text::new(subtitle.to_owned(), (24, 48), small))
}

/// Text at a pixel, anchored as told.
fn label<D: DrawingBackend>(
    area: &DrawingArea<D, Shift>,
    text: &str,
    at: (i32, i32),
    color: RGBColor,
    anchor: HPos,
) -> Outcome<D> {
    let style = (FONT, 14)
        .into_font()
        .color(&color)
        .pos(Pos::new(anchor, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))
}
