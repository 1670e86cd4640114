//! All figures of the documents, and the commands that make them: measured, kept as JSON, and written into the tables.
//!
//! ```text
//!   FIGURES ─▶ corduroy bench ... --format json ─▶ benches/results/NAME.json ─▶ tables in README.md and benches/README.md
//!                                                         └── partition.json ─▶ pictures
//! ```
//!
//! **Invariant**: a table holds nothing that is not in a result, and every row names its command.

mod list;

mod pages;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub use list::FIGURES;
pub use pages::write_tables;

/// One measurement.
pub struct Figure {
    /// What its result is called.
    pub name: &'static str,
    /// What is measured, for a table.
    pub what: &'static str,
    /// Behind `corduroy`.
    pub arguments: &'static str,
    /// Whether it is on the first page, too.
    pub front: bool,
    /// What came of it, from the command's JSON. `None`: it is not there.
    pub measured: fn(&Value) -> Option<String>,
}

/// A figure and its result.
pub struct Kept<'a> {
    /// What was measured.
    pub figure: &'a Figure,
    /// Day, command, and what the command printed.
    pub kept: Value,
}

impl Figure {
    /// Where its result is kept.
    pub fn file(&self, results: &Path) -> PathBuf {
        results.join(format!("{}.json", self.name))
    }

    /// Measures it, and keeps the result, also of a bench that says it failed: then the result says so.
    ///
    /// # Errors
    /// A bench that failed; why is on standard error.
    pub fn measure(&self, corduroy: &Path, data: &Path, results: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(corduroy);
        command.args(self.arguments.split(' ')).args(["--format", "json", "--data"]).arg(data);
        let output = command.stderr(Stdio::inherit()).output().context("the corduroy binary cannot be started")?;
        let result: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("corduroy {} measured nothing ({})", self.arguments, output.status))?;
        let day = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let command = format!("corduroy {}", self.arguments);
        let failed = !output.status.success();
        let kept = serde_json::json!({ "command": command, "day": day, "failed": failed, "result": result });
        let file = self.file(results);
        fs::write(&file, format!("{kept}\n")).with_context(|| format!("cannot write {}", file.display()))?;
        ensure!(!failed, "corduroy {}: {}", self.arguments, output.status);
        ensure!((self.measured)(&result).is_some(), "corduroy {}: what the table shows is not in it", self.arguments);
        Ok(())
    }

    /// Its kept result; `None` where there is none.
    ///
    /// # Errors
    /// A file that is no result.
    pub fn kept(&self, results: &Path) -> anyhow::Result<Option<Kept<'_>>> {
        let file = self.file(results);
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let kept = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
        Ok(Some(Kept { figure: self, kept }))
    }
}
