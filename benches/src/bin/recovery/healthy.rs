//! A path that is healthy but rough: nothing may move, and its pair may not be asked about all the time.

use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;
use shimq_benches::application::{Application, Pattern, Transport};
use shimq_benches::daemon::Program;
use shimq_benches::error::BenchError;
use shimq_testbed::{Moment, Path};

use crate::stage::{Network, PATH};

/// What the daemons did on a rough path.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Healthy {
    pub(crate) pattern: Pattern,
    pub(crate) seconds: f64,
    /// Tests of the current pair, of the host that made most.
    pub(crate) tests: usize,
    /// Changes of pair, on both hosts together.
    pub(crate) changes: usize,
}

/// Round trip 20 ms; each way up to 50 ms more, out of order, and 5 % lost.
const ROUGH: Path = Path {
    jitter: Duration::from_millis(50),
    in_order: false,
    loss: 0.05,
    rate: None,
    ..PATH
};

/// What `--only` and the tables call an application on a rough path.
pub(crate) fn title(pattern: Pattern) -> String {
    format!("healthy but rough path, {pattern:?}")
}

/// Has an application use a rough path for `time`.
pub(crate) fn observe(
    pattern: Pattern,
    time: Duration,
    program: &Program,
    progress: &ProgressBar,
) -> Result<Healthy, BenchError> {
    let network = Network::new(1)?;
    let mut shim = network.start_daemons(program, "")?;
    let [of_a, of_b] = &shim.locators;
    let (a, b) = (&network.hosts.a, &network.hosts.b);
    let _application = Application::start(pattern, Transport::Plain, (a, of_a[0]), (b, of_b[0]))?;
    crate::stage::wait_until("both hosts have a context", PATIENCE, || {
        let monitors = &shim.monitors;
        Ok(monitors.iter().all(|one| one.has("context-established")))
    })?;
    network.set_paths(ROUGH);
    let start = Moment::now();
    while Moment::now().since(start) < time {
        std::thread::sleep(Duration::from_secs(1).min(time));
        progress.inc(1);
    }
    for daemon in &mut shim.daemons {
        daemon.check()?;
    }
    let count = |names: &[&str]| {
        shim.monitors.each_ref().map(|monitor| {
            let events = monitor.events().into_iter();
            events
                .filter(|event| event.at() > start && names.contains(&event.name.as_str()))
                .count()
        })
    };
    let tests = count(&["pair-suspected", "failure-detected"]);
    Ok(Healthy {
        pattern,
        seconds: Moment::now().since(start).as_secs_f64(),
        tests: tests.into_iter().max().unwrap_or_default(),
        changes: count(&["pair-changed"]).into_iter().sum(),
    })
}

const PATIENCE: Duration = Duration::from_secs(20);
