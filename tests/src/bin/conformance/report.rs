//! Who cites what: requirements, annotations and deviations joined, judged and printed.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::Serialize;

use crate::{
    annotation::{Annotation, Fault, Kind},
    list::{Deviation, Level, Requirement},
};

/// A line of code.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Place {
    file: PathBuf,
    line: usize,
}

/// A test, and the line that it begins at or that cites.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Test {
    #[serde(flatten)]
    place: Place,
    name: String,
}

/// A line that departs from a requirement on purpose.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Exception {
    #[serde(flatten)]
    place: Place,
    reason: String,
}

/// What becomes of a requirement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    /// Code obeys and a test proves it.
    Proved,
    /// Not so, for a reason that is given.
    Deviation,
    /// Code obeys, no test proves it.
    NoTest,
    /// A test, and no code that cites.
    NoCode,
    /// Nobody cites it.
    Missing,
}

impl Standing {
    const ALL: [Self; 5] = [
        Self::Proved,
        Self::Deviation,
        Self::NoTest,
        Self::NoCode,
        Self::Missing,
    ];
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Proved => "proved",
            Self::Deviation => "deviation",
            Self::NoTest => "no test",
            Self::NoCode => "no code",
            Self::Missing => "missing",
        })
    }
}

/// A requirement and all that cites it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Item {
    #[serde(flatten)]
    requirement: Requirement,
    standing: Standing,
    code: Vec<Place>,
    tests: Vec<Test>,
    exceptions: Vec<Exception>,
    deviation: Option<Deviation>,
}

impl Item {
    fn new(requirement: Requirement, deviation: Option<Deviation>) -> Self {
        Self {
            requirement,
            standing: Standing::Missing,
            code: Vec::new(),
            tests: Vec::new(),
            exceptions: Vec::new(),
            deviation,
        }
    }

    fn cite(&mut self, annotation: &Annotation) {
        let place = Place {
            file: annotation.file.clone(),
            line: annotation.line,
        };
        match &annotation.kind {
            Kind::Code => self.code.push(place),
            Kind::Test { name } => self.tests.push(Test {
                place,
                name: name.clone(),
            }),
            Kind::Exception { reason } => self.exceptions.push(Exception {
                place,
                reason: reason.clone(),
            }),
        }
    }

    fn judge(&mut self) {
        let deviates = self.deviation.is_some() || !self.exceptions.is_empty();
        self.standing = match (self.code.is_empty(), self.tests.is_empty()) {
            (false, false) => Standing::Proved,
            _ if deviates => Standing::Deviation,
            (false, true) => Standing::NoTest,
            (true, false) => Standing::NoCode,
            (true, true) => Standing::Missing,
        };
    }

    /// Whether the requirement must be proved or excused, and is neither.
    pub(crate) fn fails(&self) -> bool {
        self.requirement.level.is_binding()
            && match self.standing {
                Standing::Proved | Standing::Deviation => false,
                Standing::NoTest | Standing::NoCode | Standing::Missing => true,
            }
    }

    fn is_lacking(&self) -> bool {
        match self.standing {
            Standing::Proved | Standing::Deviation => false,
            Standing::NoTest | Standing::NoCode | Standing::Missing => true,
        }
    }
}

/// All requirements, all that is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    requirements: Vec<Item>,
    counts: BTreeMap<String, BTreeMap<String, usize>>,
    errors: Vec<String>,
}

impl Report {
    pub(crate) fn new(
        requirements: Vec<Requirement>,
        deviations: Vec<Deviation>,
        annotations: &[Annotation],
        faults: &[Fault],
    ) -> Self {
        let mut errors: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let mut reasons = BTreeMap::new();
        for deviation in deviations {
            let id = deviation.id.clone();
            if reasons.insert(id.clone(), deviation).is_some() {
                errors.push(format!("deviations.toml: {id} is there twice"));
            }
        }
        let mut items = Vec::new();
        let mut index = BTreeMap::new();
        for requirement in requirements {
            let id = requirement.id.clone();
            if index.insert(id.clone(), items.len()).is_some() {
                errors.push(format!("requirements.toml: {id} is there twice"));
            }
            let deviation = reasons.remove(&id);
            items.push(Item::new(requirement, deviation));
        }
        for id in reasons.keys() {
            errors.push(format!("deviations.toml: no requirement is called {id}"));
        }
        for annotation in annotations {
            for id in &annotation.ids {
                match index.get(id) {
                    Some(&at) => items[at].cite(annotation),
                    None => errors.push(format!(
                        "{}:{}: no requirement is called {id}",
                        annotation.file.display(),
                        annotation.line
                    )),
                }
            }
        }
        for item in &mut items {
            item.judge();
            if item.standing == Standing::Proved && item.deviation.is_some() {
                errors.push(format!(
                    "deviations.toml: {} is cited by code and by a test",
                    item.requirement.id
                ));
            }
        }
        let counts = count(&items);
        Self {
            requirements: items,
            counts,
            errors,
        }
    }

    /// Whether `make conformance` may pass.
    pub(crate) fn passes(&self) -> bool {
        self.errors.is_empty() && !self.requirements.iter().any(Item::fails)
    }

    /// Leaves what is neither proved nor excused.
    pub(crate) fn only_lacking(mut self) -> Self {
        self.requirements.retain(Item::is_lacking);
        self
    }
}

/// For each level, how many requirements stand how.
fn count(items: &[Item]) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut counts = BTreeMap::<_, BTreeMap<_, _>>::new();
    for item in items {
        *counts
            .entry(item.requirement.level.to_string())
            .or_default()
            .entry(item.standing.to_string())
            .or_default() += 1;
    }
    counts
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.requirements {
            writeln!(f, "{item}")?;
        }
        write!(f, "{:12}", "level")?;
        for standing in Standing::ALL {
            write!(f, "{standing:>11}")?;
        }
        writeln!(f, "{:>11}", "all")?;
        for level in Level::ALL {
            let Some(counts) = self.counts.get(&level.to_string()) else {
                continue;
            };
            write!(f, "{level:12}")?;
            for standing in Standing::ALL {
                let number = counts.get(&standing.to_string()).unwrap_or(&0);
                write!(f, "{number:>11}")?;
            }
            writeln!(f, "{:>11}", counts.values().sum::<usize>())?;
        }
        for error in &self.errors {
            writeln!(f, "error: {error}")?;
        }
        let failing = self.requirements.iter().filter(|item| item.fails());
        let failing: Vec<_> = failing.map(|item| &item.requirement.id[..]).collect();
        if !failing.is_empty() {
            writeln!(
                f,
                "error: neither proved nor excused: {}",
                failing.join(" ")
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requirement {
            id,
            rfc,
            section,
            level,
            text,
        } = &self.requirement;
        writeln!(f, "{id}  {level:11}  RFC {rfc} section {section:7}  {text}")?;
        for Place { file, line } in &self.code {
            writeln!(f, "       code  {}:{line}", file.display())?;
        }
        for Test { place, name } in &self.tests {
            let Place { file, line } = place;
            writeln!(f, "       test  {}:{line} {name}", file.display())?;
        }
        for Exception { place, reason } in &self.exceptions {
            let Place { file, line } = place;
            writeln!(f, "       not so at {}:{line}: {reason}", file.display())?;
        }
        if let Some(Deviation {
            reason, lifted_by, ..
        }) = &self.deviation
        {
            writeln!(f, "       not so: {reason}; lifted by: {lifted_by}")?;
        }
        match self.standing {
            Standing::Proved | Standing::Deviation => Ok(()),
            Standing::NoTest => writeln!(f, "       test  MISSING"),
            Standing::NoCode => writeln!(f, "       code  MISSING"),
            Standing::Missing => writeln!(f, "       code and test  MISSING"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(id: &str, level: Level) -> Requirement {
        Requirement {
            id: id.into(),
            rfc: 5533,
            section: "5.3".into(),
            level,
            text: "Do it.".into(),
        }
    }

    fn deviation(id: &str) -> Deviation {
        Deviation {
            id: id.into(),
            reason: "too soon".into(),
            lifted_by: "time".into(),
        }
    }

    fn annotation(id: &str, kind: Kind) -> Annotation {
        Annotation {
            file: "a.rs".into(),
            line: 7,
            ids: vec![id.into()],
            kind,
        }
    }

    fn test() -> Kind {
        Kind::Test {
            name: "it_holds".into(),
        }
    }

    fn exception() -> Kind {
        Kind::Exception {
            reason: "nobody does".into(),
        }
    }

    /// The report on one requirement that is cited so.
    fn report(level: Level, kinds: Vec<Kind>, deviations: Vec<Deviation>) -> Report {
        let annotations: Vec<_> = kinds.into_iter().map(|k| annotation("S-001", k)).collect();
        Report::new(
            vec![requirement("S-001", level)],
            deviations,
            &annotations,
            &[],
        )
    }

    #[test]
    fn a_must_needs_code_and_a_test_or_a_reason() {
        use Standing as S;
        let excuse = || vec![deviation("S-001")];
        for (kinds, deviations, standing, passes) in [
            (vec![], vec![], S::Missing, false),
            (vec![Kind::Code], vec![], S::NoTest, false),
            (vec![test()], vec![], S::NoCode, false),
            (vec![Kind::Code, test()], vec![], S::Proved, true),
            (vec![Kind::Code], excuse(), S::Deviation, true),
            (vec![], excuse(), S::Deviation, true),
            (vec![exception()], vec![], S::Deviation, true),
        ] {
            let report = report(Level::Must, kinds, deviations);
            assert_eq!(report.requirements[0].standing, standing);
            assert_eq!(report.passes(), passes, "{standing:?}");
            let lacking = !report.only_lacking().requirements.is_empty();
            assert_eq!(lacking, !passes, "{standing:?}");
        }
    }

    #[test]
    fn only_what_binds_fails() {
        for level in Level::ALL {
            let binds = level.to_string().to_uppercase() == level.to_string()
                && level != Level::May
                || level == Level::LowerMust;
            assert_eq!(report(level, vec![], vec![]).passes(), !binds, "{level}");
        }
    }

    #[test]
    fn a_reason_that_is_no_longer_needed_is_an_error() {
        let report = report(
            Level::Must,
            vec![Kind::Code, test()],
            vec![deviation("S-001")],
        );
        assert!(!report.passes());
        assert_eq!(report.errors.len(), 1);
    }

    #[test]
    fn unknown_and_doubled_items_are_errors() {
        let requirements = vec![
            requirement("S-001", Level::Text),
            requirement("S-001", Level::Text),
        ];
        let deviations = ["S-001", "S-001", "S-999"].map(deviation).to_vec();
        let annotations = [annotation("S-998", Kind::Code)];
        let report = Report::new(requirements, deviations, &annotations, &[]);
        assert_eq!(report.errors.len(), 4, "{:?}", report.errors);
        assert!(!report.passes());
    }

    #[test]
    fn the_print_names_line_test_and_gap() {
        let print = report(Level::Must, vec![Kind::Code], vec![]).to_string();
        assert!(print.contains("code  a.rs:7\n"), "{print}");
        assert!(print.contains("test  MISSING"), "{print}");
        assert!(
            print.contains("neither proved nor excused: S-001"),
            "{print}"
        );
        let print = report(Level::Must, vec![Kind::Code, test()], vec![]).to_string();
        assert!(print.contains("test  a.rs:7 it_holds\n"), "{print}");
    }
}
