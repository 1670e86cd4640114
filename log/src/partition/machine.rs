//! What evolves beside a partition's log: the cluster map, and the state of services.
use super::Table;
use crate::{
    batch::Batch,
    topic::{LogId, Offset, PartitionId},
    view::Shown,
};
use bytes::Bytes;
use std::{fmt, sync::Arc};

/// An entry that counts, for a [`Machine`].
#[derive(Clone, Copy, Debug)]
pub struct Evolving<'a> {
    /// The entry.
    pub id: LogId,
    /// Offset of its first record; of the next one where it has none.
    pub base: Offset,
    /// What it holds: records, or what was decided.
    pub batch: &'a Batch,
}

/// A state as it was at some entry, to become part of a checkpoint.
pub struct Frozen {
    /// Encodes what the machine keeps in memory.
    pub rest: Box<dyn FnOnce() -> Bytes + Send>,
    /// What it keeps in a file.
    pub table: FrozenTable,
}

impl Frozen {
    /// A state that is kept in memory.
    pub fn in_memory(rest: impl FnOnce() -> Bytes + Send + 'static) -> Self {
        Frozen { rest: Box::new(rest), table: FrozenTable::None }
    }
}

/// Rows of a [`Frozen`] state that are in a file of their own.
pub enum FrozenTable {
    /// There are none.
    None,
    /// Those the machine has been given: what has changed since is in the rest.
    Same(Table),
    /// These, ascending by key, each key once. The machine is given the table they have become, with this number
    /// ([`Machine::settle`]).
    New(u64, Box<dyn Iterator<Item = (Bytes, Bytes)> + Send>),
}

/// State that every replica of a partition folds from its log, in log order, and that is part of the partition's checkpoints.
///
/// Total and deterministic: it cannot refuse an entry, and must come to the same state on every replica, so it may use neither
/// clock nor randomness, and must not panic. An entry of a kind it does not know is no reason to go on:
/// [`Tasks::halt`](crate::world::Tasks::halt) with [`Halt::UnknownEntry`](crate::world::Halt::UnknownEntry).
pub trait Machine: Send {
    /// Takes an entry. Void batches and those without records do not come here, unless they were decided.
    fn evolve(&mut self, entry: Evolving<'_>);

    /// The state as it is now, to be written later and elsewhere. Evolving waits for this call, not for the writing.
    fn freeze(&mut self) -> Frozen;

    /// The rows that were frozen with this number are in this table, on disk. Gives away what need not be kept in memory any
    /// more: evolving does not wait until it is freed. Not called for what could not be written; what was frozen then is still
    /// in no checkpoint.
    fn settle(&mut self, _freeze: u64, _table: Table) -> Box<dyn Send> {
        Box::new(())
    }

    /// Whether this is an encoded state.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    fn check(&self, state: &[u8], table: Option<&Table>) -> Result<(), String>;

    /// Replaces the state. Nothing has changed after an error.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    fn install(&mut self, state: &[u8], table: Option<Table>) -> Result<(), String>;

    /// Itself, for the view by which keys of it are found ([`Partition::find`](crate::Partition::find)). `None`: there is none.
    fn shown(&self) -> Option<Arc<dyn Shown>> {
        None
    }
}

/// Gives the partitions of a node their machines: `None` for those that have none.
#[derive(Clone, Default)]
pub struct Machines(Option<Arc<Maker>>);

type Maker = dyn Fn(&str, PartitionId) -> Option<Box<dyn Machine>> + Send + Sync;

impl Machines {
    /// `make` is asked with the name of the topic whenever a partition is opened. What it makes is new: the partition brings it to
    /// where it was.
    pub fn new(make: impl Fn(&str, PartitionId) -> Option<Box<dyn Machine>> + Send + Sync + 'static) -> Self {
        Machines(Some(Arc::new(make)))
    }

    /// Whether there are any.
    pub(crate) fn are_made(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn make(&self, topic: &str, partition: PartitionId) -> Option<Box<dyn Machine>> {
        self.0.as_ref().and_then(|make| make(topic, partition))
    }
}

impl fmt::Debug for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Machines(..)" } else { "Machines(none)" })
    }
}
