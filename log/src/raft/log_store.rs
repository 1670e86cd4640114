//! openraft's log storage over a partition of the WAL.
//!
//! Votes are frames of the same ordered writer as entries, so no vote is durable after an entry of its term. An append
//! returns as soon as the entries are queued and readable from memory; openraft hears of the sync from the WAL's writer.
use super::{
    convert::{EntryError, entry_from_wal, entry_to_wal, from_log_id, from_vote, to_log_id, to_vote},
    types::TypeConfig,
};
use crate::{
    batch::BatchError,
    topic::{LogId, PartitionId},
    wal::{LogHash, PartitionLog},
    world::{Halt, Tasks, World},
};
use futures::{Stream, stream};
use openraft::{
    LogState, RaftLogReader,
    alias::{EntryOf, LogIdOf, VoteOf},
    storage::{IOFlushed, RaftLogStorage},
};
use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds, RangeInclusive},
};

/// Bytes of entries read at once for a follower or for evolving.
pub(super) const READ_BYTES: u64 = 256 << 10;

/// A handle to one partition's Raft log. Readers are clones of it.
#[derive(Clone)]
pub(crate) struct LogStore<W: World> {
    wal: PartitionLog<W>,
}

impl<W: World> LogStore<W> {
    pub(crate) fn new(wal: PartitionLog<W>) -> Self {
        LogStore { wal }
    }

    pub(crate) fn wal(&self) -> &PartitionLog<W> {
        &self.wal
    }

    /// Entries of a range: at least one if it has any, about `max_bytes` of payload.
    pub(crate) fn read(&self, range: Range<u64>, max_bytes: u64) -> io::Result<Vec<EntryOf<TypeConfig<W>>>> {
        let entries = self.wal.entries(range, max_bytes)?;
        entries.into_iter().map(|entry| entry_from_wal::<W>(entry).map_err(unusable::<W>)).collect()
    }

    pub(crate) fn id(&self) -> PartitionId {
        self.wal.id()
    }

    /// One past the last entry known to be committed.
    pub(super) fn committed_end(&self) -> u64 {
        self.wal.committed().map_or(0, |id| id.index + 1).min(self.end())
    }

    /// One past the last entry.
    pub(super) fn end(&self) -> u64 {
        self.wal.last().map_or(0, |id| id.index + 1)
    }

    /// Lets the log go on behind a snapshot that ends with `upto`.
    pub(super) async fn install(&self, upto: LogId, hash: LogHash) -> io::Result<()> {
        self.wal.install(upto, hash).await
    }

    /// The last entry of the term `at` is in, and the one behind it. `last` is in a later term.
    fn end_of_term(&self, at: LogId, last: LogId) -> io::Result<(LogId, LogId)> {
        let (mut inside, mut beyond) = (at, last);
        while inside.index + 1 < beyond.index {
            let middle = inside.index + (beyond.index - inside.index) / 2;
            let missing = || io::Error::new(io::ErrorKind::NotFound, format!("entry {middle} is not in the log"));
            let middle = self.wal.log_id(middle).ok_or_else(missing)?;
            *(if middle.term == at.term { &mut inside } else { &mut beyond }) = middle;
        }
        Ok((inside, beyond))
    }

    /// The part of a range that the log holds.
    fn clamp(&self, range: &impl RangeBounds<u64>) -> Range<u64> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let first = self.wal.purged().map_or(0, |purged| purged.index + 1);
        let next = self.wal.last().map_or(0, |last| last.index + 1);
        let start = start.max(first);
        start..end.min(next).max(start)
    }
}

/// An entry of a later format must stop the node: skipping it would make the replicas differ.
fn unusable<W: World>(error: EntryError) -> io::Error {
    if let EntryError::Batch(_, BatchError::Unknown { .. }) = &error {
        <W::Tasks as Tasks>::halt(Halt::UnknownEntry(error.to_string()));
    }
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<W: World> RaftLogReader<TypeConfig<W>> for LogStore<W> {
    /// All of them, however large: openraft asks for single entries, and at start for the entries not known to be committed,
    /// 64 at a time. Their bytes in flight were bounded when they were appended.
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<EntryOf<TypeConfig<W>>>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        self.read(self.clamp(&range), u64::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<EntryOf<TypeConfig<W>>>, io::Error> {
        self.read(start..end, READ_BYTES)
    }

    /// Reads piece by piece: the range may be the whole log.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<EntryOf<TypeConfig<W>>, io::Error>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let state = (self.clone(), self.clamp(&range), Vec::new().into_iter());
        Box::pin(stream::try_unfold(state, |(store, mut rest, mut buffered)| async move {
            if let Some(entry) = buffered.next() {
                return Ok(Some((entry, (store, rest, buffered))));
            }
            if rest.is_empty() {
                return Ok(None);
            }
            buffered = store.read(rest.clone(), READ_BYTES)?.into_iter();
            rest.start += buffered.len() as u64;
            Ok(buffered.next().map(|entry| (entry, (store, rest, buffered))))
        }))
    }

    /// The last log id of each term, from memory: openraft's own search reads entries.
    async fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<LogIdOf<TypeConfig<W>>>,
    ) -> Result<Vec<LogIdOf<TypeConfig<W>>>, io::Error> {
        let (mut at, last) = (from_log_id::<W>(range.start()), from_log_id::<W>(range.end()));
        let mut found = Vec::new();
        while at.term != last.term {
            let (end, next) = self.end_of_term(at, last)?;
            found.push(to_log_id::<W>(end));
            at = next;
        }
        found.push(to_log_id::<W>(last));
        Ok(found)
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<TypeConfig<W>>>, io::Error> {
        Ok(self.wal.vote().map(to_vote::<W>))
    }
}

impl<W: World> RaftLogStorage<TypeConfig<W>> for LogStore<W> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig<W>>, io::Error> {
        let last_purged_log_id = self.wal.purged().map(to_log_id::<W>);
        let last_log_id = self.wal.last().map(to_log_id::<W>).or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig<W>>) -> Result<(), io::Error> {
        self.wal.save_vote(from_vote::<W>(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<TypeConfig<W>>>) -> Result<(), io::Error> {
        self.wal.save_committed(committed.as_ref().map(from_log_id::<W>));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<TypeConfig<W>>>, io::Error> {
        Ok(self.wal.committed().map(to_log_id::<W>))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig<W>>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<TypeConfig<W>>> + Send,
        I::IntoIter: Send,
    {
        let entries = entries.into_iter().map(|entry| entry_to_wal::<W>(&entry)).collect();
        self.wal.append(entries, Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<TypeConfig<W>>>) -> Result<(), io::Error> {
        self.wal.truncate_after(last.map(|id| id.index())).await
    }

    async fn purge(&mut self, upto: LogIdOf<TypeConfig<W>>) -> Result<(), io::Error> {
        self.wal.purge(from_log_id::<W>(&upto)).await
    }
}
