//! Figures 7 and 10 of the journal paper, from what `make costs` has measured.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use shimq_benches::chart::{Axis, Chart, OTHERS, OURS, SECOND, Series, Style, THIRD};
use shimq_benches::error::BenchError;

use crate::report::{Section, Stated, write_json};

/// `costs.json`, as far as it is read here.
#[derive(Debug, Deserialize)]
struct Costs {
    negotiation: Vec<Negotiation>,
    responding: Vec<Responding>,
}

/// Median time from I1 to R2, microseconds.
#[derive(Debug, Deserialize, Serialize)]
struct Negotiation {
    security: String,
    locators: u8,
    /// Both hosts sign.
    signing_us: f64,
}

/// Median time of an I2 with that many contexts held, microseconds.
#[derive(Debug, Deserialize, Serialize)]
struct Responding {
    contexts: f64,
    i2_us: f64,
    ring_us: f64,
}

/// Both figures, or a section that says what is missing for them.
pub(crate) fn sections(file: &Path, folder: &Path) -> Result<Vec<Section>, BenchError> {
    let costs = fs::read(file)
        .ok()
        .and_then(|text| serde_json::from_slice::<Costs>(&text).ok());
    let Some(costs) = costs else {
        return Ok(vec![Section {
            title: "Journal paper, Figures 7 and 10: not drawn".into(),
            text: format!(
                "Negotiation time by security and the cost of an I2 need what `make costs` measures; {} \
                 is not there. Run `make costs` first.",
                file.display()
            ),
            ..Section::default()
        }]);
    };
    Ok(vec![
        negotiation(&costs.negotiation, folder)?,
        responding(&costs.responding, folder)?,
    ])
}

fn negotiation(rows: &[Negotiation], folder: &Path) -> Result<Section, BenchError> {
    let mut securities: Vec<&str> = rows.iter().map(|row| row.security.as_str()).collect();
    securities.dedup();
    let place = |row: &Negotiation| {
        let place = securities.iter().position(|name| *name == row.security);
        place.map_or(0.0, |place| place as f64)
    };
    let series = [(2, -0.25, OURS), (5, 0.0, SECOND), (10, 0.25, THIRD)];
    let series = series.map(|(locators, offset, color)| Series {
        name: format!("{locators} locators"),
        color,
        style: Style::Bars(22),
        points: rows
            .iter()
            .filter(|row| row.locators == locators)
            .map(|row| (place(row) + offset, row.signing_us / 1_000.0))
            .collect(),
        spans: Vec::new(),
    });
    let most = rows.iter().map(|row| row.signing_us).fold(0.0, f64::max) / 1_000.0;
    let names: Vec<String> = (0..)
        .zip(&securities)
        .map(|(number, name)| format!("{number} {name}"))
        .collect();
    Chart {
        title: "Figure 7 (journal): time of a negotiation, by security".to_owned(),
        subtitle: names.join(", "),
        x: Axis {
            title: "security, by number".to_owned(),
            range: (-0.6, securities.len() as f64 - 0.4),
            digits: 0,
        },
        y: Axis {
            title: "I1 to R2, ms".to_owned(),
            range: (0.0, most * 1.1),
            digits: 1,
        },
        series: series.to_vec(),
        marks: Vec::new(),
    }
    .write(folder, "figure7-journal")?;
    write_json(folder, "figure7-journal.json", rows)?;
    Ok(Section {
        title: "Journal paper, Figure 7: time of a negotiation".into(),
        text: "Computing alone, both hosts together, without a network between them. The paper's values \
               are lost; it states that HBAs cost hardly more than no security, that the length of \
               the RSA key decides, and that the number of locators does not matter."
            .into(),
        plots: vec!["figure7-journal".into()],
        data: vec!["figure7-journal.json".into()],
        ..Section::default()
    })
}

fn responding(rows: &[Responding], folder: &Path) -> Result<Section, BenchError> {
    let points = |value: fn(&Responding) -> f64| -> Vec<(f64, f64)> {
        let places = rows.iter().map(|row| row.contexts.max(1.0).log10());
        places.zip(rows.iter().map(value)).collect()
    };
    let most = rows.iter().map(|row| row.i2_us).fold(0.0, f64::max);
    let least = rows
        .iter()
        .map(|row| row.i2_us)
        .fold(f64::INFINITY, f64::min);
    Chart {
        title: "Figure 10 (journal): time of an I2 against the contexts held".to_owned(),
        subtitle: "from its arrival to the R2; CGA of 1024 bits, two locators".to_owned(),
        x: Axis {
            title: "contexts held, power of ten".to_owned(),
            range: (-0.2, 5.2),
            digits: 0,
        },
        y: Axis {
            title: "microseconds".to_owned(),
            range: (0.0, most * 1.3),
            digits: 0,
        },
        series: vec![
            Series::line("an I2", OURS, points(|row| row.i2_us)),
            Series::line(
                "one RSA verification\nby ring",
                OTHERS,
                points(|row| row.ring_us),
            ),
        ],
        marks: Vec::new(),
    }
    .write(folder, "figure10")?;
    write_json(folder, "figure10.json", rows)?;
    Ok(Section {
        title: "Journal paper, Figure 10: time of an I2".into(),
        text: "As `make costs` has it, up to a hundred times the paper's contexts.".into(),
        stated: vec![Stated {
            what: "time of an I2, however many contexts are held".into(),
            by_paper: "about 2 ms, flat".into(),
            ours: format!("{:.3} to {:.3} ms", least / 1_000.0, most / 1_000.0),
            met: most < 2.0 * least,
        }],
        plots: vec!["figure10".into()],
        data: vec!["figure10.json".into()],
    })
}
