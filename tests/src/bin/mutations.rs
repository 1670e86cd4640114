//! Plants known bugs, one after the other, and shows that the simulators catch each.
use clap::Parser;
use corduroy_tests::mutations::{Catcher, Patch, Row, SWITCHES, Tree, table, write_between_markers};
use std::{fs, io, path::PathBuf, process::ExitCode, time::Instant};

/// Plants known bugs, one after the other, and shows that the simulators catch each.
///
/// Every patch in tests/mutations is applied to a scratch copy under target/mutations, built, and handed to the simulator it
/// names; every switch of the simulated world is turned on in turn. Prints a Markdown table. Fails when a bug is not caught
/// from every start, and when a patch no longer applies.
#[derive(Parser)]
struct Options {
    /// Only these bugs (M06 M11 ...); all of them when none is named.
    bugs: Vec<String>,
    /// Only look whether every patch still applies; builds and runs nothing.
    #[arg(long)]
    check: bool,
    /// How often to look for each bug, from different first seeds. The table shows the median.
    #[arg(long, default_value_t = 5)]
    starts: u64,
    /// Seeds to run from each start before a bug counts as not caught.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Page whose table (between its two markers) is replaced.
    #[arg(long, value_name = "PAGE")]
    write: Option<PathBuf>,
    /// Root of the tree.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
    root: PathBuf,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was caught.
fn run(options: &Options) -> io::Result<bool> {
    let root = fs::canonicalize(&options.root)?;
    let wanted = |id: &str| options.bugs.is_empty() || options.bugs.iter().any(|bug| bug == id);
    let patches: Vec<Patch> =
        Patch::all(&root.join("tests/mutations"))?.into_iter().filter(|patch| wanted(&patch.id)).collect();
    let switches: Vec<_> = SWITCHES.into_iter().filter(|switch| wanted(switch.id)).collect();
    if patches.is_empty() && switches.is_empty() {
        return Err(io::Error::other(format!("there is no planted bug {}", options.bugs.join(" "))));
    }
    let tree = Tree::copy_of(&root)?;
    if options.check {
        return check(&tree, &patches);
    }
    let mut rows = Vec::new();
    for switch in &switches {
        tree.build(switch.catcher)?;
        rows.push(row(&tree, options, switch.id, switch.title, switch.catcher, Some(switch.id))?);
    }
    for patch in &patches {
        tree.plant(patch)?;
        let caught =
            tree.build(patch.catcher).and_then(|()| row(&tree, options, &patch.id, &patch.title, patch.catcher, None));
        tree.restore()?;
        rows.push(caught?);
    }
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    let text = table(&rows);
    println!("\n{text}");
    if let Some(page) = &options.write {
        let new = write_between_markers(&fs::read_to_string(page)?, &text).map_err(io::Error::other)?;
        fs::write(page, new)?;
    }
    Ok(rows.iter().all(Row::is_caught))
}

fn check(tree: &Tree, patches: &[Patch]) -> io::Result<bool> {
    for patch in patches {
        let planted = tree.plant(patch);
        tree.restore()?;
        planted?;
        println!("{} applies: {}", patch.id, patch.title);
    }
    Ok(true)
}

fn row(tree: &Tree, options: &Options, id: &str, title: &str, catcher: Catcher, bug: Option<&str>) -> io::Result<Row> {
    let began = Instant::now();
    let catches = (0..options.starts)
        .map(|start| tree.catch(catcher, bug, 1 + start * 1_000_000, options.seeds))
        .collect::<io::Result<_>>()?;
    let planted_as = if bug.is_some() { "switch" } else { "patch" };
    let row = Row { id: id.into(), title: title.into(), planted_as, catcher, catches };
    let verdict = row.median_seeds().map_or("NOT CAUGHT".into(), |seeds| format!("caught after {seeds} seeds"));
    eprintln!("{id}: {verdict} ({:.0} s): {title}", began.elapsed().as_secs_f64());
    Ok(row)
}
