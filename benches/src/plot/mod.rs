//! The picture of `corduroy bench partition`: what each fault does to throughput and to times.
//!
//! ```text
//!   JSON ─▶ Run ─▶ a panel per scenario: throughput, below it times on a logarithmic axis ─▶ SVG ─▶ PNG
//! ```
//!
//! It is drawn here and not by the `corduroy` binary: a process that keeps data carries no renderer, nor the fifty crates
//! that make one.
//!
//! **Invariant**: nothing is smoothed, and what does not fit into a panel is cut at its edge and marked.

mod run;

mod axis;
mod theme;

mod panel;
mod sheet;

mod png;

pub use png::png;
pub use run::Run;
pub use sheet::svg;
pub use theme::{DARK, LIGHT, Theme};

use anyhow::Context as _;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Draws a run for light pages (`NAME.svg`, `NAME.png`) and for dark ones (`NAME-dark`); returns the files.
///
/// # Errors
/// As [`svg()`] and [`png()`], and files that cannot be written.
pub fn write(run: &Run, to: &Path, name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (theme, suffix) in [(LIGHT, ""), (DARK, "-dark")] {
        let picture = svg(run, &theme)?;
        for (bytes, kind) in [(png(&picture)?, "png"), (picture.into_bytes(), "svg")] {
            let path = to.join(format!("{name}{suffix}.{kind}"));
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            files.push(path);
        }
    }
    Ok(files)
}
