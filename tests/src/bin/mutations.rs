//! Plants known bugs, one after the other, and shows that each is caught.
use clap::Parser;
use corduroy_tests::mutations::{Catch, Catcher, Patch, Row, SWITCHES, Simulator, Tree, table, write_between_markers};
use std::{fs, io, path::PathBuf, process::ExitCode};

/// Plants known bugs, one after the other, and shows that each is caught.
///
/// Every patch in tests/mutations is applied to a scratch copy under target/mutations, built, and handed to the simulator it
/// names, or the test; every switch of the simulated world is turned on in turn. Prints a Markdown table. Fails when a bug is not caught
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
        let catcher = Catcher::Simulator(switch.simulator);
        tree.build(&catcher)?;
        let catches = run_seeds(&tree, options, switch.simulator, Some(switch.id))?;
        let (id, title) = (switch.id.into(), switch.title.into());
        rows.push(told(Row { id, title, planted_as: "switch", catcher, catches }));
    }
    for patch in &patches {
        let catches = plant(&tree, options, patch);
        tree.restore()?;
        let (id, title, catcher) = (patch.id.clone(), patch.title.clone(), patch.catcher.clone());
        rows.push(told(Row { id, title, planted_as: "patch", catcher, catches: catches? }));
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

/// Says at once what became of a bug: the others take their time.
fn told(row: Row) -> Row {
    let verdict = row.median_seeds().map_or("NOT CAUGHT".into(), |seeds| format!("caught after {seeds} seeds"));
    eprintln!("{}: {verdict}: {}", row.id, row.title);
    row
}

/// Plants a bug, and has it caught.
fn plant(tree: &Tree, options: &Options, patch: &Patch) -> io::Result<Vec<Option<Catch>>> {
    if let Catcher::Test(test) = &patch.catcher {
        tree.build(&patch.catcher)?;
        if let Some(Catch { violation, .. }) = tree.try_tests(test)? {
            return Err(io::Error::other(format!("{}: before anything is planted, {violation}", patch.id)));
        }
    }
    tree.plant(patch)?;
    tree.build(&patch.catcher)?;
    match &patch.catcher {
        Catcher::Simulator(simulator) => run_seeds(tree, options, *simulator, None),
        Catcher::Test(test) => Ok(vec![tree.try_tests(test)?]),
    }
}

/// Runs a simulator from every start.
fn run_seeds(
    tree: &Tree,
    options: &Options,
    simulator: Simulator,
    bug: Option<&str>,
) -> io::Result<Vec<Option<Catch>>> {
    let start = |start| tree.catch(simulator, bug, 1 + start * 1_000_000, options.seeds);
    (0..options.starts).map(start).collect()
}
