//! What the figures were had on: kernel, processor, and what else it had to do.

use std::fs;
use std::thread;

use serde::Serialize;

/// The machine, as the tables name it.
#[derive(Debug, Serialize)]
pub struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    /// Averages over 1, 5 and 15 minutes, before the first round.
    load_before: String,
    /// The same after the last round, the benchmark's own load included.
    load_after: String,
}

impl Machine {
    /// Looks around; before the first round.
    pub fn look() -> Self {
        let system = rustix::system::uname();
        let [name, release] =
            [system.sysname(), system.release()].map(|text| text.to_string_lossy());
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            kernel: format!("{name} {release}"),
            processor: model.map_or_else(
                || system.machine().to_string_lossy().into_owned(),
                |(_, model)| model.trim().to_owned(),
            ),
            processors: thread::available_parallelism().map_or(1, usize::from),
            load_before: load(),
            load_after: String::new(),
        }
    }

    /// After the last round.
    pub fn look_again(&mut self) {
        self.load_after = load();
    }

    /// Whether somebody else was at work when the rounds began.
    pub fn was_busy(&self) -> bool {
        let last_minute = self.load_before.split(' ').next();
        last_minute
            .and_then(|load| load.parse().ok())
            .is_some_and(|load: f64| load > 0.5)
    }

    /// One line.
    pub fn describe(&self) -> String {
        let Self {
            kernel,
            processor,
            processors,
            load_before,
            load_after,
        } = self;
        format!(
            "{kernel}, {processors} x {processor}, load {load_before} before and {load_after} after"
        )
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
