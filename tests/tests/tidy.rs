//! The repository's words: what they cite is explained, what they link to exists, what they name is there.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Where numbers are explained: as the first cell of a table row.
const EXPLAINED_IN: [&str; 2] = ["docs/architecture.md", "docs/faults.md"];
/// What begins a number: rules, decisions, faults, promises.
const SERIES: [char; 4] = ['R', 'D', 'F', 'P'];
/// Left behind by someone who meant to come back. Split, so that this file does not find itself.
const FORBIDDEN: [&str; 4] =
    [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME"), concat!("XX", "X:")];

/// The text files of the repository, by path from its root.
struct Repository {
    files: BTreeMap<String, String>,
    root: PathBuf,
}

impl Repository {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the repository");
        let mut repository = Repository { files: BTreeMap::new(), root: root.into() };
        repository.visit(root);
        assert!(repository.files.len() > 50, "only {} files found under {}", repository.files.len(), root.display());
        repository
    }

    fn visit(&mut self, dir: &Path) {
        let mut entries: Vec<PathBuf> = fs::read_dir(dir)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .expect("the repository can be read");
        entries.sort();
        // Build output, wherever it was put.
        if entries.iter().any(|path| path.ends_with("CACHEDIR.TAG")) {
            return;
        }
        for path in entries {
            let name = path.file_name().expect("entries of a folder have names").to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                self.visit(&path);
            } else if path.is_file()
                && ["rs", "md", "proto", "toml"].iter().any(|kind| path.extension().is_some_and(|e| e == *kind))
            {
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let path =
                    path.strip_prefix(&self.root).expect("found below the root").to_string_lossy().replace('\\', "/");
                self.files.insert(path, text);
            }
        }
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = (&str, &str)> {
        let suffix = format!(".{kind}");
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(&suffix))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// Lines of prose: what is outside of fences in Markdown, comments elsewhere.
fn prose<'a>(path: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = if path.ends_with(".md") {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            (!fenced && !fence).then_some(line)
        } else if path.ends_with(".toml") {
            line.split_once('#').map(|(_, comment)| comment)
        } else {
            line.split_once("//").map(|(_, comment)| comment)
        };
        lines.extend(words.map(|words| (number + 1, words)));
    }
    lines
}

/// The numbers in a line: a letter of the series, one or two digits or three, and no further letter or digit on either side.
fn numbers(line: &str) -> Vec<String> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let number = |word: &&str| {
        let Some(digits) = word.strip_prefix(SERIES) else { return false };
        (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    words.filter(number).map(str::to_owned).collect()
}

#[test]
fn every_cited_number_is_explained() {
    let repository = Repository::read();
    let mut explained = BTreeSet::new();
    for page in EXPLAINED_IN {
        for line in repository.files[page].lines() {
            let Some(cell) = line.strip_prefix("| ").and_then(|row| row.split(" |").next()) else { continue };
            if numbers(cell).first().is_some_and(|number| number == cell) {
                assert!(explained.insert(cell.to_owned()), "{page} explains {cell} a second time");
            }
        }
    }
    assert!(explained.len() > 50, "only {explained:?} are explained");
    let mut unknown = Vec::new();
    for (path, text) in &repository.files {
        for (line, words) in prose(path, text) {
            let missing = numbers(words).into_iter().filter(|number| !explained.contains(number));
            unknown.extend(missing.map(|number| format!("{path}:{line}: {number}")));
        }
    }
    assert!(unknown.is_empty(), "cited, and explained in neither of {EXPLAINED_IN:?}:\n{}", unknown.join("\n"));
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let repository = Repository::read();
    let records =
        repository.of_kind("md").filter_map(|(path, text)| Some((path.strip_prefix("docs/decisions/")?, text)));
    let mut count = 0;
    for (expected, (name, text)) in (1..).zip(records) {
        assert!(name.starts_with(&format!("{expected:04}-")), "docs/decisions/{name} should be number {expected}");
        assert!(
            text.starts_with(&format!("# {expected}. ")),
            "docs/decisions/{name} should begin with \"# {expected}. \""
        );
        assert!(text.contains("\nStatus: "), "docs/decisions/{name} has no line \"Status: ...\"");
        count = expected;
    }
    assert!(count > 0, "there are no decisions");
}

/// The targets of `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split(')').next())
}

/// The anchor a heading gets on the pages of common hosts.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let repository = Repository::read();
    let mut broken = Vec::new();
    for (path, text) in repository.of_kind("md") {
        for (line, words) in prose(path, text) {
            for target in links(words).filter(|target| !target.starts_with("http") && !target.starts_with("mailto:")) {
                let (file, heading) =
                    target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
                let page = if file.is_empty() {
                    repository.root.join(path)
                } else {
                    repository.root.join(path).parent().expect("a file is in a folder").join(file)
                };
                let has = |heading| {
                    let text = fs::read_to_string(&page).unwrap_or_default();
                    prose(".md", &text).iter().any(|(_, line)| line.starts_with('#') && anchor(line) == heading)
                };
                if !page.exists() || heading.is_some_and(|heading| !has(heading)) {
                    broken.push(format!("{path}:{line}: {target}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// What stands in backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn files_and_tests_that_documents_name_exist() {
    let repository = Repository::read();
    let top = [".ci/", "benches/", "clients/", "docs/", "log/", "node/", "proto/", "tests/"];
    let code: Vec<&str> = repository.of_kind("rs").map(|(_, text)| text).collect();
    let mut missing = Vec::new();
    for (path, text) in repository.of_kind("md") {
        for (line, words) in prose(path, text) {
            for name in quoted(words) {
                let file = top.iter().any(|top| name.starts_with(top))
                    && !name.contains(['*', ' ', '{', '<'])
                    && !name.contains("NNNN");
                // Names this long are sentences: tests, or settings that the code sets.
                let sentence = name.matches('_').count() >= 3
                    && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                if file && !repository.root.join(name).exists()
                    || sentence && !code.iter().any(|text| text.contains(name))
                {
                    missing.push(format!("{path}:{line}: {name}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "named, and not there:\n{}", missing.join("\n"));
}

#[test]
fn nothing_is_left_half_done() {
    let repository = Repository::read();
    let mut found = Vec::new();
    for (path, text) in repository.of_kind("rs") {
        for (number, line) in text.lines().enumerate() {
            found.extend(
                FORBIDDEN
                    .iter()
                    .filter(|word| line.contains(*word))
                    .map(|word| format!("{path}:{}: {word}", number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "left behind:\n{}", found.join("\n"));
}

#[test]
fn the_protocol_page_has_every_reason_to_refuse_a_greeting_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let proto = text("proto/corduroy/v1/peer.proto");
    let names = proto.split_whitespace().filter_map(|word| word.strip_prefix("REFUSAL_"));
    let mut expected: Vec<&str> = names.filter(|name| *name != "UNSPECIFIED").collect();

    let page = text("docs/protocol.md");
    let table = page.lines().skip_while(|line| !line.starts_with("| refusal |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    let mut found: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();

    expected.sort_unstable();
    found.sort_unstable();
    assert!(expected.len() > 3, "the protocol file was not read as it should be: {expected:?}");
    assert_eq!(found, expected);
}
