//! How far a long append is, on standard error.
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

/// Nothing is shown before: short appends are quiet.
const QUIET: Duration = Duration::from_secs(2);
/// Between lines, where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);
/// Looking at the clock for every record would be a cost.
const LOOK: u64 = 256;

/// Counts acknowledged records. A moving line on a terminal (unless the acknowledgements go there), else a line now and
/// then.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    said: Instant,
    records: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        let moving = io::stderr().is_terminal() && !io::stdout().is_terminal();
        let bar = moving.then(|| {
            let style = ProgressStyle::with_template("{spinner} {human_pos} records acknowledged, {per_sec}");
            ProgressBar::new_spinner().with_style(style.expect("the template is well-formed"))
        });
        Progress { bar, started: Instant::now(), said: Instant::now(), records: 0 }
    }

    pub(super) fn acknowledged(&mut self) {
        self.records += 1;
        if !self.records.is_multiple_of(LOOK) || self.started.elapsed() < QUIET {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_position(self.records),
            None if self.said.elapsed() >= EVERY && !io::stderr().is_terminal() => {
                self.said = Instant::now();
                eprintln!("{} records acknowledged", HumanCount(self.records));
            }
            None => {}
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
