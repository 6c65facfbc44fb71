//! The README's commands are commands: each exists, and takes the options that it is shown with.

use std::process::Command;

const README: &str = include_str!("../../README.md");

/// The words of each indented or quoted command that begins with `program`, as the README shows it.
fn shown(program: &str) -> Vec<Vec<String>> {
    let quoted = README.split('`').skip(1).step_by(2);
    let indented = README.lines().filter_map(|line| line.strip_prefix("    "));
    quoted
        .chain(indented)
        .filter_map(|text| {
            let text = text
                .trim()
                .strip_prefix("target/release/")
                .unwrap_or(text.trim());
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            (words.first()? == program).then_some(words)
        })
        .collect()
}

#[test]
fn every_shimq_command_of_the_readme_exists_with_its_options() {
    let commands = shown("shimq");
    assert!(commands.len() >= 8, "{commands:?}");
    for words in commands {
        let Some(command) = words.get(1) else {
            continue;
        };
        let command = command.trim_end_matches(',');
        let help = Command::new(env!("CARGO_BIN_EXE_shimq"))
            .args([command, "--help"])
            .output();
        let help = help.expect("shimq runs");
        assert!(help.status.success(), "shimq {command}: no such command");
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let options = words
            .iter()
            .map(|word| word.trim_matches(|c| "()`;,".contains(c)));
        for option in options.filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "shimq {command} takes no {option}");
        }
    }
}

#[test]
fn every_make_target_of_the_readme_exists() {
    let targets = shown("make");
    assert!(targets.len() >= 2, "{targets:?}");
    for words in targets {
        let target = words
            .get(1)
            .map_or("", |target| target.trim_end_matches(','));
        let dry_run = Command::new("make")
            .args(["--dry-run", target])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .expect("make runs");
        assert!(dry_run.status.success(), "make {target}: no such target");
    }
}

#[test]
fn every_file_that_the_readme_links_is_there() {
    let links = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let mut linked = 0;
    for link in links.filter(|link| !link.contains("://")) {
        linked += 1;
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(link);
        assert!(path.exists(), "{link} is not there");
    }
    assert!(linked > 0);
}
