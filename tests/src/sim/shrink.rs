//! Making a failing plan small: what can be left out while the same invariant breaks is left out.
use super::{Failed, Plan, run_plan};

/// Removes faults, then operations, in ever smaller pieces, for at most `runs` runs. What is kept breaks the same
/// [`Invariant`](super::Invariant): another one may be another defect, or only say that little is left of the run. `tell` hears
/// of every step.
pub fn shrink(failed: Failed, runs: u32, tell: impl FnMut(&str)) -> Failed {
    let mut shrinker = Shrinker { best: failed, runs, tell };
    loop {
        let before = size(&shrinker.best.plan);
        shrinker.thin(|plan| &mut plan.faults);
        shrinker.thin(|plan| &mut plan.operations);
        if size(&shrinker.best.plan) == before || shrinker.runs == 0 {
            return shrinker.best;
        }
    }
}

fn size(plan: &Plan) -> usize {
    plan.faults.len() + plan.operations.len()
}

struct Shrinker<T> {
    best: Failed,
    /// Runs left.
    runs: u32,
    tell: T,
}

impl<T: FnMut(&str)> Shrinker<T> {
    /// Leaves out pieces of one list: all of it first, then halves, single items last.
    fn thin<I: Clone>(&mut self, list: impl Fn(&mut Plan) -> &mut Vec<I>) {
        let mut piece = list(&mut self.best.plan).len();
        while piece > 0 {
            let mut start = 0;
            while start < list(&mut self.best.plan).len() {
                let mut smaller = self.best.plan.clone();
                let items = list(&mut smaller);
                let end = (start + piece).min(items.len());
                items.drain(start..end);
                if !self.still_fails(&smaller) {
                    start = end;
                }
                if self.runs == 0 {
                    return;
                }
            }
            piece /= 2;
        }
    }

    /// Whether a plan breaks the same invariant. Then it is the best one.
    fn still_fails(&mut self, plan: &Plan) -> bool {
        let Some(left) = self.runs.checked_sub(1) else { return false };
        self.runs = left;
        let Err(failed) = run_plan(&self.best.settings, plan, None) else { return false };
        if failed.violation.invariant != self.best.violation.invariant {
            return false;
        }
        self.best = *failed;
        let Plan { faults, operations, .. } = &self.best.plan;
        let violation = self.best.violation.to_string();
        let what = violation.lines().next().unwrap_or_default();
        (self.tell)(&format!("{} faults, {} operations: {what}", faults.len(), operations.len()));
        true
    }
}
