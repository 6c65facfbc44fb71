//! The tables of changes: `tests/conformance/mutations.toml` and `transitions.toml`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A line, or a few that follow each other, spoilt, and who has to notice.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutation {
    /// The requirement that the line obeys, or the transition that it is.
    pub(crate) id: String,
    /// Where it stands, from the root of the project.
    pub(crate) file: String,
    /// The whole line, or several, without the space before each; they stand there once.
    pub(crate) line: String,
    /// What it becomes.
    pub(crate) becomes: String,
    /// Package, target (`lib`, or the name of an integration test) and test, with spaces between; or
    /// `campaign` and a number of random lives.
    pub(crate) test: String,
}

/// Who has to notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judge<'a> {
    /// A test.
    Test {
        package: &'a str,
        target: &'a str,
        name: &'a str,
    },
    /// So many random lives.
    Campaign { lives: &'a str },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutations: Vec<Mutation>,
}

/// Reads the table.
pub(crate) fn read(path: &Path) -> Result<Vec<Mutation>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let table: Table = toml::from_str(&text).map_err(|source| Error::Table {
        path: path.to_owned(),
        source,
    })?;
    Ok(table.mutations)
}

impl Mutation {
    /// `None` if `test` names nobody.
    pub(crate) fn judge(&self) -> Option<Judge<'_>> {
        let words: Vec<&str> = self.test.split(' ').collect();
        match words[..] {
            ["campaign", lives] => Some(Judge::Campaign { lives }),
            [package, target, name] => Some(Judge::Test {
                package,
                target,
                name,
            }),
            _ => None,
        }
    }

    /// `text` with the line changed; `None` if the line does not stand there exactly once.
    pub(crate) fn apply(&self, text: &str) -> Option<String> {
        let wanted: Vec<&str> = self.line.lines().collect();
        let lines: Vec<&str> = text.lines().collect();
        let is_it = |at: &usize| {
            let here = lines[*at..].iter().map(|line| line.trim());
            here.take(wanted.len()).eq(wanted.iter().copied())
        };
        let found: Vec<usize> = (0..lines.len()).filter(is_it).collect();
        let [at] = found[..] else {
            return None;
        };
        let (before, after) = (&lines[..at], &lines[at + wanted.len()..]);
        let changed = [before, &[self.becomes.as_str()], after].concat();
        Some(changed.iter().flat_map(|line| [line, "\n"]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_changed_if_it_stands_there_once() {
        let mutation = Mutation {
            id: "S-000".into(),
            file: "x.rs".into(),
            line: "if a {".into(),
            becomes: "if b {".into(),
            test: "x lib y".into(),
        };
        let changed = mutation.apply("fn f() {\n    if a {\n    }\n}\n");
        assert_eq!(changed.as_deref(), Some("fn f() {\nif b {\n    }\n}\n"));
        assert_eq!(mutation.apply("if a {\nif a {\n"), None);
        assert_eq!(mutation.apply("if a || b {\n"), None);
        let two = Mutation {
            line: "if a {\n}".into(),
            ..mutation
        };
        let changed = two.apply("if a {\n  x\n}\n  if a {\n  }\n");
        assert_eq!(changed.as_deref(), Some("if a {\n  x\n}\nif b {\n"));
    }

    /// Otherwise whoever moves a line learns only of the next run of all of them that the line is not tried out any more.
    #[test]
    fn the_tables_are_understood_and_name_lines_that_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for table in crate::TABLES {
            let mutations = read(&root.join(table)).unwrap();
            assert!(mutations.len() >= 30, "{table}: {}", mutations.len());
            for mutation in mutations {
                let text = fs::read_to_string(root.join(&mutation.file)).unwrap();
                let Mutation { id, file, line, .. } = &mutation;
                assert!(mutation.apply(&text).is_some(), "{id}, {file}: {line}");
                assert!(mutation.judge().is_some(), "{}", mutation.test);
            }
        }
    }
}
