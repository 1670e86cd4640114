//! Views: read models that follow the log, and can always be built again from it, or from the state that is folded from it.
//!
//! ```text
//!   log, as far as it has evolved          reads: wait until the view has come to what they must see
//!        │                                                    ▲
//!        ▼                                                    │
//!   feed ──▶ View::take ──▶ Change ──▶ one batch: the effects and how far they reach ──▶ store ──▶ ViewReader
//!        (your function)    (put, get)                                                   (Views)
//!
//!   open ─▶ scan everything ─▶ compare with the log ─┬─ fits ───▶ go on behind it
//!                                                    └─ anything else ─▶ remove it, build a new one beside, rename
//! ```
//!
//! The view of *states* (`states`) shows what machines keep beside their logs: of the log it takes which keys were touched, the rest from
//! the state as it is.
//!
//! A view belongs to a node. It holds what follows from the partitions this node hosts, each by itself, in a store that
//! promises nothing ([`crate::world::Views`]): sled, which after a power cut may not open or be wrong. One task per view, on
//! a thread of its own where it may block, does everything: it opens, verifies, feeds, answers reads. So a read sees whole
//! batches, and whatever the store does stays there.
//!
//! **Invariant** (R42): how far a view has been built and the log hash there are in the batch that has the effect.
//! **Invariant** (R43): a store that does not open, fails a checksum, lacks something, panics, does not fit the log, or has
//! another format is removed and built anew. That is no incident: it is counted, and said in a line.
//! **Invariant** (R44): nothing is built in place of something that was wrong. A new store has a name that none had before,
//! and gets the one it is looked for under when it holds what the log holds.
//! **Invariant** (R45): a view is no evidence. Nothing that decides anything reads one, and what is found by a view is read
//! from the log, or from the state.
//! **Invariant**: a read is answered when the view has everything below the offset the read must see, and not before.
//! **Invariant**: appends do not wait for views. A view looks at what has evolved every tenth of a second, or when somebody
//! reads; it takes at most a chunk at once; it stands still while the disk has no room.
//!
//! How completeness is seen: every value carries a hash of its place and itself, and the position of each partition the sum
//! of the hashes of all it has. A batch that a store lost, and a key it made up, change the sum of what is found.
//!
//! Left out: views over several partitions (which are on several nodes anyway: merge what each has); views of what was purged.

mod change;
mod position;
mod reader;

mod feed;
mod judge;
mod scan;

mod keeper;

mod set;
mod status;

pub(crate) mod states;
pub(crate) mod topics;

#[cfg(test)]
mod tests;

pub use change::Change;
pub use reader::ViewReader;
pub use states::{Placed, Shown};
pub use status::{RebuildReason, ViewProgress, ViewState, ViewStatus};

pub(crate) use feed::Source;
pub(crate) use set::ViewSet;

use crate::{
    batch::{Batch, BatchError},
    record::Record,
    topic::{Offset, PartitionId},
    world::{StoreError, Timestamp, Tree},
};

/// A read model: what the records of a partition come to.
///
/// It is a pure function of the log: no clock, no randomness, no state of its own. What it wants to remember it puts into
/// its trees. The same records must give the same trees, however they are cut into batches of the store, or a rebuild would
/// not find what was there.
pub trait View: Send + Sync + 'static {
    /// Its name, and that of its folder: up to 32 of a-z, 0-9 and `-`.
    fn name(&self) -> &'static str;
    /// Raise it when the trees change their form or their meaning: what an older build has left is then built anew.
    fn version(&self) -> u32;
    /// Its trees, each named with up to 32 of a-z and `_`, beginning with a letter.
    fn trees(&self) -> &'static [Tree];
    /// Whether it is about this topic.
    fn wants(&self, topic: &str) -> bool;
    /// Whether it shows what machines keep ([`Shown`]), and not the log. One that does begins with a walk over a state, and is asked
    /// to take only what comes then. Views that are brought to a log leave it as it is.
    fn is_of_states(&self) -> bool {
        false
    }
    /// Takes a batch of the log, in order, each once.
    ///
    /// # Errors
    /// Those of `change`, and none else: there is nothing in a log that a view could refuse. One that panics is not fed this
    /// partition any more until the next start.
    fn take(&self, input: &ViewInput<'_>, change: &mut Change<'_>) -> Result<(), StoreError>;
}

/// A batch of a partition's log, for a [`View`].
pub struct ViewInput<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) topic: &'a str,
    pub(crate) key_index: bool,
    pub(crate) index: u64,
    pub(crate) base: Offset,
    pub(crate) added: u64,
    pub(crate) batch: &'a Batch,
    /// The state that a machine folds from the log.
    pub(crate) state: Option<&'a dyn Shown>,
}

impl std::fmt::Debug for ViewInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ViewInput { partition, index, base, added, .. } = self;
        f.debug_struct("ViewInput")
            .field("partition", partition)
            .field("index", index)
            .field("base", base)
            .field("added", added)
            .finish_non_exhaustive()
    }
}

impl ViewInput<'_> {
    /// The partition it is in.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        self.topic
    }

    /// Whether the topic has a key index.
    pub fn key_index(&self) -> bool {
        self.key_index
    }

    /// Index of its entry in the Raft log.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Offset of its first record.
    pub fn base(&self) -> Offset {
        self.base
    }

    /// How many records it adds to the partition. None where it is void, or changes cursors.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// Its log time.
    pub fn time(&self) -> Timestamp {
        self.batch.time()
    }

    /// Bytes of it in the log.
    pub fn bytes(&self) -> u64 {
        self.batch.bytes().len() as u64
    }

    /// The records it adds.
    ///
    /// # Errors
    /// When it does not decode: readers of the log cannot read it, either.
    pub fn records(&self) -> Result<Vec<Record>, BatchError> {
        if self.added == 0 { Ok(Vec::new()) } else { self.batch.decode(self.base) }
    }

    /// The keys of the records it adds, in order, each with its record's offset. Cheaper than decoding them.
    pub fn keys(&self) -> impl Iterator<Item = (Offset, &[u8])> {
        let counts = self.added > 0;
        self.batch.keys().filter(move |_| counts).map(|(number, key)| (self.base + number, key))
    }
}
