//! Fixed scripts, and every point of them at which a node can die.
use super::{
    fault::{Crash, Place, RotKind},
    plan::{Config, Plan, Step},
    run::{Outcome, Violation, run},
    tally::Tally,
};

/// Small enough that every point can be tried, and every point of the recoveries after it.
const SIZES: Config = Config {
    segment_bytes: 12 << 10,
    commit_bytes: 2 << 10,
    hot_tail_bytes: 1 << 10,
    partitions: 3,
    sector: 512,
    sync_micros: 200,
    supply: None,
    spread: false,
};

fn append(partition: u8, sizes: &[u32]) -> Step {
    Step::Append { partition, sizes: sizes.to_vec() }
}

fn vote(partition: u8) -> Step {
    Step::Vote { partition }
}

/// The scripts, by name.
pub fn all() -> Vec<(&'static str, Plan)> {
    use Step::{Committed, Install, Pause, Peer, Purge, Reopen, Truncate, Wait};
    let script = |name, steps: Vec<Step>| (name, Plan { seed: 1, config: SIZES, steps });
    let sized = |name, config, steps| (name, Plan { seed: 1, config, steps });
    vec![
        script("one entry after the other", (0..6).flat_map(|_| [append(0, &[100]), Wait]).collect()),
        script(
            "many partitions in one batch",
            vec![
                append(0, &[100, 200]),
                append(1, &[0, 300]),
                vote(2),
                append(2, &[700, 1]),
                Wait,
                append(1, &[50]),
                append(0, &[50]),
                Wait,
            ],
        ),
        script(
            "one append over many batches",
            vec![
                append(0, &[900; 8]),
                vote(1),
                append(1, &[10]),
                Wait,
                Committed { partition: 0 },
                append(1, &[10]),
                Wait,
            ],
        ),
        script("rotations", (0..5).flat_map(|_| [append(0, &[1800, 1500]), append(1, &[900]), Wait]).collect()),
        script(
            "an entry larger than a segment",
            vec![append(0, &[10]), append(1, &[30_000]), Wait, append(0, &[10]), Wait],
        ),
        script(
            "conflicts in a Raft log",
            vec![
                append(0, &[300, 300, 300]),
                Wait,
                Truncate { partition: 0, remove: 2 },
                append(0, &[301, 302]),
                Truncate { partition: 0, remove: 1 },
                append(0, &[400]),
                Truncate { partition: 0, remove: 9 },
                append(0, &[500]),
                Wait,
            ],
        ),
        script(
            "votes and peers",
            vec![
                vote(0),
                Wait,
                Peer { node: 2 },
                vote(1),
                vote(0),
                Wait,
                append(0, &[10]),
                vote(0),
                Peer { node: 3 },
                Peer { node: 2 },
                Wait,
            ],
        ),
        script(
            "purges and snapshots",
            vec![
                append(0, &[200; 5]),
                append(1, &[200; 2]),
                Purge { partition: 0, forget: 2 },
                Wait,
                Install { partition: 1, ahead: 4 },
                append(1, &[60]),
                Purge { partition: 0, forget: 3 },
                append(0, &[70]),
                Wait,
            ],
        ),
        script(
            "closed and opened",
            vec![
                append(0, &[100]),
                Committed { partition: 0 },
                Reopen,
                append(1, &[4000]),
                Reopen,
                Reopen,
                vote(0),
                append(0, &[5000]),
                Committed { partition: 0 },
                Reopen,
            ],
        ),
        sized(
            "syncs that take long, sectors of 4096 bytes",
            Config { sector: 4096, sync_micros: 20_000, ..SIZES },
            vec![
                append(0, &[100]),
                Pause { micros: 3000 },
                append(1, &[600, 600]),
                vote(0),
                Pause { micros: 15_000 },
                Truncate { partition: 0, remove: 1 },
                append(0, &[2500]),
                Pause { micros: 30_000 },
                append(2, &[8000]),
                Wait,
            ],
        ),
    ]
}

/// How a script went with a death at each of its points.
#[derive(Clone, Debug, Default)]
pub struct Exhausted {
    /// Points of the script.
    pub points: u64,
    /// What happened in all runs together; `runs` says how many.
    pub tally: Tally,
    /// The first promise that was broken, and the plan that broke it.
    pub violation: Option<(Plan, Violation)>,
}

impl Exhausted {
    fn add(&mut self, plan: Plan) -> Option<Outcome> {
        let outcome = run(&plan, None);
        self.tally.add(&outcome.tally);
        match outcome.violation {
            Some(violation) => {
                self.violation = Some((plan, violation));
                None
            }
            None => Some(outcome),
        }
    }

    /// The plan with a death at a point.
    fn with(plan: &Plan, seed: u64, point: u64, crash: Crash) -> Plan {
        let mut steps = vec![Step::CrashAt { operations: point, crash }];
        steps.extend(plan.steps.iter().cloned());
        Plan { seed, steps, ..plan.clone() }
    }

    fn fill(&mut self, plan: &Plan, seeds: u64) -> Option<()> {
        self.points = self.add(plan.clone())?.operations;
        for point in 1..=self.points {
            self.add(Self::with(plan, 1, point, Crash::plain(false)))?;
            let mut longest = 0;
            for seed in 1..=seeds {
                longest = longest.max(self.add(Self::with(plan, seed, point, Crash::plain(true)))?.longest_recovery);
            }
            for inner in 1..=longest {
                let nested = vec![(inner, inner % 4 != 0), (1 + (point + inner) % longest, true)];
                self.add(Self::with(plan, point, point, Crash { nested, ..Crash::plain(true) }))?;
            }
        }
        Some(())
    }
}

/// Runs a script with a kill and with power cuts at each of its points, and again with a second death at each point of the recovery
/// (and a third one at one of its points). `seeds`: how many times the disk decides otherwise what a power cut leaves.
pub fn exhaust(plan: &Plan, seeds: u64) -> Exhausted {
    let mut exhausted = Exhausted::default();
    exhausted.fill(plan, seeds);
    exhausted
}

/// Damage of every kind all along a script, one at a time, while the node is down.
pub fn rot_everywhere(plan: &Plan, kinds: &[RotKind], places: u64) -> Exhausted {
    let mut exhausted = Exhausted::default();
    for &kind in kinds {
        for at in 0..places {
            let place = Place { back: at % 4, thousandth: at * 1000 / places, noise: at };
            let mut steps = plan.steps.clone();
            steps.push(Step::Rot { kind, place, down: Some(Crash::plain(true)) });
            if exhausted.add(Plan { seed: at, steps, ..plan.clone() }).is_none() {
                return exhausted;
            }
        }
    }
    exhausted
}
