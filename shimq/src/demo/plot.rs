//! Draws what the application received over time, with the cut and the recovery marked.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::DemoError;
use super::report::{Report, Verdict};

/// Writes `throughput.svg` and `throughput.png` to `folder`.
pub(super) fn write(report: &Report, folder: &Path) -> Result<(), DemoError> {
    let svg = folder.join("throughput.svg");
    let failure = |file: &Path| {
        let file = file.display().to_string();
        move |reason: String| DemoError::Plot { file, reason }
    };
    register_font(FONT, FontStyle::Normal, SANS)
        .map_err(|_| failure(&svg)("the built-in font is unusable".to_owned()))?;
    draw(report, &SVGBackend::new(&svg, SIZE).into_drawing_area()).map_err(failure(&svg))?;
    let png = folder.join("throughput.png");
    draw(report, &BitMapBackend::new(&png, SIZE).into_drawing_area()).map_err(failure(&png))
}

fn draw<D: DrawingBackend>(report: &Report, area: &DrawingArea<D, Shift>) -> Result<(), String> {
    draw_chart(report, area)
        .and_then(|()| area.present())
        .map_err(|error| error.to_string())
}

type Outcome<D> = Result<(), DrawingAreaErrorKind<<D as DrawingBackend>::ErrorType>>;

fn draw_chart<D: DrawingBackend>(report: &Report, area: &DrawingArea<D, Shift>) -> Outcome<D> {
    area.fill(&WHITE)?;
    let (above, chart_area) = area.split_vertically(96);
    let title = (FONT, 26).into_font().color(&INK);
    above.draw(&Text::new(headline(report), (80, 20), title))?;
    let subtitle = (FONT, 16).into_font().color(&FAINT);
    above.draw(&Text::new(subline(report), (80, 56), subtitle))?;

    let rates = rates(report);
    let end = rates.last().map_or(1.0, |step| step.to);
    let highest = rates.iter().map(|step| step.rate).fold(0.1, f64::max);
    // Room for the texts above the bars.
    let top = highest * 1.5;
    let mut chart = ChartBuilder::on(&chart_area)
        .margin_left(16)
        .margin_right(30)
        .margin_bottom(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(INK.mix(0.12))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.mix(0.5))
        .label_style((FONT, 15).into_font().color(&INK))
        .axis_desc_style((FONT, 16).into_font().color(&INK))
        .y_labels(6)
        .y_label_formatter(&|rate| format!("{rate:.1}"))
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .x_desc("seconds since the transfer began")
        .y_desc("received by the application, MB/s")
        .draw()?;

    let marks = marks(report);
    let resumed = marks
        .iter()
        .find(|mark| mark.is_new_path)
        .map(|mark| mark.at);
    for step in &rates {
        let is_new = resumed.is_some_and(|resumed| step.to > resumed);
        let color = if is_new { NEW_PATH } else { OLD_PATH };
        let corners = [(step.from, 0.0), (step.to, step.rate)];
        chart.draw_series([Rectangle::new(corners, color.filled())])?;
    }
    // Each mark's text has a line of its own, so that marks close together stay legible.
    for (row, mark) in (0..).zip(&marks) {
        let height = top * (0.97 - 0.075 * f64::from(row));
        let line = [(mark.at, 0.0), (mark.at, height)];
        chart.draw_series([PathElement::new(line, mark.color.stroke_width(2))])?;
        let is_right = mark.at > end * 0.6;
        let anchor = Pos::new(
            if is_right { HPos::Right } else { HPos::Left },
            VPos::Center,
        );
        let style = (FONT, 16).into_font().color(&mark.color).pos(anchor);
        let text = if is_right {
            format!("{}  ", mark.text)
        } else {
            format!("  {}", mark.text)
        };
        chart.draw_series([Text::new(text, (mark.at, height), style)])?;
    }
    Ok(())
}

fn headline(report: &Report) -> String {
    match (report.verdict, report.recovery.first_application_byte_ms) {
        (Verdict::Survived, Some(ms)) => {
            format!(
                "The transfer continues {:.1} s after its path was cut",
                ms / 1_000.0
            )
        }
        (Verdict::Survived, None) => "The transfer continues after its path was cut".to_owned(),
        (Verdict::Lost, _) => "The transfer does not survive the cut of its path".to_owned(),
    }
}

fn subline(report: &Report) -> String {
    let cut = &report.cut;
    let paths = match cut.new_path {
        Some(new) => format!("path {}, then {}", cut.path.providers(), new.providers()),
        None => format!("path {}", cut.path.providers()),
    };
    let shim = if report.with_shim {
        "with shimq"
    } else {
        "without shimq"
    };
    format!(
        "one TCP connection {shim}; {paths}; cut {}; seed {}",
        cut.direction, report.seed
    )
}

/// An interval of constant rate.
struct Step {
    from: f64,
    to: f64,
    /// Megaoctets per second.
    rate: f64,
}

fn rates(report: &Report) -> Vec<Step> {
    let seconds = f64::from(report.throughput.interval_ms) / 1_000.0;
    let octets = report.throughput.octets.iter();
    (0_u32..)
        .zip(octets)
        .map(|(index, octets)| Step {
            from: f64::from(index) * seconds,
            to: f64::from(index + 1) * seconds,
            rate: f64::from(*octets) / seconds / 1e6,
        })
        .collect()
}

/// A moment with a vertical line and a text.
struct Mark {
    at: f64,
    text: String,
    color: RGBColor,
    /// Bars from here on are of the new path.
    is_new_path: bool,
}

fn marks(report: &Report) -> Vec<Mark> {
    let (cut, recovery) = (report.cut.at_s, report.recovery);
    let mark = |ms: f64, text: String, color| Mark {
        at: cut + ms / 1_000.0,
        text,
        color,
        is_new_path: false,
    };
    let mut marks = vec![mark(0.0, format!("cut at {cut:.1} s"), CUT)];
    if let Some(detection) = recovery.detection_ms {
        marks.push(mark(
            detection,
            format!("failure detected, +{detection:.0} ms"),
            INK,
        ));
        if let Some(exploration) = recovery.exploration_ms {
            let text = format!("new pair, +{exploration:.0} ms");
            marks.push(mark(detection + exploration, text, INK));
        }
    }
    if let Some(first) = recovery.first_application_byte_ms {
        marks.push(Mark {
            is_new_path: true,
            ..mark(
                first,
                format!("data again, {first:.0} ms after the cut"),
                NEW_PATH,
            )
        });
    }
    marks
}

const FONT: &str = "sans-serif";
const SANS: &[u8] = include_bytes!("sans.ttf");

/// Pixels.
const SIZE: (u32, u32) = (1_200, 640);

const INK: RGBColor = RGBColor(38, 38, 38);
const FAINT: RGBColor = RGBColor(105, 105, 105);
const CUT: RGBColor = RGBColor(192, 32, 32);
const OLD_PATH: RGBColor = RGBColor(164, 174, 186);
const NEW_PATH: RGBColor = RGBColor(32, 122, 158);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_plots_are_written_and_the_text_is_in_the_svg() {
        let folder = tempfile::tempdir().unwrap();
        write(&Report::example(), folder.path()).unwrap();
        let svg = std::fs::read_to_string(folder.path().join("throughput.svg")).unwrap();
        for text in [
            "continues 15.8 s after",
            "path b1 to a1, then b2 to a1",
            "+620 ms",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        let png = std::fs::read(folder.path().join("throughput.png")).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
    }
}
