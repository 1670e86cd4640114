//! From a plan that fails to a smaller one that fails in the same way.
use super::{
    fault::Crash,
    plan::{Plan, Step},
    run::run,
};
use corduroy_log::testing::PlantedBug;

/// Leaves out whatever can be left out while the same promise is broken, within so many runs. Gives the plan back where it breaks
/// none.
pub fn shrink(plan: &Plan, bug: Option<PlantedBug>, runs: u32) -> Plan {
    let Some(invariant) = run(plan, bug).violation.map(|violation| violation.invariant) else { return plan.clone() };
    let mut runs = runs;
    let mut fails = |steps: &[Step]| {
        let plan = Plan { steps: steps.to_vec(), ..plan.clone() };
        runs = runs.saturating_sub(1);
        runs > 0 && run(&plan, bug).violation.is_some_and(|violation| violation.invariant == invariant)
    };
    let mut steps = plan.steps.clone();
    let mut chunk = steps.len().div_ceil(2).max(1);
    loop {
        let before = steps.len();
        let mut at = 0;
        while at < steps.len() {
            let mut without = steps.clone();
            without.drain(at..(at + chunk).min(steps.len()));
            if fails(&without) { steps = without } else { at += chunk }
        }
        if chunk > 1 {
            chunk /= 2;
        } else if steps.len() == before {
            break;
        }
    }
    for at in 0..steps.len() {
        for simpler in simpler(&steps[at]) {
            let mut with = steps.clone();
            with[at] = simpler;
            if fails(&with) {
                steps = with;
            }
        }
    }
    Plan { steps, ..plan.clone() }
}

/// The same step with less in it, the simplest last.
fn simpler(step: &Step) -> Vec<Step> {
    let plain = |crash: &Crash| Crash::plain(crash.power);
    match step {
        Step::Append { partition, sizes } => vec![
            Step::Append { partition: *partition, sizes: sizes.iter().take(1).copied().collect() },
            Step::Append { partition: 0, sizes: vec![10] },
        ],
        Step::Crash(crash) => vec![Step::Crash(plain(crash))],
        Step::CrashAt { operations, crash } => {
            vec![Step::CrashAt { operations: *operations, crash: plain(crash) }]
        }
        Step::Fail { call, nth, error, then } => {
            vec![Step::Fail { call: *call, nth: *nth, error: *error, then: plain(then) }]
        }
        Step::Rot { kind, place, down: Some(crash) } => {
            vec![Step::Rot { kind: *kind, place: *place, down: Some(plain(crash)) }]
        }
        Step::RotCopies { kept, kind, which, noise, down } => {
            vec![Step::RotCopies { kept: *kept, kind: *kind, which: *which, noise: *noise, down: plain(down) }]
        }
        _ => Vec::new(),
    }
}
