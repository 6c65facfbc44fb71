//! What a run amounts to: figures, verdict, `demo.json`.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use shimq_testbed::{Counters, Moment};

use super::Cut;
use super::datapath::Taken;
use super::timeline::{Entry, Path, ms};
use super::trial::Plan;
use super::watch::{Ending, Observation};

/// All figures of one run, as `demo.json` has them. Times of the name `..._s` that are not
/// durations count from the start of the transfer.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) verdict: Verdict,
    /// Why the connection counts as lost.
    pub(super) reason: Option<String>,
    pub(super) seed: u64,
    pub(super) with_shim: bool,
    pub(super) cut: CutReport,
    pub(super) recovery: Recovery,
    pub(super) transfer: TransferReport,
    router: RouterReport,
    /// Of each daemon.
    datapaths: Vec<Taken>,
    pub(super) throughput: Throughput,
    timeline: Vec<Entry>,
}

/// Whether the connection outlived the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Survived,
    Lost,
}

/// What was cut, and when.
#[derive(Debug, Serialize)]
pub(super) struct CutReport {
    pub(super) at_s: f64,
    pub(super) direction: Cut,
    /// The path that carried the file; the other way is its reverse.
    pub(super) path: Path,
    pub(super) new_path: Option<Path>,
}

/// How long the steps of the recovery took; `None` for a step that did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "readers of the JSON need the unit"
)]
pub(super) struct Recovery {
    /// From the cut until a daemon reported the failure.
    pub(super) detection_ms: Option<f64>,
    /// From there until a daemon reported a new current pair.
    pub(super) exploration_ms: Option<f64>,
    /// From the cut until the application received again.
    pub(super) first_application_byte_ms: Option<f64>,
    /// The application's longest silence that began within a second of the cut.
    pub(super) silence_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct TransferReport {
    pub(super) octets: u64,
    pub(super) of_octets: u64,
    pub(super) duration_s: f64,
    sha256: Option<String>,
    sha256_expected: Option<String>,
}

#[derive(Debug, Serialize)]
struct RouterReport {
    cut_packets: u64,
    spoofed_packets: u64,
    paths: Vec<PathReport>,
}

#[derive(Debug, Serialize)]
struct PathReport {
    #[serde(flatten)]
    path: Path,
    packets: u64,
    octets: u64,
}

/// What the application received, in intervals of equal length from the start of the transfer.
#[derive(Debug, Serialize)]
pub(super) struct Throughput {
    pub(super) interval_ms: u32,
    pub(super) octets: Vec<u32>,
}

impl Report {
    pub(super) fn new(plan: &Plan, seen: Observation) -> Self {
        let start = seen.timeline.start();
        let (cut, path) = seen.cut;
        let end = seen.received.last().map_or(start, |(last, _)| *last);
        let reason = loss(&seen);
        let recovery = Recovery::new(&seen);
        let (sha256_expected, sha256) = seen.digests.unzip();
        Self {
            verdict: match reason {
                None => Verdict::Survived,
                Some(_) => Verdict::Lost,
            },
            reason,
            seed: plan.seed,
            with_shim: plan.with_shim,
            cut: CutReport {
                at_s: cut.since(start).as_secs_f64(),
                direction: plan.cut,
                path,
                new_path: seen.new_path,
            },
            recovery,
            transfer: TransferReport {
                octets: seen.received.last().map_or(0, |(_, octets)| *octets),
                of_octets: plan.file_octets,
                duration_s: end.since(start).as_secs_f64(),
                sha256,
                sha256_expected,
            },
            router: RouterReport::new(&seen.counters),
            datapaths: seen.datapaths,
            throughput: Throughput::new(start, Moment::now(), &seen.received),
            timeline: seen.timeline.finish(),
        }
    }
}

/// Why the connection did not survive, or did not have to.
fn loss(seen: &Observation) -> Option<String> {
    match &seen.ending {
        Ending::Stalled(silence) => Some(format!("not a byte for {silence:?} after the cut")),
        Ending::Exited(status, complaint) if !status.success() => {
            Some(format!("the client failed ({status}): {complaint}"))
        }
        Ending::Exited(..) => match &seen.digests {
            Some((served, received)) if served == received => (seen.counters.cut.packets == 0)
                .then(|| "no packet met the cut, so it proves nothing".to_owned()),
            Some(_) | None => Some("the received file is not the one that was sent".to_owned()),
        },
    }
}

impl Recovery {
    fn new(seen: &Observation) -> Self {
        let (cut, _) = seen.cut;
        let silence = match seen.ending {
            Ending::Exited(..) => silence_after(cut, &seen.received),
            Ending::Stalled(_) => None,
        };
        Self {
            detection_ms: seen
                .failure_detected
                .map(|detected| ms(detected.since(cut))),
            exploration_ms: seen
                .pair_changed
                .zip(seen.failure_detected)
                .map(|(changed, detected)| ms(changed.since(detected))),
            first_application_byte_ms: silence.map(|(_, end)| ms(end.since(cut))),
            silence_ms: silence.map(|(begin, end)| ms(end.since(begin))),
        }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = [
            ("detection", self.detection_ms),
            ("exploration", self.exploration_ms),
            ("first application byte", self.first_application_byte_ms),
        ];
        let figures = figures.map(|(name, ms)| match ms {
            Some(ms) => format!("{name} {ms:.0} ms"),
            None => format!("{name} none"),
        });
        write!(f, "Recovery: {}", figures.join(", "))
    }
}

/// The longest pause of the application that begins within a second of the cut: what was under way
/// when the path was cut still arrives. `None` if nothing ever came after the cut.
fn silence_after(cut: Moment, received: &[(Moment, u64)]) -> Option<(Moment, Moment)> {
    received
        .windows(2)
        .map(|pair| (pair[0].0, pair[1].0))
        .filter(|(begin, end)| *end > cut && *begin <= cut + Duration::from_secs(1))
        .max_by_key(|(begin, end)| end.since(*begin))
}

impl RouterReport {
    fn new(counters: &Counters) -> Self {
        let paths = counters.paths.iter();
        Self {
            cut_packets: counters.cut.packets,
            spoofed_packets: counters.spoofed.packets,
            paths: paths
                .map(|(&(source, destination), count)| PathReport {
                    path: Path {
                        source,
                        destination,
                    },
                    packets: count.packets,
                    octets: count.octets,
                })
                .collect(),
        }
    }
}

impl Throughput {
    fn new(start: Moment, end: Moment, received: &[(Moment, u64)]) -> Self {
        let index = |at: Moment| at.since(start).as_millis() as usize / INTERVAL_MS as usize;
        let mut octets = vec![0; index(end) + 1];
        let mut before = 0;
        for (at, total) in received {
            if let Some(octets) = octets.get_mut(index(*at)) {
                *octets += (total - before) as u32;
            }
            before = *total;
        }
        Self {
            interval_ms: INTERVAL_MS,
            octets,
        }
    }
}

/// Long enough that a provider's pacing does not show, short enough that a recovery does.
const INTERVAL_MS: u32 = 100;

#[cfg(test)]
impl Report {
    /// A recovery after 15 s, for the tests of what shows reports.
    pub(super) fn example() -> Self {
        let path = |source: &str, destination: &str| Path {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        };
        let octets = (0..500).map(|index| {
            if (62..220).contains(&index) {
                0
            } else {
                188_000
            }
        });
        Self {
            verdict: Verdict::Survived,
            reason: None,
            seed: 7,
            with_shim: true,
            cut: CutReport {
                at_s: 6.2,
                direction: Cut::Both,
                path: path("2001:db8:b1::c", "2001:db8:a1::c"),
                new_path: Some(path("2001:db8:b2::c", "2001:db8:a1::c")),
            },
            recovery: Recovery {
                detection_ms: Some(15_004.0),
                exploration_ms: Some(620.0),
                first_application_byte_ms: Some(15_800.0),
                silence_ms: Some(15_810.0),
            },
            transfer: TransferReport {
                octets: 64 << 20,
                of_octets: 64 << 20,
                duration_s: 50.0,
                sha256: None,
                sha256_expected: None,
            },
            router: RouterReport::new(&Counters::default()),
            datapaths: Vec::new(),
            throughput: Throughput {
                interval_ms: INTERVAL_MS,
                octets: octets.collect(),
            },
            timeline: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    #[test]
    fn the_silence_after_a_cut_begins_with_the_last_byte_that_was_under_way() {
        let received = [
            (at(990), 1),
            (at(1_000), 2),
            (at(1_040), 3),
            (at(9_000), 4),
            (at(60_000), 5),
        ];
        let silence = silence_after(at(1_005), &received);
        assert_eq!(silence, Some((at(1_040), at(9_000))));
        assert_eq!(silence_after(at(60_001), &received), None);
    }

    #[test]
    fn throughput_adds_up_to_what_was_received() {
        let received = [
            (at(10_100), 700),
            (at(10_199), 800),
            (at(10_200), 1_000),
            (at(10_500), 1_500),
        ];
        let throughput = Throughput::new(at(10_000), at(10_600), &received);
        assert_eq!(throughput.octets, [0, 800, 200, 0, 0, 500, 0]);
    }

    #[test]
    fn a_recovery_reads_as_one_line() {
        let recovery = Recovery {
            detection_ms: Some(15_003.4),
            exploration_ms: None,
            first_application_byte_ms: Some(15_700.0),
            silence_ms: None,
        };
        assert_eq!(
            recovery.to_string(),
            "Recovery: detection 15003 ms, exploration none, first application byte 15700 ms"
        );
    }
}
