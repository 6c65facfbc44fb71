//! One page that shows every figure, and beside each value that a paper states the one found here.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;
use shimq_benches::error::BenchError;
use shimq_benches::machine::Machine;

/// A value that a paper states, and ours.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stated {
    pub(crate) what: String,
    pub(crate) by_paper: String,
    pub(crate) ours: String,
    pub(crate) met: bool,
}

impl Stated {
    /// `ours` is to be at least `stated`, both shares.
    pub(crate) fn share_at_least(what: impl Into<String>, stated: f64, ours: f64) -> Self {
        Self {
            what: what.into(),
            by_paper: format!("at least {:.1} %", stated * 100.0),
            ours: format!("{:.1} %", ours * 100.0),
            met: ours >= stated,
        }
    }
}

/// One figure of a paper, drawn anew.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// How it was had, and what it shows.
    pub(crate) text: String,
    pub(crate) stated: Vec<Stated>,
    /// Names of plots, each an SVG and a PNG, and of the data behind it.
    pub(crate) plots: Vec<String>,
    pub(crate) data: Vec<String>,
}

/// Writes `report.md` and `stated.json` to `folder`, and returns what the terminal is told.
pub(crate) fn write(
    sections: &[Section],
    machine: &Machine,
    folder: &Path,
) -> Result<String, BenchError> {
    let mut page = String::from("# The papers' figures, drawn anew\n\n");
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        page,
        "Workshop paper: S. Barré, O. Bonaventure, Improved Path Exploration in shim6-based \
         Multihoming, 2007. Journal paper: S. Barré, J. Ronan, O. Bonaventure, Implementation and \
         evaluation of the Shim6 protocol in the Linux kernel, Computer Networks 2011. {}.\n",
        machine.describe()
    );
    let mut told = String::new();
    for section in sections {
        let _ = writeln!(page, "## {}\n\n{}\n", section.title, section.text);
        if !section.stated.is_empty() {
            page.push_str("| | stated | here | |\n| --- | --- | --- | --- |\n");
        }
        for Stated {
            what,
            by_paper,
            ours,
            met,
        } in &section.stated
        {
            let verdict = if *met { "met" } else { "**not met**" };
            let _ = writeln!(page, "| {what} | {by_paper} | {ours} | {verdict} |");
            let _ = writeln!(
                told,
                "{}: {what}: {by_paper}; here {ours}: {verdict}",
                section.title
            );
        }
        page.push('\n');
        for plot in &section.plots {
            let _ = writeln!(page, "![{}]({plot}.svg)\n", section.title);
        }
        if !section.data.is_empty() {
            let files = section.data.iter().map(|file| format!("[{file}]({file})"));
            let files: Vec<String> = files.collect();
            let _ = writeln!(page, "Data: {}\n", files.join(", "));
        }
    }
    fs::write(folder.join("report.md"), page).map_err(BenchError::io("write the report"))?;
    write_json(folder, "stated.json", sections)?;
    Ok(told)
}

/// Writes `value` to a file in `folder`.
pub(crate) fn write_json<T: Serialize + ?Sized>(
    folder: &Path,
    file: &str,
    value: &T,
) -> Result<(), BenchError> {
    let text = serde_json::to_vec_pretty(value).map_err(BenchError::io(format!("write {file}")))?;
    fs::write(folder.join(file), text).map_err(BenchError::io(format!("write {file}")))
}
