//! Every requirement of the reference systems is in `docs/coverage.md` once, and every scenario in `docs/scenarios.md`, with a test that
//! exists, or named as open.
use std::{collections::BTreeSet, fs, path::Path};

/// How many requirements each of the reference systems has, from 1.
const REQUIREMENTS: [(&str, u32); 5] = [("S0", 33), ("S1", 18), ("S2", 26), ("S3", 18), ("S4", 17)];

/// How many scenarios there are, from 1.
const SCENARIOS: u32 = 55;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the repository")
}

/// The names of all functions of the repository's code.
fn functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["clients", "examples", "log", "node", "proto", "tests"] {
        visit(&root().join(folder), &mut found);
    }
    assert!(found.len() > 1000, "only {} functions found", found.len());
    found
}

fn visit(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("a listed file").path();
        if path.is_dir() && !path.join("CACHEDIR.TAG").exists() {
            visit(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("code is text");
            let names = text.lines().filter_map(|line| line.split_once("fn ")?.1.split(['(', '<']).next());
            found.extend(names.map(str::to_owned));
        }
    }
}

/// Holds a page of numbers against these: each once and in order, shown by tests that exist, or open.
fn check(page: &str, begins: &str, all: &[String]) {
    let text = fs::read_to_string(root().join(page)).expect("the page is there");
    let functions = functions();
    let (mut wrong, mut seen) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| line.starts_with(begins)) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        // Other tables have other columns.
        let [id, what, shown] = cells[..] else { continue };
        seen.push(id.to_owned());
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        let is_open = shown.split_once("*open*: ").is_some_and(|(_, what)| !what.trim().is_empty());
        if what.is_empty() || (named.is_empty() && !is_open) {
            wrong.push(format!("{id} is neither shown nor open"));
        }
        wrong.extend(
            named.iter().filter(|name| !functions.contains(**name)).map(|name| format!("{id}: no test {name}")),
        );
    }
    assert_eq!(seen, all, "{page}: each number once, in order");
    assert!(wrong.is_empty(), "{page}:\n{}", wrong.join("\n"));
}

#[test]
fn every_requirement_is_shown_by_tests_that_exist_or_is_open() {
    let of =
        |(system, count): &(&str, u32)| (1..=*count).map(|number| format!("{system}-{number}")).collect::<Vec<_>>();
    let all: Vec<String> = REQUIREMENTS.iter().flat_map(of).collect();
    check("docs/coverage.md", "| S", &all);
}

#[test]
fn every_scenario_is_shown_by_tests_that_exist_or_is_open() {
    let all: Vec<String> = (1..=SCENARIOS).map(|number| format!("A{number}")).collect();
    check("docs/scenarios.md", "| A", &all);
}
