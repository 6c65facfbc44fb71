//! What the measuring programs share: daemons on hosts of a testbed, traffic that notices silences,
//! percentiles and plots.
//!
//! What the mechanisms cost, measured beside the plain way to do the same, is in `cargo bench` and the
//! program `datapath`; how long recovery takes is in `recovery`, and what the protocol itself costs in
//! `costs`.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures have three digits that count"
)]

pub mod application;
pub mod chart;
pub mod daemon;
pub mod error;
pub mod machine;
pub mod modifier_search;
pub mod percentiles;

use indicatif::{ProgressBar, ProgressStyle};

/// What a measuring program shows of itself while it takes `steps` steps.
#[must_use]
pub fn progress_bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    match ProgressStyle::with_template("{bar:30} {percent:>3} %  {eta:>4}  {msg}") {
        Ok(style) => bar.with_style(style),
        // Misspelt: another bar is better than none.
        Err(_) => bar,
    }
}
