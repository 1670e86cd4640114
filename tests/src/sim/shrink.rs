//! Making a failing plan small: what can be left out while the run still fails is left out.
use super::{Failed, Plan, Settings, run_plan};
use std::time::{Duration, Instant};

/// Removes faults, then operations, in ever smaller pieces, for at most `patience` of real time. Any failure counts, as
/// a smaller plan may show the same defect by another symptom; `tell` hears of every step.
pub fn shrink(failed: Failed, patience: Duration, mut tell: impl FnMut(&str)) -> Failed {
    let deadline = Instant::now() + patience;
    let settings = failed.settings.clone();
    let mut best = failed;
    loop {
        let before = size(&best.plan);
        best = thin(&settings, best, deadline, &mut tell, |plan| &mut plan.faults);
        best = thin(&settings, best, deadline, &mut tell, |plan| &mut plan.operations);
        if size(&best.plan) == before || Instant::now() >= deadline {
            return best;
        }
    }
}

fn size(plan: &Plan) -> usize {
    plan.faults.len() + plan.operations.len()
}

/// Leaves out pieces of one list: halves first, single items last.
fn thin<T: Clone>(
    settings: &Settings,
    mut best: Failed,
    deadline: Instant,
    tell: &mut impl FnMut(&str),
    list: impl Fn(&mut Plan) -> &mut Vec<T>,
) -> Failed {
    let mut piece = list(&mut best.plan).len().div_ceil(2);
    while piece > 0 {
        let mut start = 0;
        while start < list(&mut best.plan).len() {
            if Instant::now() >= deadline {
                return best;
            }
            let mut smaller = best.plan.clone();
            let items = list(&mut smaller);
            let end = (start + piece).min(items.len());
            items.drain(start..end);
            match run_plan(settings, &smaller, None) {
                Err(failed) if !failed.what.starts_with("vacuous") => {
                    best = *failed;
                    tell(&format!(
                        "{} faults, {} operations: {}",
                        best.plan.faults.len(),
                        best.plan.operations.len(),
                        best.what.lines().next().unwrap_or_default()
                    ));
                }
                _ => start = end,
            }
        }
        piece /= 2;
    }
    best
}
