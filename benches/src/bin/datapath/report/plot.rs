//! Bars: each variant's rate and cost as multiples of "no rules", with the spread over the turns.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Setting;
use crate::results::{Results, Spread};
use crate::traffic::{Sample, Traffic};
use crate::variant::Variant;
use shimq_benches::error::BenchError;

/// Writes `bench.svg` and `bench.png`.
pub(super) fn write(results: &Results, setting: &Setting, folder: &Path) -> Result<(), BenchError> {
    let (svg, png) = (folder.join("bench.svg"), folder.join("bench.png"));
    let failure = |file: &Path| {
        let file = file.to_owned();
        move |reason: String| BenchError::Plot { file, reason }
    };
    register_font(FONT, FontStyle::Normal, SANS)
        .map_err(|_| failure(&svg)("the built-in font is unusable".to_owned()))?;
    let panels = panels(results);
    let subtitle = setting.machine.describe();
    let area = SVGBackend::new(&svg, SIZE).into_drawing_area();
    draw(&panels, &subtitle, &area).map_err(failure(&svg))?;
    let area = BitMapBackend::new(&png, SIZE).into_drawing_area();
    draw(&panels, &subtitle, &area).map_err(failure(&png))
}

/// One figure of one kind of traffic, of all variants that have it.
struct Panel {
    title: String,
    bars: Vec<(Variant, Spread)>,
}

fn panels(results: &Results) -> Vec<Panel> {
    let panel = |title: &str, traffic: Traffic, figure: fn(&Sample) -> f64| Panel {
        title: format!("{}: {title}", traffic.title()),
        bars: Variant::ALL
            .into_iter()
            .filter_map(|variant| {
                let ratio = results.ratio(variant, Variant::NoRules, traffic, figure)?;
                Some((variant, ratio))
            })
            .collect(),
    };
    let p50 = |sample: &Sample| sample.latency.map_or(f64::NAN, |latency| latency.p50);
    vec![
        panel("rate", Traffic::BulkAToB, |sample| sample.rate),
        panel("CPU per octet", Traffic::BulkAToB, |sample| sample.cpu),
        panel("rate", Traffic::BulkAToBNoOffload, |sample| sample.rate),
        panel("CPU per octet", Traffic::BulkAToBNoOffload, |sample| {
            sample.cpu
        }),
        panel("rate", Traffic::SmallPackets, |sample| sample.rate),
        panel("CPU per packet", Traffic::SmallPackets, |sample| sample.cpu),
        panel("p50", Traffic::RoundTrip, p50),
        panel("CPU per exchange", Traffic::RoundTrip, |sample| sample.cpu),
    ]
}

type Outcome<D> = Result<(), DrawingAreaErrorKind<<D as DrawingBackend>::ErrorType>>;

fn draw<D: DrawingBackend>(
    panels: &[Panel],
    subtitle: &str,
    area: &DrawingArea<D, Shift>,
) -> Result<(), String> {
    draw_all(panels, subtitle, area)
        .and_then(|()| area.present())
        .map_err(|error| error.to_string())
}

fn draw_all<D: DrawingBackend>(
    panels: &[Panel],
    subtitle: &str,
    area: &DrawingArea<D, Shift>,
) -> Outcome<D> {
    area.fill(&WHITE)?;
    let (above, below) = area.split_vertically(80);
    let title = (FONT, 26).into_font().color(&INK);
    let text = "Multiples of \"no rules\" in the same turn: median and quartiles";
    above.draw(&Text::new(text, (24, 16), title))?;
    let small = (FONT, 14).into_font().color(&FAINT);
    above.draw(&Text::new(subtitle.to_owned(), (24, 52), small))?;
    for (panel, area) in panels.iter().zip(below.split_evenly((4, 2))) {
        draw_panel(panel, &area)?;
    }
    Ok(())
}

fn draw_panel<D: DrawingBackend>(panel: &Panel, area: &DrawingArea<D, Shift>) -> Outcome<D> {
    let title = (FONT, 17).into_font().color(&INK);
    area.draw(&Text::new(panel.title.clone(), (24, 8), title))?;
    let (width, height) = area.dim_in_pixel();
    let longest = panel.bars.iter().map(|(_, spread)| spread.median);
    let longest = longest.fold(1.0, f64::max);
    let left = NAMES;
    let room = f64::from(width.saturating_sub(left.unsigned_abs() + 90));
    let x = |ratio: f64| left + (ratio.min(longest * 1.1) / (longest * 1.1) * room) as i32;
    let line = [(x(1.0), 32), (x(1.0), height.cast_signed() - 6)];
    area.draw(&PathElement::new(line, INK.mix(0.3)))?;
    for (row, (variant, spread)) in (0..).zip(&panel.bars) {
        let y = 36 + row * ROW;
        let middle = y + BAR / 2;
        let color = if variant.title().starts_with("shimq") {
            OURS
        } else {
            OTHERS
        };
        area.draw(&Rectangle::new(
            [(x(0.0), y), (x(spread.median), y + BAR)],
            color.filled(),
        ))?;
        let whisker = spread.quartiles.map(|quartile| (x(quartile), middle));
        area.draw(&PathElement::new(whisker, INK))?;
        let name = (FONT, 13)
            .into_font()
            .color(&INK)
            .pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(variant.title(), (left - 8, middle), name))?;
        let value = (FONT, 13)
            .into_font()
            .color(&INK)
            .pos(Pos::new(HPos::Left, VPos::Center));
        let at = x(spread.median.max(spread.quartiles[1])) + 8;
        area.draw(&Text::new(
            format!("{:.2}", spread.median),
            (at, middle),
            value,
        ))?;
    }
    Ok(())
}

const FONT: &str = "sans-serif";
const SANS: &[u8] = include_bytes!("../../../../../shimq/src/demo/sans.ttf");

/// Pixels.
const SIZE: (u32, u32) = (1_400, 80 + 4 * PANEL);
/// Height of a panel with a bar for each variant.
const PANEL: u32 = 50 + Variant::ALL.len() as u32 * ROW.unsigned_abs();
/// Left of the bars.
const NAMES: i32 = 250;
const ROW: i32 = 24;
const BAR: i32 = 16;

const INK: RGBColor = RGBColor(38, 38, 38);
const FAINT: RGBColor = RGBColor(105, 105, 105);
const OURS: RGBColor = RGBColor(32, 122, 158);
const OTHERS: RGBColor = RGBColor(164, 174, 186);
