//! The results as files: JSON with every run and its events, a table to read, a plot.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

use serde::Serialize;
use shimq_benches::chart::{Row, Rows};
use shimq_benches::error::BenchError;
use shimq_benches::machine::Machine;

use crate::healthy::Healthy;
use crate::results::{Point, Results, Target, median_limit};
use crate::scenario::Means;
use crate::trial::Outcome;

/// How the figures were had.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) runs: u64,
    pub(crate) jobs: usize,
    pub(crate) machine: Machine,
}

/// `recovery.json`. Times are milliseconds; `null` is a recovery that did not come.
#[derive(Serialize)]
struct Json<'a> {
    setting: &'a Setting,
    targets: &'a [Target],
    points: &'a [Point],
    healthy: &'a [Healthy],
    failures: &'a [String],
    outcomes: &'a [Outcome],
}

/// Writes `recovery.json` and `.md`, and if there were faults, `.svg` and `.png` to `folder`; returns the table.
pub(crate) fn write(
    results: &Results,
    setting: &Setting,
    folder: &Path,
) -> Result<String, BenchError> {
    fs::create_dir_all(folder).map_err(BenchError::io(format!("make {}", folder.display())))?;
    let (targets, points) = (results.targets(), results.points());
    let json = Json {
        setting,
        targets: &targets,
        points: &points,
        healthy: &results.healthy,
        failures: &results.failures,
        outcomes: &results.outcomes,
    };
    let file =
        File::create(folder.join("recovery.json")).map_err(BenchError::io("create a file"))?;
    serde_json::to_writer_pretty(file, &json).map_err(BenchError::io("write JSON"))?;
    let table = table(results, &points, &targets, setting);
    fs::write(folder.join("recovery.md"), &table).map_err(BenchError::io("write the table"))?;
    if !points.is_empty() {
        rows(&points, setting).write(folder, "recovery")?;
    }
    Ok(table)
}

fn table(results: &Results, points: &[Point], targets: &[Target], setting: &Setting) -> String {
    let mut text = String::from(
        "# How long an application notices a failed path\n\n\
         Round trip 20 ms, all timers at their defaults. Milliseconds from the fault to the end of \
         the longest silence of the receiving application; where no silence is longer than three \
         sends, that silence.\n\n",
    );
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "{} runs of each, {} at a time; {}.\n",
        setting.runs,
        setting.jobs,
        setting.machine.describe()
    );
    text.push_str("| what | with | runs | p5 | p50 | p95 | p99 | never |\n");
    text.push_str("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for point in points {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            point.scenario.title(),
            point.means.title(),
            point.runs,
            ms(point.p5),
            ms(point.p50),
            ms(point.p95),
            ms(point.p99),
            point.lost
        );
    }
    text.push_str("\n| target | at most | measured | |\n| --- | ---: | ---: | --- |\n");
    for target in targets {
        let digits = usize::from(target.unit != "ms") * 2;
        let number = |value: f64| {
            if value.is_finite() {
                format!("{value:.digits$} {}", target.unit)
            } else {
                "never".to_owned()
            }
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            target.name,
            number(target.limit),
            number(target.value),
            if target.met { "met" } else { "**not met**" }
        );
    }
    if !results.failures.is_empty() {
        text.push_str("\nTrials that could not be played:\n\n");
        for failure in &results.failures {
            let _ = writeln!(text, "- {failure}");
        }
    }
    text
}

fn ms(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.0}")
    } else {
        "never".to_owned()
    }
}

fn rows(points: &[Point], setting: &Setting) -> Rows {
    let mut groups: Vec<Vec<Row>> = Vec::new();
    let mut last = None;
    for point in points {
        let row = Row {
            name: format!("{}; {}", point.scenario.title(), point.means.title()),
            percentiles: [point.p5, point.p50, point.p95],
            limit: (point.means == Means::Shimq)
                .then(|| median_limit(point.scenario))
                .flatten(),
            ours: point.means == Means::Shimq,
        };
        match groups.last_mut() {
            Some(group) if last == Some(point.scenario) => group.push(row),
            Some(_) | None => groups.push(vec![row]),
        }
        last = Some(point.scenario);
    }
    Rows {
        title: "How long an application notices a failed path".to_owned(),
        subtitle: format!(
            "median, and 5th to 95th percentile of {} runs; red: what the median shall not exceed; \
             round trip 20 ms",
            setting.runs
        ),
        unit: "milliseconds from the fault to the end of the silence".to_owned(),
        groups,
    }
}
