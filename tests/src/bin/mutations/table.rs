//! `tests/conformance/mutations.toml`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A line that is spoilt, and who has to notice.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutation {
    /// The requirement that the line obeys.
    pub(crate) id: String,
    /// Where it stands, from the root of the project.
    pub(crate) file: String,
    /// The whole line, without the space before it; it stands there once.
    pub(crate) line: String,
    /// What it becomes.
    pub(crate) becomes: String,
    /// Package, target (`lib`, or the name of an integration test) and test, with spaces between.
    pub(crate) test: String,
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
    /// `text` with the line changed; `None` if the line does not stand there exactly once.
    pub(crate) fn apply(&self, text: &str) -> Option<String> {
        let is_it = |line: &str| line.trim() == self.line;
        (text.lines().filter(|line| is_it(line)).count() == 1).then(|| {
            let lines = text.lines().map(|line| {
                if is_it(line) {
                    self.becomes.as_str()
                } else {
                    line
                }
            });
            lines.flat_map(|line| [line, "\n"]).collect()
        })
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
    }

    /// Whether each line is still there is for the command to say: others move lines.
    #[test]
    fn the_table_is_understood_and_names_files_that_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mutations = read(&root.join("tests/conformance/mutations.toml")).unwrap();
        assert!(mutations.len() >= 30, "{}", mutations.len());
        for mutation in mutations {
            assert!(root.join(&mutation.file).is_file(), "{}", mutation.file);
            assert_eq!(mutation.test.split(' ').count(), 3, "{}", mutation.test);
        }
    }
}
