//! The results as files: JSON with every sample, a table to read, plots.

mod plot;
mod table;

use std::fs::{self, File};
use std::path::Path;

use serde::Serialize;

use crate::results::{LoadRecord, Record, Results};
use crate::scale::backlog::Backlog;
use crate::small_flows::SmallFlows;
use crate::targets::{self, Target};
use shimq_benches::error::BenchError;
use shimq_benches::machine::Machine;

/// How the figures were had.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) rounds: usize,
    /// Of each round.
    pub(crate) turns: usize,
    pub(crate) seconds: f64,
    pub(crate) machine: Machine,
}

/// `bench.json`. Rates and costs are in octets, packets or exchanges, and seconds.
#[derive(Serialize)]
struct Json<'a> {
    setting: &'a Setting,
    targets: &'a [Target],
    samples: Vec<Record<'a>>,
    loads: Vec<LoadRecord<'a>>,
    backlogs: &'a [Backlog],
    small_flows: &'a [SmallFlows],
}

/// Writes `bench.json`, `bench.md`, `bench.svg` and `bench.png` to `folder`, and returns the table.
pub(crate) fn write(
    results: &Results,
    setting: &Setting,
    folder: &Path,
) -> Result<String, BenchError> {
    fs::create_dir_all(folder).map_err(BenchError::io(format!("make {}", folder.display())))?;
    let targets = targets::check(results);
    let json = Json {
        setting,
        targets: &targets,
        samples: results.records().collect(),
        loads: results.load_records().collect(),
        backlogs: results.backlogs(),
        small_flows: results.small_flows(),
    };
    let file = File::create(folder.join("bench.json")).map_err(BenchError::io("create a file"))?;
    serde_json::to_writer_pretty(file, &json).map_err(BenchError::io("write JSON"))?;
    let table = table::write(results, setting, &targets);
    fs::write(folder.join("bench.md"), &table).map_err(BenchError::io("write the table"))?;
    plot::write(results, setting, folder)?;
    Ok(table)
}
