//! From a seed to a plan: sizes, which kinds of calls and faults there are at all, and then one after the other.
use super::{
    copies::{CopyRot, Kept},
    draw::Draw,
    fault::{Crash, Place, RotKind},
    plan::{Config, Plan, Step},
};
use corduroy_log::testing::{DiskCall, DiskError};

/// Most steps of a plan.
const MAX_STEPS: u64 = 80;

/// The kinds of steps, each of which a seed may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Append,
    LargeAppend,
    Truncate,
    Purge,
    Install,
    Vote,
    Committed,
    Peer,
    Read,
    Wait,
    Pause,
    Reopen,
    ReadStale,
    ReadFailing,
    Crash,
    CrashAt,
    Fail,
    Full,
    ReadOnly,
    Rot,
    RotCopies,
    Fork,
}

/// The kinds, how often they come, and whether they are faults.
const KINDS: [(Kind, u64, bool); 22] = [
    (Kind::Append, 60, false),
    (Kind::LargeAppend, 3, false),
    (Kind::Truncate, 12, false),
    (Kind::Purge, 6, false),
    (Kind::Install, 2, false),
    (Kind::Vote, 12, false),
    (Kind::Committed, 10, false),
    (Kind::Peer, 4, false),
    (Kind::Read, 12, false),
    (Kind::Wait, 20, false),
    (Kind::Pause, 15, false),
    (Kind::Reopen, 5, false),
    (Kind::ReadStale, 2, true),
    (Kind::ReadFailing, 2, true),
    (Kind::Crash, 6, true),
    (Kind::CrashAt, 8, true),
    (Kind::Fail, 5, true),
    (Kind::Full, 3, true),
    (Kind::ReadOnly, 1, true),
    (Kind::Rot, 4, true),
    (Kind::RotCopies, 3, true),
    (Kind::Fork, 2, true),
];

impl Config {
    fn draw(draw: &mut Draw) -> Self {
        let segment_bytes = 4096 << draw.below(9);
        Config {
            segment_bytes,
            commit_bytes: 512 << draw.below(10),
            hot_tail_bytes: *draw.pick(&[0, 0, 1 << 10, 8 << 10, 1 << 20]),
            partitions: 1 + draw.small(16) as u8,
            sector: *draw.pick(&[512, 512, 4096]),
            sync_micros: *draw.pick(&[50, 500, 20_000]),
            supply: draw.coin().then(|| draw.below(5)),
            spread: draw.coin(),
        }
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw::named(seed, "plan");
        let config = Config::draw(&mut draw);
        let on: Vec<(Kind, u64)> = KINDS
            .into_iter()
            .filter(|&(kind, _, fault)| kind == Kind::Append || !draw.one_in(if fault { 2 } else { 4 }))
            .map(|(kind, weight, _)| (kind, weight))
            .collect();
        let total: u64 = on.iter().map(|(_, weight)| weight).sum();
        let mut steps = Vec::new();
        for _ in 0..8 + draw.below(MAX_STEPS - 8) {
            let mut at = draw.below(total);
            let kind = on.iter().find(|(_, weight)| at.checked_sub(*weight).map(|rest| at = rest).is_none());
            let &(kind, _) = kind.expect("the weights add up to their sum");
            draw_step(kind, &config, &mut draw, &mut steps);
        }
        Plan { seed, config, steps }
    }
}

fn draw_step(kind: Kind, config: &Config, draw: &mut Draw, steps: &mut Vec<Step>) {
    let partition = draw.below(config.partitions.into()) as u8;
    let step = match kind {
        Kind::Append => {
            let count = draw.small(9);
            Step::Append { partition, sizes: (0..count).map(|_| draw.small(3000) as u32).collect() }
        }
        Kind::LargeAppend => {
            let sizes = vec![(config.segment_bytes / 2 + draw.below(config.segment_bytes)).min(300 << 10) as u32];
            Step::Append { partition, sizes }
        }
        Kind::Truncate => Step::Truncate { partition, remove: draw.small(12) as u8 },
        Kind::Purge => Step::Purge { partition, forget: draw.small(12) as u8 },
        Kind::Install => Step::Install { partition, ahead: draw.small(20) as u8 },
        Kind::Vote => Step::Vote { partition },
        Kind::Committed => Step::Committed { partition },
        Kind::Peer => Step::Peer { node: 2 + draw.below(4) as u8 },
        Kind::Read => Step::Read { partition, back: draw.small(64) as u8, count: draw.small(64) as u8 },
        Kind::ReadStale => Step::ReadStale { partition },
        Kind::ReadFailing => Step::ReadFailing { partition },
        Kind::Wait => Step::Wait,
        Kind::Pause => Step::Pause { micros: draw.below(2 * config.sync_micros) },
        Kind::Reopen => Step::Reopen,
        Kind::Crash => Step::Crash(draw_crash(draw)),
        Kind::CrashAt => Step::CrashAt { operations: 1 + draw.small(60), crash: draw_crash(draw) },
        Kind::Fail => Step::Fail {
            call: *draw.pick(&[
                DiskCall::SyncData,
                DiskCall::SyncData,
                DiskCall::Write,
                DiskCall::Write,
                DiskCall::Create,
                DiskCall::Allocate,
                DiskCall::Rename,
                DiskCall::SyncAll,
                DiskCall::SyncDir,
            ]),
            nth: 1 + draw.small(4),
            error: draw_error(draw),
            then: draw_crash(draw),
        },
        Kind::Full => {
            steps.push(Step::Full { blocks: draw.small(8) });
            for _ in 0..draw.below(4) {
                draw_step(Kind::Append, config, draw, steps);
            }
            Step::Space
        }
        Kind::ReadOnly => Step::ReadOnly,
        Kind::Fork => Step::Fork { votes: 10 + draw.below(50) as u8, place: draw_place(draw) },
        Kind::Rot => {
            let place = draw_place(draw);
            let down = (!draw.one_in(4)).then(|| draw_crash(draw));
            // A flipped bit twice as often as each of the others.
            let nth = draw.below(1 + RotKind::ALL.len() as u64).saturating_sub(1);
            Step::Rot { kind: RotKind::ALL[nth as usize], place, down }
        }
        Kind::RotCopies => Step::RotCopies {
            kept: *draw.pick(&Kept::ALL),
            kind: *draw.pick(&CopyRot::ALL),
            // One as often as several.
            which: if draw.coin() { 1 << draw.below(3) } else { 1 + draw.below(7) as u8 },
            noise: draw.word(),
            down: draw_crash(draw),
        },
    };
    steps.push(step);
}

fn draw_place(draw: &mut Draw) -> Place {
    Place { back: draw.small(8), thousandth: draw.below(1000), noise: draw.word() }
}

fn draw_crash(draw: &mut Draw) -> Crash {
    let nested = (0..draw.small(4)).map(|_| (1 + draw.small(60), draw.coin())).collect();
    let calls = [
        DiskCall::SyncAll,
        DiskCall::SyncDir,
        DiskCall::Write,
        DiskCall::Truncate,
        DiskCall::Create,
        DiskCall::Rename,
        DiskCall::Open,
        DiskCall::Read,
        DiskCall::List,
    ];
    let failing = draw.one_in(6).then(|| (*draw.pick(&calls), 1 + draw.small(16), draw_error(draw)));
    Crash { power: draw.coin(), nested, failing }
}

fn draw_error(draw: &mut Draw) -> DiskError {
    *draw.pick(&[DiskError::Io, DiskError::Io, DiskError::Full, DiskError::TooManyFiles])
}
