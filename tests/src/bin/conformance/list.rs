//! The requirements and the deviations from them, as `tests/conformance/` has them.

use std::{fmt, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::Error;

/// How much an RFC insists on a requirement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
pub(crate) enum Level {
    #[serde(rename = "MUST")]
    Must,
    #[serde(rename = "MUST NOT")]
    MustNot,
    #[serde(rename = "SHOULD")]
    Should,
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    #[serde(rename = "RECOMMENDED")]
    Recommended,
    #[serde(rename = "must")]
    LowerMust,
    #[serde(rename = "should")]
    LowerShould,
    #[serde(rename = "recommended")]
    LowerRecommended,
    #[serde(rename = "MAY")]
    May,
    #[serde(rename = "text")]
    Text,
}

impl Level {
    /// All of them, the most insistent first.
    pub(crate) const ALL: [Self; 10] = [
        Self::Must,
        Self::MustNot,
        Self::Should,
        Self::ShouldNot,
        Self::Recommended,
        Self::LowerMust,
        Self::LowerShould,
        Self::LowerRecommended,
        Self::May,
        Self::Text,
    ];

    /// Whether a requirement of this level must be proved or listed as a deviation.
    pub(crate) const fn is_binding(self) -> bool {
        match self {
            Self::Must
            | Self::MustNot
            | Self::Should
            | Self::ShouldNot
            | Self::Recommended
            | Self::LowerMust => true,
            Self::LowerShould | Self::LowerRecommended | Self::May | Self::Text => false,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::Recommended => "RECOMMENDED",
            Self::LowerMust => "must",
            Self::LowerShould => "should",
            Self::LowerRecommended => "recommended",
            Self::May => "MAY",
            Self::Text => "text",
        })
    }
}

/// Something that an RFC asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirement {
    /// `S-001`: S for RFC 5533, R for 5534, H for 5535, C for 3972, 4581 and 4982.
    pub(crate) id: String,
    pub(crate) rfc: u16,
    pub(crate) section: String,
    pub(crate) level: Level,
    pub(crate) text: String,
}

/// A requirement that is not met, or cannot be proved here.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deviation {
    pub(crate) id: String,
    pub(crate) reason: String,
    pub(crate) lifted_by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirements {
    requirements: Vec<Requirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviations {
    deviations: Vec<Deviation>,
}

/// The requirements in the order of `requirements.toml` in `folder`.
pub(crate) fn requirements(folder: &Path) -> Result<Vec<Requirement>, Error> {
    let list: Requirements = read(&folder.join("requirements.toml"))?;
    Ok(list.requirements)
}

/// The deviations in the order of `deviations.toml` in `folder`.
pub(crate) fn deviations(folder: &Path) -> Result<Vec<Deviation>, Error> {
    let list: Deviations = read(&folder.join("deviations.toml"))?;
    Ok(list.deviations)
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| Error::List {
        path: path.to_owned(),
        source,
    })
}
