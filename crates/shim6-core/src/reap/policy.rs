//! The policies by which pairs are ordered, and the words for them.

use std::fmt;
use std::str::FromStr;

/// The order in which pairs are probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ExplorationPolicy {
    /// Any order, as LinShim6 did it; the pair that failed last.
    Random,
    /// First those that share no address with the pair that failed.
    #[default]
    DisjointFirst,
    /// As both ends' locator preferences say, equals by their weights (RFC 5533 §5.15.3).
    Preference,
    /// The shortest round trip first; what was never measured is measured sooner still.
    MeasuredRtt,
}

impl ExplorationPolicy {
    /// Every policy.
    pub const ALL: [Self; 4] = [
        Self::Random,
        Self::DisjointFirst,
        Self::Preference,
        Self::MeasuredRtt,
    ];

    /// The word that configuration and commands use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::DisjointFirst => "disjoint-first",
            Self::Preference => "preference",
            Self::MeasuredRtt => "rtt",
        }
    }
}

impl fmt::Display for ExplorationPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No such policy; the message names those that there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a policy: random, disjoint-first, preference or rtt")]
pub struct UnknownPolicy;

impl FromStr for ExplorationPolicy {
    type Err = UnknownPolicy;

    fn from_str(word: &str) -> Result<Self, UnknownPolicy> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == word);
        found.ok_or(UnknownPolicy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_has_a_word_and_no_other_word_has_one() {
        for policy in ExplorationPolicy::ALL {
            assert_eq!(policy.as_str().parse(), Ok(policy));
        }
        assert_eq!("rTt".parse::<ExplorationPolicy>(), Err(UnknownPolicy));
    }
}
