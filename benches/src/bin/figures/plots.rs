//! Plots that simulated and live runs share.

use std::path::Path;

use plotters::style::RGBColor;
use shimq_benches::chart::{Axis, Chart, FOURTH, Mark, OTHERS, OURS, SECOND, Series, Style, THIRD};
use shimq_benches::error::BenchError;

use crate::choice::{Choices, PAIRS};
use crate::timeout::{Recovery, after_back_off};

/// One for each thing that is compared.
pub(crate) const COLORS: [RGBColor; 5] = [OURS, SECOND, THIRD, FOURTH, OTHERS];

/// Draws `figure6` and `figure7` with `suffix`.
pub(crate) fn draw_choices(
    all: &[Choices],
    subtitle: &str,
    folder: &Path,
    suffix: &str,
) -> Result<(), BenchError> {
    let bars = |shares: &dyn Fn(&Choices) -> Vec<f64>| -> Vec<Series> {
        let offsets = [-2.6, 0.0, 2.6];
        let parts = all.iter().zip(COLORS).zip(offsets);
        parts
            .map(|((choices, color), offset)| Series {
                name: choices.manner.replace(", ", ",\n"),
                color,
                style: Style::Bars(240),
                points: (0_u32..)
                    .zip(shares(choices))
                    .map(|(index, share)| (f64::from(10 * index) + offset, share * 100.0))
                    .collect(),
                spans: Vec::new(),
            })
            .collect()
    };
    let chart = |title: &str, x: &str, end: f64, top: f64, series, marks| Chart {
        title: title.to_owned(),
        subtitle: subtitle.to_owned(),
        x: Axis {
            title: x.to_owned(),
            range: (-6.0, end),
            digits: 0,
        },
        y: Axis {
            title: "share of choices, %".to_owned(),
            range: (0.0, top),
            digits: 0,
        },
        series,
        marks,
    };
    let round_trips = bars(&|choices| choices.round_trips().to_vec());
    let one_way = bars(&|choices| choices.one_way().to_vec());
    let title = "Figure 6 (workshop): round trips of the chosen pairs of paths";
    let end = f64::from(20 * PAIRS as u32 - 14);
    chart(title, "round trip, ms", end, 60.0, round_trips, Vec::new())
        .write(folder, &format!("figure6{suffix}"))?;
    let title = "Figure 7 (workshop): delays of the chosen one-way paths";
    let mark = |share: f64, text: &str| Mark {
        at: (78.0, share),
        text: text.to_owned(),
    };
    let marks = vec![
        mark(23.05, "burst: 46.1 % on the best two, half of it each"),
        mark(10.75, "default: 21.5 % on the best two"),
    ];
    let end = f64::from(10 * PAIRS as u32 - 4);
    chart(title, "one-way delay, ms", end, 60.0, one_way, marks)
        .write(folder, &format!("figure7{suffix}"))
}

/// Draws a plot of recovery against the Send Timeout.
pub(crate) fn draw_timeouts(
    points: &[Recovery],
    subtitle: &str,
    folder: &Path,
    name: &str,
) -> Result<(), BenchError> {
    let end = points
        .iter()
        .map(|point| point.send_timeout)
        .fold(1.0, f64::max)
        + 1.0;
    let median = |value: fn(f64) -> f64| -> Vec<(f64, f64)> {
        let finite = points.iter().filter(|point| point.p50.is_finite());
        finite
            .map(|point| (point.send_timeout, value(point.p50)))
            .collect()
    };
    Chart {
        title: "Figure 9 (journal): recovery against the Send Timeout".to_owned(),
        subtitle: subtitle.to_owned(),
        x: Axis {
            title: "Send Timeout, s".to_owned(),
            range: (0.0, end),
            digits: 0,
        },
        y: Axis {
            title: "recovery of the application, s".to_owned(),
            range: (0.0, end * 1.7),
            digits: 0,
        },
        series: vec![
            Series {
                name: "shimq".to_owned(),
                color: OURS,
                style: Style::Spans,
                points: median(|recovery| recovery),
                spans: points.iter().map(|point| (point.p5, point.p95)).collect(),
            },
            Series::line("Send Timeout itself", THIRD, vec![(0.0, 0.0), (end, end)]),
            Series::line(
                "waiting for TCP's\nback-off (computed)",
                OTHERS,
                stepped(&median(after_back_off)),
            ),
        ],
        marks: Vec::new(),
    }
    .write(folder, name)
}

/// The same points, joined across and then up.
fn stepped(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let corners = points
        .windows(2)
        .flat_map(|two| [two[0], (two[1].0, two[0].1)]);
    corners.chain(points.last().copied()).collect()
}

/// The slope of the line that fits the medians best, and the largest distance of one from it.
pub(crate) fn straightness(points: &[Recovery]) -> (f64, f64) {
    let count = points.len().max(1) as f64;
    let mean = |value: &dyn Fn(&Recovery) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(&|point| point.send_timeout), mean(&|point| point.p50));
    let covariance = mean(&|point| (point.send_timeout - x) * (point.p50 - y));
    let variance = mean(&|point| (point.send_timeout - x).powi(2));
    let slope = covariance / variance;
    let distance = |point: &Recovery| (point.p50 - y - slope * (point.send_timeout - x)).abs();
    (slope, points.iter().map(distance).fold(0.0, f64::max))
}
