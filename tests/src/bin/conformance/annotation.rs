//! Annotations: comments that tie a line of code or a test to a sentence of an RFC.
//!
//! In Rust an annotation is a run of comment lines that begins with an address:
//!
//! ```text
//! //= https://www.rfc-editor.org/rfc/rfc5533#section-5.3
//! //= id=S-007,S-010
//! //= type=test
//! //# Next Header: 8-bit selector.  Normally set to NO_NXT_HDR (59).
//! ```
//!
//! - `id`: the items of `requirements.toml` that the quoted sentence stands for; may be absent.
//! - `type`: absent where code obeys, `test` where a test proves, `exception` where code departs on
//!   purpose; the last of them wants a `reason`.
//!
//! In nftables files comments begin with `#`: `#=` and `##`. An annotation belongs to the first line
//! after it that is neither comment nor attribute.

use std::path::{Path, PathBuf};

/// What an annotation says about the line it belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The line obeys.
    Code,
    /// The test proves.
    Test { name: String },
    /// The line departs on purpose.
    Exception { reason: String },
}

/// An annotation and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Annotation {
    pub(crate) file: PathBuf,
    /// The line that the annotation belongs to; the first of a file is 1.
    pub(crate) line: usize,
    pub(crate) ids: Vec<String>,
    pub(crate) kind: Kind,
}

/// An annotation that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}:{line}: {what}", file.display())]
pub(crate) struct Fault {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// Finds the annotations of `text`, the contents of `file`.
pub(crate) fn parse(file: &Path, text: &str) -> (Vec<Annotation>, Vec<Fault>) {
    let (key, quote) = match file.extension() {
        Some(extension) if extension == "nft" => ("#=", "##"),
        Some(_) | None => ("//=", "//#"),
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut annotations = Vec::new();
    let mut faults = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let begin = at;
        let mut block = Block::default();
        while let Some(entry) = lines.get(at).and_then(|line| after(line, key)) {
            // The next annotation may follow without a line between.
            if block.address.is_some() && entry.starts_with("https:") {
                break;
            }
            block.take(entry);
            at += 1;
        }
        while lines.get(at).and_then(|line| after(line, quote)).is_some() {
            block.quoted = true;
            at += 1;
        }
        if at == begin {
            at += 1;
            continue;
        }
        match block.finish(&lines, at) {
            Ok((line, ids, kind)) => annotations.push(Annotation {
                file: file.to_owned(),
                line,
                ids,
                kind,
            }),
            Err(what) => faults.push(Fault {
                file: file.to_owned(),
                line: begin + 1,
                what,
            }),
        }
    }
    (annotations, faults)
}

/// What follows `mark` where `line` begins with it.
fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    let rest = line.trim_start().strip_prefix(mark)?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim())
}

/// An annotation while it is read.
#[derive(Default)]
struct Block<'a> {
    address: Option<&'a str>,
    ids: Vec<String>,
    kind: Option<&'a str>,
    reason: Option<String>,
    quoted: bool,
    stray: Option<&'a str>,
}

impl<'a> Block<'a> {
    fn take(&mut self, entry: &'a str) {
        match entry.split_once('=') {
            _ if entry.starts_with("https:") => self.address = Some(entry),
            Some(("id", ids)) => self.ids = ids.split(',').map(|id| id.trim().into()).collect(),
            Some(("type", kind)) => self.kind = Some(kind),
            Some(("reason", reason)) => self.reason = Some(reason.to_owned()),
            // A reason may need more than one line.
            _ => match &mut self.reason {
                Some(reason) => {
                    reason.push(' ');
                    reason.push_str(entry);
                }
                None => self.stray = Some(entry),
            },
        }
    }

    /// The line, items and kind of the annotation that ends before `lines[end]`.
    fn finish(self, lines: &[&str], end: usize) -> Result<(usize, Vec<String>, Kind), String> {
        if let Some(stray) = self.stray {
            return Err(format!("neither id, type nor reason: {stray}"));
        }
        let address = self.address.ok_or("no address of an RFC's section")?;
        if !is_section(address) {
            return Err(format!("not the address of an RFC's section: {address}"));
        }
        if !self.quoted {
            return Err("nothing is quoted".into());
        }
        let target = target(lines, end).ok_or("no line follows")?;
        let test = test_around(lines, target);
        let kind = match (self.kind, self.reason, test) {
            (None, None, None) => Kind::Code,
            (None, None, Some(name)) => {
                return Err(format!("in the test {name}, but without type=test"));
            }
            (Some("test"), None, Some(name)) => Kind::Test { name },
            (Some("test"), None, None) => return Err("type=test, but this is no test".into()),
            (Some("exception"), Some(reason), _) => Kind::Exception { reason },
            (Some("exception"), None, _) => return Err("an exception without reason".into()),
            (None | Some("test"), Some(_), _) => return Err("a reason, but no exception".into()),
            (Some(kind), _, _) => return Err(format!("no such type: {kind}")),
        };
        Ok((target + 1, self.ids, kind))
    }
}

/// Whether `address` is of the form `https://www.rfc-editor.org/rfc/rfc5533#section-5.3`.
fn is_section(address: &str) -> bool {
    let parts = address
        .strip_prefix("https://www.rfc-editor.org/rfc/rfc")
        .and_then(|rest| rest.split_once("#section-"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    parts.is_some_and(|(rfc, section)| is_number(rfc) && section.split('.').all(is_number))
}

/// The index of the first line from `at` on that is neither empty, comment nor attribute.
fn target(lines: &[&str], at: usize) -> Option<usize> {
    (at..lines.len()).find(|&index| !lines[index].trim().is_empty() && !is_aside(lines[index]))
}

/// Whether `line` is a comment or an attribute.
fn is_aside(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("//") || line.starts_with('#')
}

/// The name of the test function that line `at` begins or is in.
fn test_around(lines: &[&str], at: usize) -> Option<String> {
    let outside = indent(lines[at]);
    let (function, name) = (0..=at).rev().find_map(|index| {
        let name = function_name(lines[index])?;
        (index == at || indent(lines[index]) < outside).then_some((index, name))
    })?;
    lines[..function]
        .iter()
        .rev()
        .take_while(|line| is_aside(line))
        .any(|line| {
            let line = line.trim_start();
            line.starts_with("#[test]") || line.starts_with("#[tokio::test")
        })
        .then(|| name.to_owned())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The name of the function whose signature begins on `line`.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start().split(' ');
    words
        .find(|word| {
            !matches!(
                *word,
                "pub" | "pub(crate)" | "pub(super)" | "const" | "async"
            )
        })
        .filter(|&word| word == "fn")?;
    words.next()?.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "//= https://www.rfc-editor.org/rfc/rfc5533#section-5.3";

    fn parse_rust(lines: &[&str]) -> (Vec<Annotation>, Vec<Fault>) {
        parse(Path::new("a.rs"), &lines.join("\n"))
    }

    fn the_fault(lines: &[&str]) -> String {
        let (annotations, faults) = parse_rust(lines);
        assert_eq!(annotations, []);
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].what.clone()
    }

    #[test]
    fn an_annotation_belongs_to_the_line_after_comments_and_attributes() {
        let (annotations, faults) = parse_rust(&[
            "/// Says what it is.",
            ADDRESS,
            "//= id=S-007, S-010",
            "//# Next Header",
            "/// More.",
            "#[must_use]",
            "fn next_header() {}",
        ]);
        assert_eq!(faults, []);
        let expected = Annotation {
            file: "a.rs".into(),
            line: 7,
            ids: vec!["S-007".into(), "S-010".into()],
            kind: Kind::Code,
        };
        assert_eq!(annotations, [expected]);
    }

    #[test]
    fn a_test_is_known_from_above_and_from_within() {
        let above = [
            ADDRESS,
            "//= type=test",
            "//# Quote",
            "#[test]",
            "fn it_holds() {",
            "}",
        ];
        let within = [
            "#[test]",
            "fn it_holds() {",
            "    call();",
            "    //= https://www.rfc-editor.org/rfc/rfc5533#section-1",
            "    //= type=test",
            "    //# Quote",
            "    check();",
            "}",
        ];
        for lines in [&above[..], &within[..]] {
            let (annotations, faults) = parse_rust(lines);
            assert_eq!(faults, []);
            let kind = Kind::Test {
                name: "it_holds".into(),
            };
            assert_eq!(annotations[0].kind, kind);
        }
    }

    #[test]
    fn annotations_may_follow_each_other() {
        let (annotations, faults) = parse_rust(&[
            ADDRESS,
            "//= id=S-007",
            "//# One",
            ADDRESS,
            "//= id=S-010",
            "//# Two",
            "code();",
        ]);
        assert_eq!(faults, []);
        let found: Vec<_> = annotations
            .iter()
            .map(|a| (a.line, &a.ids[0][..]))
            .collect();
        assert_eq!(found, [(7, "S-007"), (7, "S-010")]);
    }

    #[test]
    fn an_exception_carries_its_reason_over_lines() {
        let (annotations, _) = parse_rust(&[
            ADDRESS,
            "//= type=exception",
            "//= reason=nobody",
            "//= does it",
            "//# Quote",
            "code();",
        ]);
        let kind = Kind::Exception {
            reason: "nobody does it".into(),
        };
        assert_eq!(annotations[0].kind, kind);
    }

    #[test]
    fn rules_are_annotated_with_their_own_comments() {
        let text = "#= https://www.rfc-editor.org/rfc/rfc5533#section-8\n\
                    #= id=S-131\n## Quote\naccept\n";
        let (annotations, faults) = parse(Path::new("a.nft"), text);
        assert_eq!((annotations.len(), faults), (1, vec![]));
        assert_eq!(
            (annotations[0].line, &annotations[0].ids[0][..]),
            (4, "S-131")
        );
    }

    #[test]
    fn what_cannot_be_an_annotation_is_a_fault() {
        let test = ["#[test]", "fn it_holds() {}"];
        for (lines, what) in [
            (vec![ADDRESS, "code();"], "nothing is quoted"),
            (vec!["//# Quote", "code();"], "no address"),
            (vec!["//= id=S-001", "//# Quote", "code();"], "no address"),
            (
                vec!["//= https://example.org", "//# Quote", "code();"],
                "not the address",
            ),
            (vec![ADDRESS, "//# Quote"], "no line follows"),
            (
                vec![ADDRESS, "//= ids=S-001", "//# Quote", "code();"],
                "neither id",
            ),
            (
                vec![ADDRESS, "//= type=proof", "//# Quote", "code();"],
                "no such type",
            ),
            (
                vec![ADDRESS, "//= type=test", "//# Quote", "code();"],
                "this is no test",
            ),
            (
                vec![ADDRESS, "//= type=exception", "//# Quote", "code();"],
                "without reason",
            ),
            (
                vec![ADDRESS, "//= reason=none", "//# Quote", "code();"],
                "no exception",
            ),
            (
                [&[ADDRESS, "//# Quote"][..], &test].concat(),
                "without type=test",
            ),
        ] {
            let fault = the_fault(&lines);
            assert!(fault.contains(what), "{lines:?}: {fault}");
        }
    }
}
