//! The rounds: in each, all variants, and then all loads, are set up afresh side by side, and measured
//! in turns.
//!
//! A machine that others share is faster in one second than in the next. So that this is in no ratio,
//! what is compared is measured as close together in time as can be: a round has many short turns, in
//! each of which everything is measured once, and ratios are within a turn. Whatever is not being
//! measured is idle.

use std::time::Duration;

use indicatif::ProgressBar;

use crate::network::Network;
use crate::results::Results;
use crate::scale::{Load, backlog};
use crate::small_flows;
use crate::traffic::Traffic;
use crate::variant::{Stage, Tools, Variant};
use shimq_benches::error::BenchError;

/// What shall be measured, and how long.
pub(crate) struct Plan {
    pub(crate) variants: Vec<Variant>,
    pub(crate) rounds: usize,
    /// So often each variant is measured in a round, on each traffic.
    pub(crate) turns: usize,
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
        (self.variants.len() * Traffic::ALL.len() + Load::ALL.len()) * self.turns + 2
    }

    /// Carries it out. What fails is said and left out: one kernel lacks this, another that.
    pub(crate) fn run(&self, tools: &Tools, progress: &ProgressBar) -> Results {
        let mut results = Results::default();
        for round in 0..self.rounds {
            let teller = Teller { round, progress };
            self.visit_all(&teller, tools, &mut results);
            self.measure_loads(&teller, &mut results);
            teller.say("backlogs");
            match backlog::measure() {
                Ok(backlog) => results.add_backlog(backlog),
                Err(error) => teller.complain("backlogs", &error),
            }
            match small_flows::measure(tools) {
                Ok(small_flows) => results.add_small_flows(small_flows),
                Err(error) => teller.complain("small flows", &error),
            }
            // Steps that failed count as done.
            progress.set_position(((round + 1) * self.steps_of_round()) as u64);
        }
        results
    }

    /// Sets all variants up, and measures them.
    fn visit_all(&self, teller: &Teller<'_>, tools: &Tools, results: &mut Results) {
        let mut networks = Vec::new();
        for variant in self.order(teller.round) {
            match Network::new() {
                Ok(network) => networks.push((variant, network)),
                Err(error) => teller.complain(variant.title(), &error.into()),
            }
        }
        let mut stages = Vec::new();
        for (variant, network) in &networks {
            teller.say(&format!("{}: set up", variant.title()));
            match variant.set_up(network, tools) {
                Ok(stage) => stages.push((*variant, stage)),
                Err(error) => teller.complain(variant.title(), &error),
            }
        }
        let mut offloads = true;
        for traffic in Traffic::ALL {
            if offloads && traffic.needs_offloads_off() {
                for (variant, network) in &networks {
                    if let Err(error) = network.turn_offloads_off() {
                        teller.complain(variant.title(), &error.into());
                    }
                }
                offloads = false;
            }
            for turn in 0..self.turns {
                let turn = teller.round * self.turns + turn;
                for (variant, stage) in &mut stages {
                    self.measure((*variant, stage), traffic, turn, teller, results);
                }
            }
        }
    }

    fn measure(
        &self,
        (variant, stage): (Variant, &mut Stage<'_>),
        traffic: Traffic,
        turn: usize,
        teller: &Teller<'_>,
        results: &mut Results,
    ) {
        if variant.carries(traffic) {
            let title = format!("{}: {}", variant.title(), traffic.title());
            teller.say(&title);
            let sample = stage
                .course()
                .and_then(|course| traffic.measure(&course, self.time));
            match sample {
                Ok(sample) => results.add(variant, traffic, turn, sample),
                Err(error) => teller.complain(&title, &error),
            }
        }
        teller.progress.inc(1);
    }

    /// Sets all loads up, and measures them.
    fn measure_loads(&self, teller: &Teller<'_>, results: &mut Results) {
        let mut loads = Vec::new();
        for load in Load::ALL {
            teller.say(&format!("{}: set up", load.title()));
            match load.set_up() {
                Ok(loaded) => loads.push(loaded),
                Err(error) => teller.complain(&load.title(), &error),
            }
        }
        for turn in 0..self.turns {
            let turn = teller.round * self.turns + turn;
            for loaded in &mut loads {
                let title = loaded.load.title();
                teller.say(&title);
                match loaded.measure(self.time) {
                    Ok(sample) => results.add_load(loaded.load, turn, sample),
                    Err(error) => teller.complain(&title, &error),
                }
                teller.progress.inc(1);
            }
        }
    }

    /// Nothing always comes right after the same other thing, nor always early or late.
    fn order(&self, round: usize) -> Vec<Variant> {
        let mut order = self.variants.clone();
        let turn = round * 3 % order.len().max(1);
        order.rotate_left(turn);
        if round % 2 == 1 {
            order.reverse();
        }
        order
    }
}

/// Tells people how far a round is.
struct Teller<'a> {
    /// From 0.
    round: usize,
    progress: &'a ProgressBar,
}

impl Teller<'_> {
    fn say(&self, what: &str) {
        let round = self.round + 1;
        self.progress.set_message(format!("round {round}: {what}"));
    }

    fn complain(&self, what: &str, error: &BenchError) {
        let text = format!("round {}, {what}: {error}", self.round + 1);
        self.progress.suspend(|| eprintln!("{text}"));
    }
}
