//! Draws what `corduroy bench partition --format json` has measured.
use anyhow::Context as _;
use clap::Parser;
use corduroy_benches::plot;
use serde_json::Value;
use std::{fs, path::PathBuf};

/// Draws runs of `corduroy bench partition --format json`: for each FILE.json an SVG and a PNG for light pages, and the
/// same for dark ones (FILE-dark).
#[derive(Debug, Parser)]
struct Args {
    /// What the bench has printed.
    #[arg(value_name = "FILE.json", required = true)]
    files: Vec<PathBuf>,
    /// Where the pictures go. Default: beside the file.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    for file in &args.files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut value: Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
        // As it was printed, or as `figures` keeps it.
        let run = value.get_mut("result").map(Value::take).unwrap_or(value);
        let run: plot::Run = serde_json::from_value(run)
            .with_context(|| format!("{} is not what `corduroy bench partition` prints", file.display()))?;
        let beside = args.to.clone().unwrap_or_else(|| file.parent().map(PathBuf::from).unwrap_or_default());
        let name = file.file_stem().context("the file has no name")?.to_string_lossy().into_owned();
        for path in plot::write(&run, &beside, &name)? {
            println!("{}", path.display());
        }
    }
    Ok(())
}
