//! Every requirement of the reference systems is in `docs/coverage.md` once, with a test that exists, or is named as open.
use std::{collections::BTreeSet, fs, path::Path};

/// How many requirements each of the reference systems has, from 1.
const REQUIREMENTS: [(&str, u32); 5] = [("S0", 33), ("S1", 18), ("S2", 26), ("S3", 18), ("S4", 17)];

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

#[test]
fn every_requirement_is_shown_by_tests_that_exist_or_is_open() {
    let page = fs::read_to_string(root().join("docs/coverage.md")).expect("the page is there");
    let functions = functions();
    let (mut wrong, mut seen) = (Vec::new(), Vec::new());
    for line in page.lines().filter(|line| line.starts_with("| S")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        // The table of the systems has two columns.
        let [id, requirement, shown] = cells[..] else { continue };
        seen.push(id.to_owned());
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        let is_open = shown.split_once("*open*: ").is_some_and(|(_, what)| !what.trim().is_empty());
        if requirement.is_empty() || (named.is_empty() && !is_open) {
            wrong.push(format!("{id} is neither shown nor open"));
        }
        wrong.extend(
            named.iter().filter(|name| !functions.contains(**name)).map(|name| format!("{id}: no test {name}")),
        );
    }
    let all: Vec<String> = REQUIREMENTS
        .iter()
        .flat_map(|(system, count)| (1..=*count).map(move |number| format!("{system}-{number}")))
        .collect();
    assert_eq!(seen, all, "each number once, in order");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
