//! What happened when, told while it happens and kept for the report.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use shimq_testbed::{A, B, Moment, Provider};

/// Milliseconds, as reports have them.
pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// A source and a destination, as the router sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Path {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
}

impl Path {
    /// The providers at both ends, which say enough: each host has one address per provider.
    pub(super) fn providers(&self) -> String {
        format!(
            "{} to {}",
            provider(self.source),
            provider(self.destination)
        )
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (
            providers,
            Self {
                source,
                destination,
            },
        ) = (self.providers(), self);
        write!(f, "{providers} ({source} to {destination})")
    }
}

/// The name of the provider that `address` belongs to.
fn provider(address: Ipv6Addr) -> &'static str {
    A.iter()
        .chain(&B)
        .find(|provider| provider.prefix.contains(address))
        .map_or("elsewhere", |Provider { link, .. }| link)
}

/// Something that happened, as the report keeps it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    /// Seconds since the transfer began.
    pub(super) elapsed_s: f64,
    pub(super) text: String,
}

/// Where people read along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    Stdout,
    /// Standard output is kept for JSON.
    Stderr,
    /// One of many runs; only the report is of interest.
    Silent,
}

impl Voice {
    pub(super) fn say(self, line: &str) {
        match self {
            Self::Stdout => println!("{line}"),
            Self::Stderr => eprintln!("{line}"),
            Self::Silent => (),
        }
    }
}

/// The story of one run; its clock starts with the transfer.
pub(super) struct Timeline {
    voice: Voice,
    start: Moment,
    bar: ProgressBar,
    entries: Vec<Entry>,
}

impl Timeline {
    /// Begins the story now, with a progress bar below it if there are `octets` to wait for (and
    /// standard error is a terminal).
    pub(super) fn begin(voice: Voice, octets: Option<u64>) -> Self {
        let bar = octets.map_or_else(ProgressBar::hidden, |octets| {
            let style = ProgressStyle::with_template(BAR).unwrap_or(ProgressStyle::default_bar());
            ProgressBar::new(octets).with_style(style)
        });
        Self {
            voice,
            start: Moment::now(),
            bar,
            entries: Vec::new(),
        }
    }

    pub(super) fn start(&self) -> Moment {
        self.start
    }

    /// Tells and keeps what happened `at` a moment.
    pub(super) fn note(&mut self, at: Moment, text: impl Into<String>) {
        let text = text.into();
        let elapsed_s = at.since(self.start).as_secs_f64();
        let line = format!("{elapsed_s:9.3} s  {text}");
        self.bar.suspend(|| self.voice.say(&line));
        self.entries.push(Entry { elapsed_s, text });
    }

    pub(super) fn progress(&self, octets: u64) {
        self.bar.set_position(octets);
    }

    /// Ends the story: what happened, in order of time.
    pub(super) fn finish(mut self) -> Vec<Entry> {
        self.bar.finish_and_clear();
        self.entries
            .sort_by(|one, other| one.elapsed_s.total_cmp(&other.elapsed_s));
        self.entries
    }
}

/// The transfer at a glance.
const BAR: &str = "             {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_by_its_providers() {
        let path = Path {
            source: "2001:db8:b2::1234".parse().unwrap(),
            destination: A[0].host(),
        };
        assert_eq!(
            path.to_string(),
            "b2 to a1 (2001:db8:b2::1234 to 2001:db8:a1::2)"
        );
    }

    #[test]
    fn a_late_event_takes_its_place_in_the_report() {
        let mut timeline = Timeline::begin(Voice::Silent, None);
        let start = timeline.start();
        timeline.note(start + Duration::from_millis(20), "second");
        timeline.note(start + Duration::from_millis(10), "first");
        let texts: Vec<_> = timeline
            .finish()
            .into_iter()
            .map(|entry| entry.text)
            .collect();
        assert_eq!(texts, ["first", "second"]);
    }
}
