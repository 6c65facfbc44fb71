//! The rounds: in each, every variant once, set up afresh, in an order that turns from round to round.

use std::time::Duration;

use indicatif::ProgressBar;

use crate::network::Network;
use crate::results::Results;
use crate::scale::{Load, backlog};
use crate::small_flows;
use crate::traffic::Traffic;
use crate::variant::{Tools, Variant};
use shimq_benches::error::BenchError;

/// What shall be measured, and how long.
pub(crate) struct Plan {
    pub(crate) variants: Vec<Variant>,
    pub(crate) rounds: usize,
    /// Of one measurement.
    pub(crate) time: Duration,
}

impl Plan {
    /// Steps of the progress bar.
    pub(crate) fn steps(&self) -> u64 {
        (self.steps_of_round() * self.rounds) as u64
    }

    /// Whatever is measured, the backlogs, and the small flows.
    fn steps_of_round(&self) -> usize {
        self.variants.len() * Traffic::ALL.len() + Load::ALL.len() + 2
    }

    /// Carries it out. What fails is said and left out of its round: one kernel lacks this, another
    /// that.
    pub(crate) fn run(&self, tools: &Tools, progress: &ProgressBar) -> Results {
        let mut results = Results::default();
        for round in 0..self.rounds {
            let complain = |what: &str, error: &BenchError| {
                let text = format!("round {}, {what}: {error}", round + 1);
                progress.suspend(|| eprintln!("{text}"));
            };
            let mut order = self.variants.clone();
            // Nothing always comes right after the same other thing, nor always early or late.
            let turn = round * 3 % order.len().max(1);
            order.rotate_left(turn);
            if round % 2 == 1 {
                order.reverse();
            }
            for variant in order {
                if let Err(error) = self.visit(variant, round, tools, &mut results, progress) {
                    complain(variant.title(), &error);
                }
            }
            for load in Load::ALL {
                progress.set_message(format!("round {}: {}", round + 1, load.title()));
                match load.measure(self.time) {
                    Ok(sample) => results.add_load(load, round, sample),
                    Err(error) => complain(&load.title(), &error),
                }
                progress.inc(1);
            }
            progress.set_message(format!("round {}: backlogs", round + 1));
            match backlog::measure() {
                Ok(backlog) => results.add_backlog(backlog),
                Err(error) => complain("backlogs", &error),
            }
            match small_flows::measure(tools) {
                Ok(small_flows) => results.add_small_flows(small_flows),
                Err(error) => complain("small flows", &error),
            }
            // Steps that failed count as done.
            progress.set_position(((round + 1) * self.steps_of_round()) as u64);
        }
        results
    }

    fn visit(
        &self,
        variant: Variant,
        round: usize,
        tools: &Tools,
        results: &mut Results,
        progress: &ProgressBar,
    ) -> Result<(), BenchError> {
        let say = |what: &str| {
            let round = round + 1;
            progress.set_message(format!("round {round}: {}: {what}", variant.title()));
        };
        say("set up");
        let network = Network::new()?;
        let mut stage = variant.set_up(&network, tools)?;
        let course = stage.course();
        let mut offloads = true;
        for traffic in Traffic::ALL {
            if variant.carries(traffic) {
                say(traffic.title());
                if offloads && traffic.needs_offloads_off() {
                    network.turn_offloads_off()?;
                    offloads = false;
                }
                let sample = traffic.measure(&course, self.time)?;
                results.add(variant, traffic, round, sample);
            }
            progress.inc(1);
        }
        Ok(())
    }
}
