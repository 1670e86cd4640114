//! A plan: everything that happens in a run, known before it begins, so that parts can be left out.
use super::{
    copies::{CopyRot, Kept},
    fault::{Crash, Place, RotKind},
};
use corduroy_log::testing::{DiskCall, DiskError};

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
    /// Copies of the identity or of the manifest rot while the node is down.
    RotCopies {
        /// Of which of the two.
        kept: Kept,
        /// How.
        kind: CopyRot,
        /// Which copies, a bit for each of the three. One alone becomes stale or half new, whatever this says.
        which: u8,
        /// Which byte and bit.
        noise: u64,
        /// What to do before and after.
        down: Crash,
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
