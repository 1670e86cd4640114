//! Makes the figures of the documents anew.
use anyhow::{Context as _, ensure};
use clap::Parser;
use corduroy_benches::{figures, plot};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Makes all figures of README.md and benches/README.md anew: builds `corduroy`, measures, draws, writes the tables.
///
/// About half an hour, in which nothing else should be at work on the machine, and 12 GB of disk. Results go to
/// benches/results.
#[derive(Debug, Parser)]
struct Args {
    /// Only these; the tables keep what is in benches/results for the others. Their names: the files there.
    names: Vec<String>,
    /// Measure nothing; draw and write what is there.
    #[arg(long)]
    only_write: bool,
    /// Where the nodes' data goes while it is measured: a disk, and no tmpfs.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the package is in the repository")?;
    let results = repository.join("benches/results");
    fs::create_dir_all(&results)?;
    let unknown = args.names.iter().find(|name| !figures::FIGURES.iter().any(|figure| figure.name == **name));
    ensure!(unknown.is_none(), "there is no figure of the name {unknown:?}");
    let mut failed = Vec::new();
    if !args.only_write {
        let corduroy = build(repository)?;
        let wanted = |name: &str| args.names.is_empty() || args.names.iter().any(|wanted| wanted == name);
        for figure in figures::FIGURES.iter().filter(|figure| wanted(figure.name)) {
            eprintln!("== {}: corduroy {}", figure.name, figure.arguments);
            if let Err(error) = figure.measure(&corduroy, &args.data, &results) {
                eprintln!("{error:#}");
                failed.push(figure.name);
            }
        }
    }
    let mut kept = Vec::new();
    for figure in figures::FIGURES {
        kept.extend(figure.kept(&results)?);
    }
    for result in kept.iter().filter(|result| result.figure.name == "partition") {
        let run: plot::Run = serde_json::from_value(result.kept["result"].clone())?;
        plot::write(&run, &results, "partition")?;
    }
    figures::write_tables(repository, &kept)?;
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Builds the binary that is measured, and says where it is: beside this one.
fn build(repository: &Path) -> anyhow::Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "-p", "corduroy-node"]).current_dir(repository);
    ensure!(command.status()?.success(), "corduroy cannot be built");
    let corduroy = env::current_exe()?.with_file_name("corduroy");
    ensure!(corduroy.exists(), "{} is not there: run this with `cargo run --release`", corduroy.display());
    Ok(corduroy)
}
