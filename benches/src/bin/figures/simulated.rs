//! The figures as the simulator has them: the real core on a virtual clock.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use plotters::style::RGBColor;
use shimq_benches::chart::{Axis, Chart, Mark, Series};
use shimq_benches::error::BenchError;
use shimq_benches::percentiles::sort;

use crate::arrivals::{SERVERS, Week, week};
use crate::choice::{self, Choices};
use crate::cuts::{self, Distribution, explore};
use crate::plots::{COLORS, draw_choices, draw_timeouts, straightness};
use crate::report::{Section, Stated, write_json};
use crate::scene::Manner;
use crate::timeout::{Recovery, recover};

/// Calls `run` with each of `0..count`, on all processors; the order of the results is that of the
/// numbers, so that it does not matter who was faster.
fn each<T: Send>(count: u64, progress: &ProgressBar, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let result = run(number);
                    // Each push is whole, whatever panics elsewhere.
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((number, result));
                    progress.inc(1);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Numbers of broken paths that the plot shows.
const BROKEN: [usize; 8] = [1, 2, 4, 6, 8, 10, 12, 16];

/// Failures in one history of Figures 6 and 7, as in the paper.
const FAILURES: u64 = 500;

/// Send Timeouts of Figure 9, in halves of a second.
const HALF_SECONDS: std::ops::RangeInclusive<u64> = 2..=30;

/// Runs of each Send Timeout, as in the paper.
const RUNS_A_TIMEOUT: u64 = 45;

/// Steps of the progress bar.
pub(crate) fn steps(runs: u64) -> u64 {
    let cuts = (BROKEN.len() + cuts::manners().len() - 1) as u64 * runs;
    let choices = choice::manners().len() as u64 * histories(runs);
    let timeouts = HALF_SECONDS.count() as u64 * RUNS_A_TIMEOUT;
    cuts + choices + timeouts + 2 * SERVERS.len() as u64
}

fn histories(runs: u64) -> u64 {
    runs.div_ceil(FAILURES)
}

/// Figure 5.
pub(crate) fn cuts(
    runs: u64,
    folder: &Path,
    progress: &ProgressBar,
) -> Result<Section, BenchError> {
    let distribution = |name: &str, manner: Manner, broken: usize| {
        progress.set_message(format!(
            "{broken} of 18 paths cut, {}",
            name.replace('\n', " ")
        ));
        let mut seconds = each(runs, progress, |seed| explore(seed, manner, broken));
        sort(&mut seconds);
        Distribution {
            manner: name.to_owned(),
            broken,
            seconds,
        }
    };
    let rfc: Vec<Distribution> = BROKEN
        .iter()
        .map(|broken| distribution("random (RFC pacing)", Manner::RFC, *broken))
        .collect();
    let mut worst: Vec<Distribution> = rfc.last().cloned().into_iter().collect();
    for (name, manner) in cuts::manners().into_iter().skip(1) {
        worst.push(distribution(name, manner, 16));
    }
    let subtitle = format!(
        "{runs} simulated failures of each; Send Timeout 3 s, a datagram a second both ways, no delay"
    );
    let chart = |title: &str, distributions: &[Distribution], end: f64, marks| {
        let is_of_manners = distributions.len() < BROKEN.len();
        let series = distributions.iter().enumerate().map(|(index, one)| {
            let (name, color) = if is_of_manners {
                (one.manner.clone(), COLORS[index % COLORS.len()])
            } else {
                (format!("n = {}", one.broken), shade(one.broken))
            };
            Series::distribution(name, color, &thinned(&one.seconds), end)
        });
        Chart {
            title: title.to_owned(),
            subtitle: subtitle.clone(),
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
            marks,
        }
    };
    let mark = |seconds: f64, share: f64| Mark {
        at: (seconds, share),
        text: format!("{:.0} % within {seconds:.0} s (n = 16)", share * 100.0),
    };
    let marks = vec![mark(7.0, 0.5), mark(17.0, 0.8), mark(31.0, 0.95)];
    let title = "Figure 5 (workshop): exploration with n of 18 one-way paths cut";
    chart(title, &rfc, 35.0, marks.clone()).write(folder, "figure5")?;
    let title = "Figure 5 (workshop), n = 16: how far other manners shorten it";
    chart(title, &worst, 35.0, marks).write(folder, "figure5-manners")?;
    write_json(
        folder,
        "figure5.json",
        &[rfc.as_slice(), &worst[1..]].concat(),
    )?;

    let all = |broken: usize| rfc.iter().find(|one| one.broken == broken);
    let mut stated = Vec::new();
    for (broken, limit, share) in [
        (1, 0.6, 1.0),
        (2, 0.6, 1.0),
        (4, 2.0, 1.0),
        (16, 7.0, 0.5),
        (16, 17.0, 0.8),
        (16, 31.0, 0.95),
    ] {
        let what = format!("n = {broken}: within {limit} s");
        let ours = all(broken).map_or(0.0, |one| one.within(limit));
        stated.push(Stated::share_at_least(what, share, ours));
    }
    Ok(Section {
        title: "Workshop paper, Figure 5: exploration time against the number of cut paths".into(),
        text: "Both current paths fail and others with them, as long as one is left each way; the \
               host that notices first is timed from leaving Operational to coming back. \
               Pacing is that of RFC 5534 unless a burst is named."
            .into(),
        stated,
        plots: vec!["figure5".into(), "figure5-manners".into()],
        data: vec!["figure5.json".into()],
    })
}

/// The darker, the more paths are cut.
fn shade(broken: usize) -> RGBColor {
    let part = |light: u32, dark: u32| {
        let broken = broken.min(16) as u32;
        ((light * (16 - broken) + dark * broken) / 16) as u8
    };
    RGBColor(part(158, 8), part(202, 48), part(225, 88))
}

/// At most about a thousand of many sorted values: more do not show.
fn thinned(sorted: &[f64]) -> Vec<f64> {
    let step = sorted.len().div_ceil(1_000).max(1);
    sorted.iter().copied().step_by(step).collect()
}

/// Figures 6 and 7.
pub(crate) fn choices(
    runs: u64,
    folder: &Path,
    progress: &ProgressBar,
) -> Result<Section, BenchError> {
    let mut all = Vec::new();
    for (name, manner) in choice::manners() {
        progress.set_message(format!("choices: {name}"));
        let parts = each(histories(runs), progress, |seed| {
            choice::choose(seed, manner, FAILURES.min(runs) as usize)
        });
        let mut choices = Choices {
            manner: name.to_owned(),
            ..Choices::default()
        };
        for part in parts {
            choices.chosen.extend(part.chosen);
            choices.lost += part.lost;
        }
        all.push(choices);
    }
    let subtitle = format!(
        "{} simulated failures of the pairs in use; pair i takes 10 i ms each way",
        histories(runs) * FAILURES.min(runs)
    );
    draw_choices(&all, &subtitle, folder, "")?;
    write_json(folder, "figure6-7.json", &all)?;
    let stated = all
        .iter()
        .zip([0.0, 0.461, 0.9])
        .skip(1)
        .map(|(choices, share)| {
            let what = format!("{}: the two best paths", choices.manner);
            Stated::share_at_least(what, share, choices.best_two())
        });
    let mut stated: Vec<Stated> = stated.collect();
    stated.extend(all.first().map(|default| Stated {
        what: "default: the two best paths".into(),
        by_paper: "21.5 %".into(),
        ours: format!("{:.1} %", default.best_two() * 100.0),
        met: default.best_two() >= 0.215,
    }));
    Ok(Section {
        title: "Workshop paper, Figures 6 and 7: which paths are chosen".into(),
        text:
            "Whatever is in use fails, again and again; an ideal host would jump between the two \
               best pairs, 50 % each. Here a host answers on the pair that it was heard on, which \
               works in both directions more often than not, so round trips are even multiples \
               where the paper's were mixed."
                .into(),
        stated,
        plots: vec!["figure6".into(), "figure7".into()],
        data: vec!["figure6-7.json".into()],
    })
}

/// Figure 9.
pub(crate) fn timeouts(folder: &Path, progress: &ProgressBar) -> Result<Section, BenchError> {
    progress.set_message("recovery against the Send Timeout");
    let points: Vec<Recovery> = HALF_SECONDS
        .map(|halves| {
            let timeout = Duration::from_millis(500 * halves);
            let seconds = each(RUNS_A_TIMEOUT, progress, |seed| recover(seed, timeout));
            Recovery::of(timeout.as_secs_f64(), seconds)
        })
        .collect();
    let subtitle =
        format!("median and 5th to 95th percentile of {RUNS_A_TIMEOUT} simulated cuts; hints off");
    draw_timeouts(&points, &subtitle, folder, "figure9")?;
    write_json(folder, "figure9.json", &points)?;
    let (slope, off) = straightness(&points);
    Ok(Section {
        title: "Journal paper, Figure 9: recovery against the Send Timeout".into(),
        text: "The time between the last datagram before a silent cut of the current pair and the \
               first one after it, with nothing but the Send Timeout to notice. Grey: where TCP would \
               resume if it had to wait for its own back-off, computed from the same runs."
            .into(),
        stated: vec![Stated {
            what: "a line without steps: slope, and the largest distance from it".into(),
            by_paper: "linear".into(),
            ours: format!("{slope:.2}, {off:.2} s"),
            met: (0.95..1.1).contains(&slope) && off < 0.25,
        }],
        plots: vec!["figure9".into()],
        data: vec!["figure9.json".into()],
    })
}

/// Figure 11.
pub(crate) fn arrivals(folder: &Path, progress: &ProgressBar) -> Result<Section, BenchError> {
    progress.set_message("a week of synthetic arrivals");
    let cases: Vec<_> = [10, 600]
        .into_iter()
        .flat_map(|after| SERVERS.map(|server| (server, after)))
        .collect();
    let weeks: Vec<Week> = each(cases.len() as u64, progress, |number| {
        let (server, after) = cases[number as usize];
        week(server, after, number)
    });
    let most = |weeks: &[Week]| {
        weeks
            .iter()
            .flat_map(|week| week.held.iter())
            .max()
            .copied()
    };
    let (short, long) = weeks.split_at(SERVERS.len());
    for (weeks, name, after) in [
        (short, "figure11", "10 s, as in the paper"),
        (long, "figure11-default", "10 minutes, the default"),
    ] {
        let series = weeks.iter().zip(COLORS).map(|(week, color)| {
            let hours = f64::from(week.interval_s) / 86_400.0;
            let points = (0_u32..)
                .zip(&week.held)
                .map(|(index, held)| (f64::from(index) * hours, f64::from(*held)));
            Series::line(week.server.replace(": ", ":\n"), color, points.collect())
        });
        Chart {
            title: "Figure 11 (journal): contexts that a server holds".to_owned(),
            subtitle: format!("a synthetic week; contexts collected after {after}"),
            x: Axis {
                title: "days".to_owned(),
                range: (0.0, 7.0),
                digits: 0,
            },
            y: Axis {
                title: "contexts at a time".to_owned(),
                range: (0.0, f64::from(most(weeks).unwrap_or(1)) * 1.1),
                digits: 0,
            },
            series: series.collect(),
            marks: Vec::new(),
        }
        .write(folder, name)?;
    }
    write_json(folder, "figure11.json", &weeks)?;
    let rate = |weeks: &[Week]| weeks.iter().map(|week| week.most_begun_a_second).max();
    Ok(Section {
        title: "Journal paper, Figure 11: contexts at a time (synthetic arrivals)".into(),
        text: format!(
            "The paper's week of campus traffic is not to be had. Here peers arrive at random, more \
             by day than by night, and stay for lognormal times; rates were chosen, not measured, so \
             the height of the curves says nothing about the papers' servers. What they cost does: \
             at most {} contexts begin and end within a second.",
            rate(short).unwrap_or_default()
        ),
        stated: vec![Stated {
            what: "contexts at a time, collected after 10 s".into(),
            by_paper: "under 800 (campus)".into(),
            ours: format!("at most {} (synthetic)", most(short).unwrap_or_default()),
            met: most(short).unwrap_or_default() < 800,
        }],
        plots: vec!["figure11".into(), "figure11-default".into()],
        data: vec!["figure11.json".into()],
    })
}
