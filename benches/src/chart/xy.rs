//! Curves, steps, points and bars over a scale, with what is stated elsewhere marked beside them.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Drawing, FONT, INK, Outcome, STATED, headline, label, write};
use crate::error::BenchError;

/// A scale.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it is, with its unit.
    pub title: String,
    /// Its ends.
    pub range: (f64, f64),
    /// Digits after the point.
    pub digits: usize,
}

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// From point to point.
    Line,
    /// Points alone.
    Points,
    /// Points with a line from the second to the third value, which are percentiles of it.
    Spans,
    /// Bars of the given width in hundredths of the horizontal unit.
    Bars(u32),
}

/// Values of one kind.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Its colour.
    pub color: RGBColor,
    /// How it is drawn.
    pub style: Style,
    /// Across, and up.
    pub points: Vec<(f64, f64)>,
    /// Lower and upper ends for [`Style::Spans`], one for each point.
    pub spans: Vec<(f64, f64)>,
}

impl Series {
    /// The share of `sorted` values up to each of them: a distribution function.
    pub fn distribution(
        name: impl Into<String>,
        color: RGBColor,
        sorted: &[f64],
        end: f64,
    ) -> Self {
        let count = sorted.len().max(1) as f64;
        let mut points = vec![(0.0, 0.0)];
        let mut share = 0.0;
        for (index, value) in sorted.iter().enumerate() {
            if *value > end {
                break;
            }
            points.push((*value, share));
            share = (index + 1) as f64 / count;
            points.push((*value, share));
        }
        points.push((end, share));
        Self {
            name: name.into(),
            color,
            style: Style::Line,
            points,
            spans: Vec::new(),
        }
    }

    /// Points joined by lines.
    pub fn line(name: impl Into<String>, color: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            color,
            style: Style::Line,
            points,
            spans: Vec::new(),
        }
    }
}

/// What is stated elsewhere.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Across, and up.
    pub at: (f64, f64),
    /// What it says.
    pub text: String,
}

/// A chart over two scales.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The headline.
    pub title: String,
    /// How it was had.
    pub subtitle: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// What was measured.
    pub series: Vec<Series>,
    /// What is stated elsewhere, as red crosses.
    pub marks: Vec<Mark>,
}

impl Chart {
    /// Writes `NAME.svg` and `NAME.png` to `folder`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), BenchError> {
        write(self, folder, name)
    }

    /// The legend, to the right of the scales.
    fn legend<D: DrawingBackend>(&self, area: &DrawingArea<D, Shift>) -> Outcome<D> {
        let mut y = 24;
        for series in &self.series {
            let swatch = [(8, y - 5), (28, y + 5)];
            area.draw(&Rectangle::new(swatch, series.color.filled()))?;
            for line in series.name.split('\n') {
                label(area, line, (36, y), INK, HPos::Left)?;
                y += 20;
            }
            y += 6;
        }
        if !self.marks.is_empty() {
            area.draw(&Cross::new((18, y), 6, STATED.stroke_width(2)))?;
            label(area, "stated by the paper", (36, y), INK, HPos::Left)?;
        }
        Ok(())
    }
}

impl Drawing for Chart {
    fn size(&self) -> (u32, u32) {
        (1_200, 640)
    }

    fn draw<D: DrawingBackend>(&self, area: &DrawingArea<D, Shift>) -> Outcome<D> {
        let (above, below) = area.split_vertically(80);
        headline(&above, &self.title, &self.subtitle)?;
        let (left, right) = below.split_horizontally(920);
        self.legend(&right)?;
        let (x, y) = (&self.x, &self.y);
        let mut chart = ChartBuilder::on(&left)
            .margin_left(16)
            .margin_right(20)
            .margin_top(10)
            .margin_bottom(14)
            .x_label_area_size(52)
            .y_label_area_size(72)
            .build_cartesian_2d(x.range.0..x.range.1, y.range.0..y.range.1)?;
        chart
            .configure_mesh()
            .bold_line_style(INK.mix(0.12))
            .light_line_style(TRANSPARENT)
            .axis_style(INK.mix(0.5))
            .label_style((FONT, 15).into_font().color(&INK))
            .axis_desc_style((FONT, 16).into_font().color(&INK))
            .x_label_formatter(&|value| format!("{value:.*}", x.digits))
            .y_label_formatter(&|value| format!("{value:.*}", y.digits))
            .x_desc(x.title.as_str())
            .y_desc(y.title.as_str())
            .draw()?;
        for series in &self.series {
            let color = series.color;
            let points = series.points.iter().copied();
            match series.style {
                Style::Line => {
                    chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
                }
                Style::Points => {
                    chart.draw_series(points.map(|at| Circle::new(at, 4, color.filled())))?;
                }
                Style::Spans => {
                    let spans = points
                        .clone()
                        .zip(&series.spans)
                        .map(|((x, _), (low, high))| {
                            PathElement::new([(x, *low), (x, *high)], color.stroke_width(2))
                        });
                    chart.draw_series(spans)?;
                    chart.draw_series(points.map(|at| Circle::new(at, 4, color.filled())))?;
                }
                Style::Bars(width) => {
                    let half = f64::from(width) / 200.0;
                    chart.draw_series(points.map(|(x, y)| {
                        Rectangle::new([(x - half, 0.0), (x + half, y)], color.filled())
                    }))?;
                }
            }
        }
        let middle = f64::midpoint(x.range.0, x.range.1);
        for Mark { at, text } in &self.marks {
            chart.draw_series([Cross::new(*at, 7, STATED.stroke_width(2))])?;
            let (anchor, aside) = if at.0 > middle {
                (HPos::Right, -12)
            } else {
                (HPos::Left, 12)
            };
            let style = (FONT, 14)
                .into_font()
                .color(&STATED)
                .pos(Pos::new(anchor, VPos::Center));
            let text = EmptyElement::at(*at) + Text::new(text.clone(), (aside, 12), style);
            chart.draw_series([text])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_written_and_the_texts_are_in_the_svg() {
        let chart = Chart {
            title: "the title".to_owned(),
            subtitle: "how it was had".to_owned(),
            x: Axis {
                title: "seconds".to_owned(),
                range: (0.0, 10.0),
                digits: 0,
            },
            y: Axis {
                title: "share of runs".to_owned(),
                range: (0.0, 1.0),
                digits: 1,
            },
            series: vec![Series::distribution(
                "ours",
                super::super::OURS,
                &[1.0, 2.0],
                10.0,
            )],
            marks: vec![Mark {
                at: (7.0, 0.5),
                text: "50 % within 7 s".to_owned(),
            }],
        };
        let folder = tempfile::tempdir().unwrap();
        chart.write(folder.path(), "chart").unwrap();
        let svg = std::fs::read_to_string(folder.path().join("chart.svg")).unwrap();
        for text in [
            "the title",
            "how it was had",
            "share of runs",
            "50 % within 7 s",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        let png = std::fs::read(folder.path().join("chart.png")).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
    }

    #[test]
    fn a_distribution_steps_up_at_each_value_and_leaves_out_what_never_came() {
        let series = Series::distribution("", super::super::OURS, &[1.0, f64::INFINITY], 5.0);
        let expected = [(0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (5.0, 0.5)];
        assert_eq!(series.points, expected);
    }
}
