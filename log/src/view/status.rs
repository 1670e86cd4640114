//! What is said of a view: whether it can be read, how far it is, how often it was built anew and why.
use crate::{
    partition::Evolved,
    topic::{Offset, PartitionId},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

/// Why a view was built anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RebuildReason {
    /// There was none, although the node is not new.
    Missing,
    /// It did not open.
    Unopenable,
    /// Another build wrote it.
    Version,
    /// A checksum did not match, or something was missing or too many.
    Damaged,
    /// The store failed.
    Failed,
    /// The store panicked.
    Panicked,
    /// It has more than the log.
    AheadOfLog,
    /// It has more than has evolved here, and that did not change for a while.
    AheadOfEvolved,
    /// It was built from another log.
    OtherLog,
    /// The log does not have what comes next any more.
    BehindPurge,
}

impl RebuildReason {
    /// All of them.
    pub const ALL: [RebuildReason; 10] = [
        RebuildReason::Missing,
        RebuildReason::Unopenable,
        RebuildReason::Version,
        RebuildReason::Damaged,
        RebuildReason::Failed,
        RebuildReason::Panicked,
        RebuildReason::AheadOfLog,
        RebuildReason::AheadOfEvolved,
        RebuildReason::OtherLog,
        RebuildReason::BehindPurge,
    ];

    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            RebuildReason::Missing => "missing",
            RebuildReason::Unopenable => "unopenable",
            RebuildReason::Version => "version",
            RebuildReason::Damaged => "damaged",
            RebuildReason::Failed => "failed",
            RebuildReason::Panicked => "panicked",
            RebuildReason::AheadOfLog => "ahead_of_log",
            RebuildReason::AheadOfEvolved => "ahead_of_evolved",
            RebuildReason::OtherLog => "other_log",
            RebuildReason::BehindPurge => "behind_purge",
        }
    }
}

impl fmt::Display for RebuildReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a view is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViewState {
    /// Its store is being opened and verified.
    #[default]
    Opening,
    /// It is being built anew. Partitions it has come to the end of can be read.
    Rebuilding,
    /// It follows the log.
    Following,
    /// It cannot be kept at the moment; it is tried again.
    Failing,
}

impl fmt::Display for ViewState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ViewState::Opening => "opening",
            ViewState::Rebuilding => "rebuilding",
            ViewState::Following => "following",
            ViewState::Failing => "failing",
        })
    }
}

/// How far a view has come with a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewProgress {
    /// `topic/partition`.
    pub partition: String,
    /// It has everything below this offset.
    pub built: Offset,
    /// The evolved offset of the replica.
    pub end: Offset,
    /// Why it does not go on, where it does not.
    pub trouble: Option<String>,
}

/// A view of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewStatus {
    /// Its name.
    pub name: &'static str,
    /// What it is doing.
    pub state: ViewState,
    /// Whether it stands still, as the disk has little room.
    pub paused: bool,
    /// By partition.
    pub partitions: Vec<ViewProgress>,
    /// How often it was built anew since the log was opened, by reason.
    pub rebuilds: Vec<(RebuildReason, u64)>,
    /// Why it was last built anew, or cannot be kept.
    pub last: Option<String>,
}

impl ViewStatus {
    /// Records that it is behind what has evolved, over all partitions.
    pub fn behind(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.end.saturating_sub(partition.built)).sum()
    }

    /// How often it was built anew.
    pub fn rebuilt(&self) -> u64 {
        self.rebuilds.iter().map(|(_, times)| times).sum()
    }
}

impl fmt::Display for ViewStatus {
    /// For a person, in a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (built, end): (u64, u64) =
            self.partitions.iter().fold((0, 0), |(built, end), p| (built + p.built.min(p.end), end + p.end));
        write!(f, "{}, has {built} of {end} records of {} partitions", self.state, self.partitions.len())?;
        if self.rebuilt() > 0 {
            write!(f, ", built anew {} times", self.rebuilt())?;
        }
        if self.paused {
            f.write_str(", stands still as the disk has little room")?;
        }
        if let Some(last) = &self.last {
            write!(f, " ({last})")?;
        }
        for ViewProgress { partition, trouble, .. } in &self.partitions {
            if let Some(trouble) = trouble {
                write!(f, "; {partition} stands still: {trouble}")?;
            }
        }
        Ok(())
    }
}

/// A partition in the [`Board`].
pub(super) struct Slot {
    pub name: String,
    pub evolved: Arc<Evolved>,
    pub built: Offset,
    pub trouble: Option<String>,
    /// It is not a matter of moments.
    pub stuck: bool,
}

/// Where the keeper writes what it does, for those who ask.
#[derive(Default)]
pub(super) struct Board {
    inner: Mutex<Written>,
}

#[derive(Default)]
pub(super) struct Written {
    pub state: ViewState,
    pub paused: bool,
    pub slots: BTreeMap<PartitionId, Slot>,
    pub rebuilds: BTreeMap<RebuildReason, u64>,
    pub last: Option<String>,
}

impl Board {
    pub(super) fn write(&self) -> MutexGuard<'_, Written> {
        self.inner.lock().expect("bookkeeping does not panic")
    }

    /// Whether a view that has not come to `upto` of a partition may be expected to in moments: it follows the log.
    pub(super) fn is_close(&self, partition: PartitionId, upto: Offset) -> bool {
        let written = self.write();
        let slot = written.slots.get(&partition);
        let has_it = slot.is_some_and(|slot| slot.built >= upto);
        let follows = written.state == ViewState::Following && !written.paused;
        has_it || (follows && slot.is_none_or(|slot| !slot.stuck))
    }

    pub(super) fn status(&self, name: &'static str) -> ViewStatus {
        let written = self.write();
        let progress = |slot: &Slot| ViewProgress {
            partition: slot.name.clone(),
            built: slot.built,
            end: slot.evolved.end(),
            trouble: slot.trouble.clone(),
        };
        ViewStatus {
            name,
            state: written.state,
            paused: written.paused,
            partitions: written.slots.values().map(progress).collect(),
            rebuilds: written.rebuilds.iter().map(|(reason, times)| (*reason, *times)).collect(),
            last: written.last.clone(),
        }
    }
}
