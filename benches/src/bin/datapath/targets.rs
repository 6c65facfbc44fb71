//! What is aimed at, and whether it was reached. A benchmark says so; it never fails for it.

use serde::Serialize;

use crate::results::{Results, Spread};
use crate::scale::Load;
use crate::scale::backlog::Backlog;
use crate::traffic::{Sample, Traffic};
use crate::variant::Variant;

/// One aim and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) aim: String,
    pub(crate) measured: Spread,
    /// Of which the extremes say more than the quartiles.
    pub(crate) counts_packets: bool,
    /// By the median.
    pub(crate) reached: bool,
}

/// A bound on a figure.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    NoPackets,
}

/// A figure of a sample.
#[derive(Clone, Copy)]
enum Figure {
    Rate,
    Cpu,
    P50,
    P99,
}

impl Figure {
    fn of(self, sample: &Sample) -> f64 {
        let latency =
            |pick: fn(crate::traffic::Latency) -> f64| sample.latency.map_or(f64::NAN, pick);
        match self {
            Self::Rate => sample.rate,
            Self::Cpu => sample.cpu,
            Self::P50 => latency(|latency| latency.p50),
            Self::P99 => latency(|latency| latency.p99),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Cpu => "CPU",
            Self::P50 => "p50",
            Self::P99 => "p99",
        }
    }
}

/// Ratios that are aimed at: of what, to what, on which traffic, of which figure.
const RATIOS: [(Variant, Variant, Traffic, Figure, Bound); 31] = {
    use Bound::{AtLeast, AtMost};
    use Figure::{Cpu, P50, P99, Rate};
    use Traffic::{BulkAToB, BulkBToA, RoundTrip, SmallPackets};
    use Variant::{
        BesideMappedByKernel, BestAccept, BestRewrite, Mapped, MappedByKernel, NaiveRewrite,
        NoRules, QueueAll, Rewriter, SingleSegments, Unmapped,
    };
    [
        (Unmapped, NoRules, BulkAToB, Rate, AtLeast(0.95)),
        (Unmapped, NoRules, BulkBToA, Rate, AtLeast(0.95)),
        (Unmapped, NoRules, RoundTrip, P50, AtMost(1.15)),
        (QueueAll, BestAccept, BulkAToB, Rate, AtLeast(0.90)),
        (QueueAll, BestAccept, BulkBToA, Rate, AtLeast(0.90)),
        (QueueAll, BestAccept, SmallPackets, Rate, AtLeast(0.90)),
        (QueueAll, BestAccept, SmallPackets, Cpu, AtMost(1.15)),
        (QueueAll, BestAccept, RoundTrip, P50, AtMost(1.10)),
        (QueueAll, BestAccept, RoundTrip, P99, AtMost(1.25)),
        (Mapped, BestRewrite, BulkAToB, Rate, AtLeast(0.90)),
        (Mapped, BestRewrite, BulkBToA, Rate, AtLeast(0.90)),
        (Mapped, BestRewrite, BulkAToB, Cpu, AtMost(1.15)),
        (Mapped, BestRewrite, BulkBToA, Cpu, AtMost(1.15)),
        (Mapped, BestRewrite, SmallPackets, Rate, AtLeast(0.90)),
        (Mapped, BestRewrite, SmallPackets, Cpu, AtMost(1.15)),
        (Mapped, NaiveRewrite, BulkAToB, Rate, AtLeast(1.5)),
        (Mapped, NaiveRewrite, BulkBToA, Rate, AtLeast(1.5)),
        (Mapped, NaiveRewrite, BulkAToB, Cpu, AtMost(0.6)),
        (Mapped, NaiveRewrite, BulkBToA, Cpu, AtMost(0.6)),
        (Mapped, NaiveRewrite, SmallPackets, Rate, AtLeast(1.5)),
        (Mapped, NaiveRewrite, SmallPackets, Cpu, AtMost(0.6)),
        (Mapped, BestRewrite, RoundTrip, P50, AtMost(1.15)),
        (Mapped, SingleSegments, BulkAToB, Rate, AtLeast(1.0)),
        (Mapped, SingleSegments, BulkBToA, Rate, AtLeast(1.0)),
        (Mapped, SingleSegments, SmallPackets, Rate, AtLeast(0.5)),
        (MappedByKernel, Rewriter, BulkAToB, Rate, AtLeast(0.9)),
        (MappedByKernel, Rewriter, BulkBToA, Rate, AtLeast(0.9)),
        (MappedByKernel, SingleSegments, BulkAToB, Rate, AtLeast(4.0)),
        (MappedByKernel, SingleSegments, BulkBToA, Rate, AtLeast(4.0)),
        (BesideMappedByKernel, NoRules, BulkAToB, Rate, AtLeast(0.95)),
        (BesideMappedByKernel, NoRules, BulkBToA, Rate, AtLeast(0.95)),
    ]
};

/// Where the kernel maps, TCP is segmented in software; the links' own offloads are not in the way.
/// What it then carries is compared with unmapped traffic that has no offloads at all.
const SEGMENTED: [(Traffic, Traffic); 2] = [
    (Traffic::BulkAToB, Traffic::BulkAToBNoOffload),
    (Traffic::BulkBToA, Traffic::BulkBToANoOffload),
];

/// A round trip of a mapped flow enters queues so often: out and in, on both hosts.
const CROSSINGS: f64 = 4.0;

/// Microseconds that a queue may add to a packet's way.
const CROSSING_MICROS: f64 = 12.0;

/// All of them that were measured.
pub(crate) fn check(results: &Results) -> Vec<Target> {
    let ratios = RATIOS
        .iter()
        .filter_map(|&(variant, base, traffic, figure, bound)| {
            let measured = results.ratio(variant, base, traffic, |sample| figure.of(sample))?;
            let [variant, base] = [variant, base].map(Variant::title);
            let (traffic, figure) = (traffic.title(), figure.title());
            let what = format!("{variant} / {base}, {traffic}, {figure}");
            Some(Target::new(what, bound, measured))
        });
    let segmented = SEGMENTED.map(|(mapped, unmapped)| {
        let of = (Variant::MappedByKernel, mapped);
        let measured = results.ratio_across(of, (Variant::NoRules, unmapped), |sample| {
            Figure::Rate.of(sample)
        })?;
        let [variant, base] = [of.0, Variant::NoRules].map(Variant::title);
        let what = format!(
            "{variant}, {} / {base}, {}, rate",
            mapped.title(),
            unmapped.title()
        );
        Some(Target::new(what, Bound::AtLeast(0.55), measured))
    });
    let crossing = results.difference(
        Variant::Mapped,
        Variant::NoRules,
        Traffic::RoundTrip,
        |sample| Figure::P50.of(sample) / CROSSINGS,
    );
    let crossing = crossing.map(|measured| {
        let what = "a mapped packet's way through one queue, p50, us".to_owned();
        Target::new(what, Bound::AtMost(CROSSING_MICROS), measured)
    });
    let lost = results.spread(Variant::Mapped, Traffic::BulkAToB, |sample| {
        sample.dropped as f64
    });
    let lost = lost.map(|measured| {
        let what = "packets that queues lost, mapped, TCP bulk A to B".to_owned();
        Target::new(what, Bound::NoPackets, measured)
    });
    let queued = [Traffic::BulkAToB, Traffic::BulkBToA].map(|traffic| {
        let measured = results.spread(Variant::Unmapped, traffic, |sample| sample.queued as f64)?;
        let what = format!("packets queued, unmapped context, {}", traffic.title());
        Some(Target::new(what, Bound::NoPackets, measured))
    });
    let small = Spread::of(
        results
            .small_flows()
            .iter()
            .map(|flows| flows.queued as f64),
    );
    let small = small.map(|measured| {
        let what = "packets queued, flows too small for a context".to_owned();
        Target::new(what, Bound::NoPackets, measured)
    });
    let many = results.load_ratio(Load::MANY, Load::ONE, |sample| sample.cpu);
    let many = many.map(|measured| {
        let what = "100 000 contexts / one, CPU per packet".to_owned();
        Target::new(what, Bound::AtMost(1.15), measured)
    });
    let queues = Spread::of(results.backlogs().iter().map(Backlog::gain));
    let queues = queues.map(|measured| {
        let what = "two queues / one, drained backlog, rate".to_owned();
        Target::new(what, Bound::AtLeast(1.6), measured)
    });
    ratios
        .chain(segmented.into_iter().flatten())
        .chain(small)
        .chain(many)
        .chain(queues)
        .chain(crossing)
        .chain(lost)
        .chain(queued.into_iter().flatten())
        .collect()
}

impl Target {
    fn new(what: String, bound: Bound, measured: Spread) -> Self {
        let (aim, reached) = match bound {
            Bound::AtLeast(least) => (format!("at least {least}"), measured.median >= least),
            Bound::AtMost(most) => (format!("at most {most}"), measured.median <= most),
            Bound::NoPackets => ("0".to_owned(), measured.median == 0.0),
        };
        Self {
            what,
            aim,
            measured,
            counts_packets: matches!(bound, Bound::NoPackets),
            reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_judged_by_its_median_and_on_its_own_side() {
        let measured = Spread::of([0.8, 0.96, 1.2]).unwrap();
        let judge = |bound| Target::new(String::new(), bound, measured).reached;
        assert!(judge(Bound::AtLeast(0.95)));
        assert!(!judge(Bound::AtLeast(0.97)));
        assert!(judge(Bound::AtMost(1.0)));
        assert!(!judge(Bound::AtMost(0.9)));
    }
}
