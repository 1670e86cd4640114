//! Tables between marks in the pages.
use super::Kept;
use anyhow::Context as _;
use serde_json::Value;
use std::{fs, path::Path};

/// The lines around a table. What is between them is ours.
const BEGIN: &str = "<!-- figures: made by `cargo run --release -p benches --bin figures` -->";
const END: &str = "<!-- end of figures -->";

/// Puts the results into the pages: those for the front into `README.md`, all into `benches/README.md`.
///
/// # Errors
/// A page without its marks.
pub fn write_tables(repository: &Path, results: &[Kept<'_>]) -> anyhow::Result<()> {
    let front: Vec<&Kept<'_>> = results.iter().filter(|result| result.figure.front).collect();
    write(&repository.join("README.md"), &table(&front))?;
    write(&repository.join("benches/README.md"), &table(&results.iter().collect::<Vec<_>>()))
}

fn write(page: &Path, table: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = between(&text, table).with_context(|| format!("{} has no marks for a table", page.display()))?;
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}

/// Replaces what is between the marks.
fn between(text: &str, table: &str) -> Option<String> {
    let begin = text.find(BEGIN)? + BEGIN.len();
    let end = begin + text[begin..].find(END)?;
    Some(format!("{}\n\n{table}\n{}", &text[..begin], &text[end..]))
}

fn table(results: &[&Kept<'_>]) -> String {
    let mut text = String::from("| what | command | measured |\n|---|---|---|\n");
    for result in results {
        let mut measured = (result.figure.measured)(&result.kept["result"]).unwrap_or_else(|| "-".to_owned());
        if result.kept["failed"] == true {
            measured += " (**the bench failed**)";
        }
        let command = result.kept["command"].as_str().unwrap_or(result.figure.arguments);
        text += &format!("| {} | `{command}` | {measured} |\n", result.figure.what);
    }
    text + "\n" + &machines(results)
}

/// Where and when, in a line; several where the results are of several.
fn machines(results: &[&Kept<'_>]) -> String {
    let mut lines: Vec<String> = results.iter().filter_map(|result| machine(&result.kept)).collect();
    lines.sort();
    lines.dedup();
    lines.join("\n")
}

fn machine(kept: &Value) -> Option<String> {
    let machine = &kept["result"]["machine"];
    Some(format!(
        "Measured on {}: {} cores ({}), {}.\n",
        kept["day"].as_str()?,
        machine["cores"].as_u64()?,
        machine["cpu"].as_str().unwrap_or("unknown"),
        machine["fileSystem"].as_str().unwrap_or("unknown"),
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::Figure, *};
    use serde_json::json;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = between(&page, "new\n").expect("it has marks");
        assert_eq!(once, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(between(&once, "new\n"), Some(once.clone()), "again changes nothing");
        assert_eq!(between("no marks", "new"), None);
    }

    #[test]
    fn a_row_has_its_command_and_what_was_measured() {
        let figure = Figure {
            name: "idle",
            what: "idling",
            arguments: "bench idle",
            front: true,
            measured: |result| Some(format!("{} %", result["percent"])),
        };
        let machine = json!({ "cores": 2, "cpu": "a processor", "fileSystem": "ext4" });
        let kept = json!({ "command": "corduroy bench idle", "day": "2026-01-02", "result": { "percent": 5, "machine": machine } });
        let table = table(&[&Kept { figure: &figure, kept: kept.clone() }, &Kept { figure: &figure, kept }]);
        assert!(table.contains("| idling | `corduroy bench idle` | 5 % |\n"), "{table}");
        assert_eq!(table.matches("Measured on 2026-01-02: 2 cores (a processor), ext4.").count(), 1, "{table}");
    }
}
