//! The table, in Markdown: medians, ratios to "no rules", targets.

use std::fmt::Write;

use super::Setting;
use crate::results::{Results, Spread};
use crate::scale::Load;
use crate::targets::Target;
use crate::traffic::{Latency, Sample, Traffic};
use crate::variant::Variant;

/// Everything, as one text.
pub(super) fn write(results: &Results, setting: &Setting, targets: &[Target]) -> String {
    let mut text = String::new();
    let Setting {
        rounds,
        turns,
        seconds,
        machine,
    } = setting;
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "# What packets cost\n");
    let _ = writeln!(text, "{}.", machine.describe());
    let _ = writeln!(
        text,
        "{rounds} rounds of {turns} turns of {seconds} s. Both hosts share the processors. Each cell: the \
         median, (first to third quartile), and in bold the median of the ratios to \"no rules\" of the same turn.\n"
    );
    if machine.was_busy() {
        let _ = writeln!(
            text,
            "**The machine was busy with other things: read the processor time rather than the rates.**\n"
        );
    }
    targets_table(&mut text, targets);
    for traffic in Traffic::ALL {
        traffic_table(&mut text, results, traffic);
    }
    loads_table(&mut text, results);
    backlogs_table(&mut text, results);
    text
}

fn targets_table(text: &mut String, targets: &[Target]) {
    let _ = writeln!(text, "## Targets\n");
    let _ = writeln!(
        text,
        "| what | aim | median (first to third quartile; packets: least to most) | |"
    );
    let _ = writeln!(text, "|---|---|---|---|");
    for target in targets {
        let Target {
            what,
            aim,
            measured,
            counts_packets,
            reached,
        } = target;
        let verdict = if *reached { "reached" } else { "**missed**" };
        let measured = if *counts_packets {
            show_between(*measured, [measured.least, measured.most])
        } else {
            show(*measured)
        };
        let _ = writeln!(text, "| {what} | {aim} | {measured} | {verdict} |");
    }
}

fn traffic_table(text: &mut String, results: &Results, traffic: Traffic) {
    let has_latency = traffic == Traffic::RoundTrip;
    let _ = writeln!(text, "\n## {}\n", traffic.title());
    let ((rate_factor, rate_unit), (cpu_factor, cpu_unit)) =
        (traffic.rate_unit(), traffic.cpu_unit());
    let mut columns = vec![format!("rate, {rate_unit}"), format!("CPU, {cpu_unit}")];
    if has_latency {
        columns.extend(["p50, us", "p99, us", "p99.9, us"].map(str::to_owned));
    }
    columns.extend(["packets queued", "packets lost by queues"].map(str::to_owned));
    let _ = writeln!(text, "| | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(columns.len()));
    for variant in Variant::ALL {
        let cell = |figure: &dyn Fn(&Sample) -> f64| {
            let spread = results.spread(variant, traffic, figure)?;
            let ratio = results.ratio(variant, Variant::NoRules, traffic, figure);
            let ratio = ratio.map_or(String::new(), |ratio| format!(" **{:.2}**", ratio.median));
            Some(format!("{}{ratio}", show(spread)))
        };
        let Some(rate) = cell(&|sample| sample.rate * rate_factor) else {
            continue;
        };
        let mut cells = vec![Some(rate), cell(&|sample| sample.cpu * cpu_factor)];
        if has_latency {
            let latency = |pick: fn(Latency) -> f64| {
                cell(&|sample: &Sample| sample.latency.map_or(f64::NAN, pick))
            };
            cells.push(latency(|latency| latency.p50));
            cells.push(latency(|latency| latency.p99));
            cells.push(latency(|latency| latency.p999));
        }
        let count = |figure: fn(&Sample) -> u64| {
            let spread = results.spread(variant, traffic, |sample| figure(sample) as f64);
            spread.map(|spread| format!("{:.0}", spread.median))
        };
        cells.push(count(|sample| sample.queued));
        cells.push(count(|sample| sample.dropped));
        let cells: Vec<_> = cells.into_iter().map(Option::unwrap_or_default).collect();
        let _ = writeln!(text, "| {} | {} |", variant.title(), cells.join(" | "));
    }
}

fn loads_table(text: &mut String, results: &Results) {
    let _ = writeln!(text, "\n## Contexts, mapped UDP 64 B, one host\n");
    let _ = writeln!(text, "Bold: ratios to one context.\n");
    let _ = writeln!(text, "| | rate, kpps | CPU, us/packet |\n|---|---|---|");
    for load in Load::ALL {
        let cell = |factor: f64, figure: fn(&Sample) -> f64| {
            let spread = results.load_spread(load, |sample| factor * figure(sample))?;
            let ratio = results.load_ratio(load, Load::ONE, figure)?;
            Some(format!("{} **{:.2}**", show(spread), ratio.median))
        };
        let cells = [
            cell(1e-3, |sample| sample.rate),
            cell(1e6, |sample| sample.cpu),
        ];
        let [rate, cpu] = cells.map(Option::unwrap_or_default);
        let _ = writeln!(text, "| {} | {rate} | {cpu} |", load.title());
    }
}

fn backlogs_table(text: &mut String, results: &Results) {
    let _ = writeln!(text, "\n## Queues, backlog of mapped UDP 64 B, one host\n");
    if results.backlogs().is_empty() {
        let _ = writeln!(text, "Not measured: two queues need two processors.");
        return;
    }
    let _ = writeln!(text, "| | rate, kpps |\n|---|---|");
    for (queues, title) in ["1 queue", "2 queues"].into_iter().enumerate() {
        let rates = results
            .backlogs()
            .iter()
            .map(|backlog| 1e-3 * backlog.rates()[queues]);
        let rate = Spread::of(rates).map(show).unwrap_or_default();
        let _ = writeln!(text, "| {title} | {rate} |");
    }
}

fn show(spread: Spread) -> String {
    show_between(spread, spread.quartiles)
}

/// The median, and the bounds in parentheses if there was more than one value.
fn show_between(spread: Spread, [lower, upper]: [f64; 2]) -> String {
    let median = digits(spread.median);
    if spread.count == 1 {
        return median;
    }
    format!("{median} ({} to {})", digits(lower), digits(upper))
}

/// Three digits that count.
fn digits(value: f64) -> String {
    let whole = value.abs();
    if whole == 0.0 || whole >= 100.0 {
        format!("{value:.0}")
    } else if whole >= 10.0 {
        format!("{value:.1}")
    } else if whole >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_whatever_their_size() {
        let shown = [0.0, 0.0567, 1.005, 12.34, 123.4, 12_345.6].map(digits);
        assert_eq!(shown, ["0", "0.057", "1.00", "12.3", "123", "12346"]);
    }
}
