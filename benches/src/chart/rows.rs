//! One row for each thing measured: its median, the span from the 5th to the 95th percentile, and the
//! limits it was to keep.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{Drawing, FAINT, INK, OTHERS, OURS, Outcome, STATED, headline, label, write};
use crate::error::BenchError;

/// A row. Values are in the chart's unit; [`f64::INFINITY`] ends at the right border.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Percentiles 5, 50 and 95.
    pub percentiles: [f64; 3],
    /// What the median shall not exceed.
    pub limit: Option<f64>,
    /// Whether it is ours.
    pub ours: bool,
}

/// A chart of rows, on a logarithmic scale.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The headline.
    pub title: String,
    /// How it was had.
    pub subtitle: String,
    /// What the scale is.
    pub unit: String,
    /// Groups, parted by some space.
    pub groups: Vec<Vec<Row>>,
}

impl Rows {
    /// Writes `NAME.svg` and `NAME.png` to `folder`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), BenchError> {
        write(self, folder, name)
    }

    /// The decades that hold all values.
    fn range(&self) -> (f64, f64) {
        let rows = self.groups.iter().flatten();
        let values = rows
            .flat_map(|row| row.percentiles.into_iter().chain(row.limit))
            .filter(|value| value.is_finite() && *value > 0.0);
        let (least, most) = values.fold((f64::INFINITY, 1.0), |(least, most), value| {
            (value.min(least), value.max(most))
        });
        let least = if least.is_finite() { least } else { 1.0 };
        (least / 1.25, most * 1.6)
    }

    fn height(&self) -> i32 {
        let heights = self
            .groups
            .iter()
            .map(|group| group.iter().map(|_| ROW).sum::<i32>() + GAP);
        TOP + heights.sum::<i32>() + BOTTOM
    }
}

impl Drawing for Rows {
    fn size(&self) -> (u32, u32) {
        (WIDTH.cast_unsigned(), self.height().cast_unsigned())
    }

    fn draw<D: DrawingBackend>(&self, area: &DrawingArea<D, Shift>) -> Outcome<D> {
        headline(area, &self.title, &self.subtitle)?;
        let (least, most) = self.range();
        let x = |value: f64| {
            let value = value.clamp(least, most);
            let share = (value / least).ln() / (most / least).ln();
            NAMES + (share * f64::from(WIDTH - NAMES - RIGHT)) as i32
        };
        let floor = self.height() - BOTTOM;
        for tick in ticks(least, most) {
            let line = [(x(tick), TOP - 8), (x(tick), floor)];
            area.draw(&PathElement::new(line, INK.mix(0.12)))?;
            label(
                area,
                &format!("{tick}"),
                (x(tick), floor + 14),
                INK,
                HPos::Center,
            )?;
        }
        let middle = (NAMES + WIDTH - RIGHT) / 2;
        label(area, &self.unit, (middle, floor + 38), INK, HPos::Center)?;
        let mut y = TOP;
        for group in &self.groups {
            for row in group {
                let center = y + ROW / 2;
                let color = if row.ours { OURS } else { OTHERS };
                let [low, median, high] = row.percentiles;
                label(area, &row.name, (NAMES - 12, center), INK, HPos::Right)?;
                let span = [(x(low), center - 5), (x(high), center + 5)];
                area.draw(&Rectangle::new(span, color.mix(0.45).filled()))?;
                area.draw(&Circle::new((x(median), center), 6, color.filled()))?;
                if let Some(limit) = row.limit {
                    let mark = [(x(limit), center - 11), (x(limit), center + 11)];
                    area.draw(&PathElement::new(mark, STATED.stroke_width(2)))?;
                }
                let text = if median.is_finite() {
                    format!("{median:.0}")
                } else {
                    "never".to_owned()
                };
                let right = row.limit.map_or(x(high), |limit| x(limit).max(x(high)));
                label(area, &text, (right + 10, center), FAINT, HPos::Left)?;
                y += ROW;
            }
            y += GAP;
        }
        Ok(())
    }
}

/// 1, 2 and 5 of each decade within.
fn ticks(least: f64, most: f64) -> impl Iterator<Item = f64> {
    let decades = (0..9).map(|exponent| 10_f64.powi(exponent));
    decades
        .flat_map(|decade| [decade, 2.0 * decade, 5.0 * decade])
        .filter(move |tick| (least..most).contains(tick))
}

const WIDTH: i32 = 1_200;
/// Left of the scale.
const NAMES: i32 = 480;
const RIGHT: i32 = 90;
const TOP: i32 = 92;
const BOTTOM: i32 = 64;
const ROW: i32 = 30;
const GAP: i32 = 16;
