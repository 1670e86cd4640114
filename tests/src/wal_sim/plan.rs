//! A plan: everything that happens in a run, drawn from a seed before it begins, so that parts can be left out.
use super::{
    draw::Draw,
    fault::{Crash, Place, RotKind},
};
use corduroy_log::testing::{DiskCall, DiskError};

/// Most steps of a plan.
const MAX_STEPS: u64 = 80;

/// The sizes of a run. Bytes, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// As [`WalOptions::segment_bytes`](corduroy_log::wal::WalOptions::segment_bytes).
    pub segment_bytes: u64,
    /// As [`WalOptions::commit_bytes`](corduroy_log::wal::WalOptions::commit_bytes).
    pub commit_bytes: u64,
    /// As [`WalOptions::hot_tail_bytes`](corduroy_log::wal::WalOptions::hot_tail_bytes).
    pub hot_tail_bytes: u64,
    /// How many partitions.
    pub partitions: u8,
    /// What the disk writes whole or not at all: 512 or 4096.
    pub sector: u64,
    /// The longest sync, in microseconds.
    pub sync_micros: u64,
    /// Whether segments are made ahead, and with an emergency reserve of how many blocks of 4096 bytes.
    pub supply: Option<u64>,
    /// The node's number for each partition is spread over topics, so that ids are not dense.
    pub spread: bool,
}

/// One thing that happens. Partitions and indexes are reduced to what there is, so that any part of a plan is a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Appends entries with payloads of these many bytes.
    Append {
        /// To which partition.
        partition: u8,
        /// Bytes of each payload.
        sizes: Vec<u32>,
    },
    /// Removes the newest entries.
    Truncate {
        /// Of which partition.
        partition: u8,
        /// How many.
        remove: u8,
    },
    /// Forgets the oldest entries.
    Purge {
        /// Of which partition.
        partition: u8,
        /// How many.
        forget: u8,
    },
    /// A snapshot beyond the end of the log was installed.
    Install {
        /// In which partition.
        partition: u8,
        /// How far beyond.
        ahead: u8,
    },
    /// A vote of a higher term.
    Vote {
        /// In which partition.
        partition: u8,
    },
    /// What is there is committed.
    Committed {
        /// In which partition.
        partition: u8,
    },
    /// Something was learned of a peer.
    Peer {
        /// Which.
        node: u8,
    },
    /// Reads a part of a log and compares.
    Read {
        /// Of which partition.
        partition: u8,
        /// How far from the end.
        back: u8,
        /// How many entries.
        count: u8,
    },
    /// Reads with the disk giving what was there before, once.
    ReadStale {
        /// Of which partition.
        partition: u8,
    },
    /// Reads with a disk that fails once.
    ReadFailing {
        /// Of which partition.
        partition: u8,
    },
    /// Waits until everything asked for was answered.
    Wait,
    /// Lets some time pass, so that what follows finds the writer in the midst of something.
    Pause {
        /// How much.
        micros: u64,
    },
    /// Closes the WAL and opens it again.
    Reopen,
    /// The node dies and starts again.
    Crash(Crash),
    /// The node will die at a disk operation, counted from now on.
    CrashAt {
        /// Which, from 1.
        operations: u64,
        /// How.
        crash: Crash,
    },
    /// A disk call will fail, the node will halt, and the power may fail then.
    Fail {
        /// Which kind of call.
        call: DiskCall,
        /// Which of them, from 1.
        nth: u64,
        /// With what.
        error: DiskError,
        /// What happens after the halt.
        then: Crash,
    },
    /// There is only so much space left, in blocks of 4096 bytes.
    Full {
        /// How much.
        blocks: u64,
    },
    /// There is space again.
    Space,
    /// The file system turns read-only until the node has halted.
    ReadOnly,
    /// The disk goes two ways from one copy of it, and a segment of the one gets between those of the other. Both have the same
    /// numbers and lengths, and other votes.
    Fork {
        /// Votes on each way.
        votes: u8,
        /// Which segment.
        place: Place,
    },
    /// What was synced rots, in the midst of things or while the node is down.
    Rot {
        /// How.
        kind: RotKind,
        /// Where.
        place: Place,
        /// The node is down meanwhile: what to do before and after.
        down: Option<Crash>,
    },
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it was drawn from; also that of the disk's decisions.
    pub seed: u64,
    /// Its sizes.
    pub config: Config,
    /// What happens.
    pub steps: Vec<Step>,
}

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
    Fork,
}

/// The kinds, how often they come, and whether they are faults.
const KINDS: [(Kind, u64, bool); 21] = [
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
            let kinds = [
                RotKind::Flip,
                RotKind::Flip,
                RotKind::Zero,
                RotKind::Garble,
                RotKind::LostWrite,
                RotKind::Misdirected,
                RotKind::Cut,
                RotKind::Lost,
                RotKind::Swapped,
            ];
            let place = draw_place(draw);
            let down = (!draw.one_in(4)).then(|| draw_crash(draw));
            Step::Rot { kind: *draw.pick(&kinds), place, down }
        }
    };
    steps.push(step);
}

fn draw_place(draw: &mut Draw) -> Place {
    Place { back: draw.small(8), thousandth: draw.below(1000), noise: draw.word() }
}

fn draw_crash(draw: &mut Draw) -> Crash {
    let nested = (0..draw.small(4)).map(|_| (1 + draw.below(14), draw.coin())).collect();
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
    let failing = draw.one_in(6).then(|| (*draw.pick(&calls), 1 + draw.small(3), draw_error(draw)));
    Crash { power: draw.coin(), nested, failing }
}

fn draw_error(draw: &mut Draw) -> DiskError {
    *draw.pick(&[DiskError::Io, DiskError::Io, DiskError::Full, DiskError::TooManyFiles])
}
