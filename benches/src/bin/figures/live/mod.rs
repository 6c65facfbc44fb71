//! The figures once more, scaled down, with real kernels, timers and TCP: hosts in network namespaces,
//! three providers each, and a path emulator between them.

mod stage;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use shim6_core::ExplorationPolicy;
use shimq_benches::application::Pattern;
use shimq_benches::chart::{Axis, Chart, FOURTH, Mark, OURS, SECOND, Series, THIRD};
use shimq_benches::daemon::Program;
use shimq_benches::error::BenchError;
use shimq_benches::percentiles::sort;

use crate::choice::{self, Choices};
use crate::cuts::Distribution;
use crate::plots::{draw_choices, draw_timeouts, straightness};
use crate::report::{Section, Stated, write_json};
use crate::scene::{Manner, PAPERS_SEND_TIMEOUT};
use crate::timeout::Recovery;
use stage::{Curve, Stage, on_stage};

/// What a live run is given.
pub(crate) struct Lab<'a> {
    pub(crate) program: &'a Program,
    /// Networks at a time.
    pub(crate) jobs: usize,
    pub(crate) folder: &'a Path,
    pub(crate) progress: &'a ProgressBar,
}

/// Failures that one network sees in Figures 5, 6 and 7.
const FAILURES: usize = 8;

/// Networks for each manner of Figures 5, 6 and 7.
const NETWORKS: u64 = 3;

/// Round trips of Figure 4, milliseconds.
const ROUND_TRIPS: [u64; 4] = [0, 20, 50, 100];

/// Send Timeouts of Figure 9, seconds, and runs of each.
const SEND_TIMEOUTS: [u64; 8] = [1, 2, 3, 4, 6, 8, 10, 12];
const RUNS_A_TIMEOUT: usize = 5;

/// Steps of the progress bar.
pub(crate) fn steps() -> u64 {
    let timeouts = SEND_TIMEOUTS.len() * RUNS_A_TIMEOUT;
    let networks = NETWORKS as usize * (2 + choice::manners().len());
    (ROUND_TRIPS.len() + timeouts + networks) as u64
}

impl Lab<'_> {
    /// Plays all `cases`, several at a time; those that cannot be played are said and left out.
    fn each<C: Send + Copy, T: Send>(
        &self,
        what: &str,
        cases: Vec<C>,
        play: impl Fn(C) -> Result<T, BenchError> + Sync,
    ) -> Vec<(C, T)> {
        self.progress.set_message(format!("in namespaces: {what}"));
        let waiting: Mutex<VecDeque<C>> = Mutex::new(cases.into());
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    // Each change of a list is whole, whatever panics elsewhere.
                    let next = || {
                        waiting
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .pop_front()
                    };
                    while let Some(case) = next() {
                        match play(case) {
                            Ok(result) => done
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push((case, result)),
                            Err(error) => self
                                .progress
                                .suspend(|| eprintln!("{what}: left out: {error}")),
                        }
                        self.progress.inc(1);
                    }
                });
            }
        });
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Figure 4.
    pub(crate) fn throughput(&self) -> Result<Section, BenchError> {
        let mut curves = self.each("throughput across a failure", ROUND_TRIPS.to_vec(), |ms| {
            let manner = Manner::with_policy(ExplorationPolicy::DisjointFirst);
            let delay = |_| Duration::from_millis(ms / 2);
            let play = |stage: &mut Stage<'_>| stage.throughput();
            on_stage(self.program, (ms, manner), Pattern::Bulk, delay, play)
        });
        curves.sort_by_key(|(ms, _)| *ms);
        let colors = [OURS, SECOND, THIRD, FOURTH];
        let series = curves.iter().zip(colors).map(|((ms, curve), color)| {
            Series::line(format!("round trip {ms} ms"), color, curve.rates.clone())
        });
        Chart {
            title: "Figure 4 (workshop): throughput of a TCP connection across a failure"
                .to_owned(),
            subtitle: "paths of 20 Mbit/s, cut both ways after 10 s; Send Timeout 3 s, hints off"
                .to_owned(),
            x: Axis {
                title: "seconds".to_owned(),
                range: (0.0, 25.0),
                digits: 0,
            },
            y: Axis {
                title: "received by the application, Mbit/s".to_owned(),
                range: (0.0, 30.0),
                digits: 0,
            },
            series: series.collect(),
            marks: vec![Mark {
                at: (13.0, 28.0),
                text: "the Send Timeout is over".to_owned(),
            }],
        }
        .write(self.folder, "figure4")?;
        let data: Vec<&Curve> = curves.iter().map(|(_, curve)| curve).collect();
        write_json(self.folder, "figure4.json", &data)?;
        let all = curves.len() == ROUND_TRIPS.len();
        let survived = all && curves.iter().all(|(_, curve)| curve.gap_s.is_finite());
        let gaps: Vec<String> = curves
            .iter()
            .map(|(ms, curve)| {
                let Curve {
                    gap_s,
                    before,
                    after,
                    ..
                } = curve;
                format!("{ms} ms: gap {gap_s:.2} s, {before:.1} then {after:.1} Mbit/s")
            })
            .collect();
        let exact = curves.iter().all(|(_, curve)| curve.gap_s < 4.0);
        Ok(Section {
            title: "Workshop paper, Figure 4: a TCP connection survives".into(),
            text: "A bulk transfer over real TCP in network namespaces, cut after 10 s; the \
                   sender's path, not TCP, makes the gap."
                .into(),
            stated: vec![Stated {
                what: "TCP survives; the gap is the Send Timeout (3 s) and an exploration".into(),
                by_paper: "yes".into(),
                ours: gaps.join("; "),
                met: survived && exact,
            }],
            plots: vec!["figure4".into()],
            data: vec!["figure4.json".into()],
        })
    }

    /// Figure 5.
    pub(crate) fn cuts(&self) -> Result<Section, BenchError> {
        let cases: Vec<(usize, u64)> = [16, 2]
            .into_iter()
            .flat_map(|broken| (0..NETWORKS).map(move |seed| (broken, seed)))
            .collect();
        let played = self.each("explorations", cases, |(broken, seed)| {
            let delay = |_| Duration::ZERO;
            let play = |stage: &mut Stage<'_>| stage.explorations(broken, FAILURES);
            on_stage(
                self.program,
                (seed, Manner::RFC),
                Pattern::Call,
                delay,
                play,
            )
        });
        let distribution = |broken: usize| {
            let parts = played.iter().filter(|((of, _), _)| *of == broken);
            let mut seconds: Vec<f64> = parts.flat_map(|(_, part)| part.clone()).collect();
            sort(&mut seconds);
            Distribution {
                manner: "random (RFC pacing)".to_owned(),
                broken,
                seconds,
            }
        };
        let all = [distribution(2), distribution(16)];
        let end = 35.0;
        let series = all.iter().zip([SECOND, OURS]).map(|(one, color)| {
            let name = format!("n = {}: {} failures", one.broken, one.seconds.len());
            Series::distribution(name, color, &one.seconds, end)
        });
        let marks = [(7.0, 0.5), (17.0, 0.8), (31.0, 0.95)];
        Chart {
            title: "Figure 5 (workshop) in namespaces: exploration with n of 18 paths cut"
                .to_owned(),
            subtitle: "real timers; Send Timeout 3 s, 50 datagrams a second both ways, hints off"
                .to_owned(),
            x: Axis {
                title: "seconds of exploration".to_owned(),
                range: (0.0, end),
                digits: 0,
            },
            y: Axis {
                title: "share of failures".to_owned(),
                range: (0.0, 1.0),
                digits: 1,
            },
            series: series.collect(),
            marks: marks
                .map(|at| Mark {
                    at,
                    text: format!("{:.0} % within {:.0} s (n = 16)", at.1 * 100.0, at.0),
                })
                .to_vec(),
        }
        .write(self.folder, "figure5-live")?;
        write_json(self.folder, "figure5-live.json", &all)?;
        let stated = marks.map(|(limit, share)| {
            let what = format!("n = 16: within {limit} s");
            Stated::share_at_least(what, share, all[1].within(limit))
        });
        Ok(Section {
            title: "Workshop paper, Figure 5, in namespaces".into(),
            text: "The same with real daemons, timers and packets, scaled down.".into(),
            stated: stated.to_vec(),
            plots: vec!["figure5-live".into()],
            data: vec!["figure5-live.json".into()],
        })
    }

    /// Figures 6 and 7.
    pub(crate) fn choices(&self) -> Result<Section, BenchError> {
        let manners = choice::manners();
        let cases: Vec<(usize, u64)> = (0..manners.len())
            .flat_map(|manner| (0..NETWORKS).map(move |seed| (manner, seed)))
            .collect();
        let played = self.each("choices", cases, |(manner, seed)| {
            let manner = manners[manner].1;
            let delay = |pair| Duration::from_millis(10 * pair);
            let play = |stage: &mut Stage<'_>| stage.choices(FAILURES);
            on_stage(self.program, (seed, manner), Pattern::Call, delay, play)
        });
        let all: Vec<Choices> = manners
            .iter()
            .enumerate()
            .map(|(index, (name, _))| {
                let parts = played.iter().filter(|((of, _), _)| *of == index);
                let mut choices = Choices {
                    manner: (*name).to_owned(),
                    ..Choices::default()
                };
                for (_, part) in parts {
                    choices.chosen.extend(&part.chosen);
                    choices.lost += part.lost;
                }
                choices
            })
            .collect();
        let failures = NETWORKS as usize * FAILURES;
        let subtitle = format!(
            "{failures} failures of each manner in namespaces; pair i takes 10 i ms each way"
        );
        draw_choices(&all, &subtitle, self.folder, "-live")?;
        write_json(self.folder, "figure6-7-live.json", &all)?;
        let text = "A handful of failures in namespaces, too few for shares to be exact, and too close \
                    together for measured round trips to show their worth: a pair that failed is \
                    doubted for a minute.";
        Ok(Section {
            title: "Workshop paper, Figures 6 and 7, in namespaces".into(),
            text: text.into(),
            stated: vec![Stated {
                what: "burst of four chooses the two best paths more often than the default".into(),
                by_paper: "46.1 % against 21.5 %".into(),
                ours: format!(
                    "{:.0} % against {:.0} %",
                    all[1].best_two() * 100.0,
                    all[0].best_two() * 100.0
                ),
                met: all[1].best_two() > all[0].best_two(),
            }],
            plots: vec!["figure6-live".into(), "figure7-live".into()],
            data: vec!["figure6-7-live.json".into()],
        })
    }

    /// Figure 9.
    pub(crate) fn timeouts(&self) -> Result<Section, BenchError> {
        // The long ones first, so that they do not end last.
        let cases: Vec<(u64, u64)> = SEND_TIMEOUTS
            .iter()
            .rev()
            .flat_map(|timeout| (0..RUNS_A_TIMEOUT as u64).map(move |seed| (*timeout, seed)))
            .collect();
        let played = self.each(
            "recovery against the Send Timeout",
            cases,
            |(timeout, seed)| {
                let manner = Manner {
                    send_timeout: Duration::from_secs(timeout),
                    ..Manner::with_policy(ExplorationPolicy::DisjointFirst)
                };
                let delay = |_| Duration::from_millis(10);
                let play = |stage: &mut Stage<'_>| stage.recovery();
                on_stage(self.program, (seed, manner), Pattern::Paced, delay, play)
            },
        );
        let points: Vec<Recovery> = SEND_TIMEOUTS
            .iter()
            .map(|timeout| {
                let of_timeout = played.iter().filter(|((of, _), _)| of == timeout);
                let seconds = of_timeout.map(|(_, seconds)| *seconds).collect();
                Recovery::of(*timeout as f64, seconds)
            })
            .collect();
        let subtitle = format!(
            "median and 5th to 95th percentile of {RUNS_A_TIMEOUT} cuts of a TCP connection in namespaces; hints off"
        );
        draw_timeouts(&points, &subtitle, self.folder, "figure9-live")?;
        write_json(self.folder, "figure9-live.json", &points)?;
        let (slope, off) = straightness(&points);
        let nominal = PAPERS_SEND_TIMEOUT.as_secs();
        Ok(Section {
            title: "Journal paper, Figure 9, in namespaces".into(),
            text: format!(
                "An application that sends 1 KB each 20 ms over real TCP, with nothing but the Send \
                 Timeout (elsewhere here {nominal} s) to notice the cut. Nothing waits for TCP's \
                 back-off."
            ),
            stated: vec![Stated {
                what: "a line without steps: slope, and the largest distance from it".into(),
                by_paper: "linear".into(),
                ours: format!("{slope:.2}, {off:.2} s"),
                met: (0.9..1.15).contains(&slope) && off < 0.5,
            }],
            plots: vec!["figure9-live".into()],
            data: vec!["figure9-live.json".into()],
        })
    }
}
