//! Reading: below the evolved offset, from this replica, with the promise asked for.
use super::{Consistency, Core, Partition, PlacedBatch, ReadResult, fold::Mark};
use crate::{
    batch::{Batch, BatchError},
    error::LogError,
    raft,
    record::Record,
    topic::{LogId, NodeId, Offset, Term},
    world::World,
};
use bytes::Bytes;
use corduroy_proto::v1::{self as pb, peer_request, peer_response, read_index_response::Outcome};
use openraft::{
    EntryPayload, ReadPolicy,
    error::{LinearizableReadError, RaftError},
};
use openraft_rt::{AsyncRuntime, Instant};
use std::{sync::Arc, time::Duration};

/// Bytes of entries read at once, about.
pub(super) const CHUNK: u64 = 256 << 10;
/// How often it is looked who leads, while nobody does.
const LEAD_MOVES: Duration = Duration::from_millis(10);

impl<W: World> Partition<W> {
    /// Reads from `offset` on: at least one record if there is one, about `max_bytes` of keys, values and headers, at
    /// most `max_records`. Nothing at the offset yet: an empty result. Offsets past the end: [`LogError::OffsetOutOfRange`].
    pub async fn read(
        &self,
        offset: Offset,
        max_bytes: u64,
        max_records: u32,
        consistency: Consistency,
    ) -> Result<ReadResult, LogError> {
        self.core.settle_read(consistency).await?;
        let end = self.core.evolved.end();
        if offset > end {
            return Err(LogError::OffsetOutOfRange { partition: self.name(), offset, end });
        }
        let page = Page::new(offset, max_bytes, max_records as usize);
        let records = self.core.read_evolved(page, None, end).await?.records;
        Ok(ReadResult { records, start: 0, end })
    }

    /// The first offset kept and the first that cannot be read yet.
    pub async fn offsets(&self, consistency: Consistency) -> Result<(Offset, Offset), LogError> {
        self.core.settle_read(consistency).await?;
        Ok((0, self.core.evolved.end()))
    }

    /// Answers a follower that asks how far it must have evolved for a linearizable read.
    pub(crate) async fn answer_read_index(&self) -> pb::ReadIndexResponse {
        let outcome = match self.core.read_index_as_leader().await {
            Ok(id) => Outcome::LogId(raft::log_id_to_wire(id)),
            Err(ReadIndexError::NotLeader(leader)) => Outcome::NotLeader(leader.unwrap_or(0)),
            Err(ReadIndexError::Failed(why)) => Outcome::Failed(why),
        };
        pb::ReadIndexResponse { outcome: Some(outcome) }
    }
}

/// Records being put together for one reader.
#[derive(Debug)]
pub(super) struct Page {
    /// Of the first record wanted.
    offset: Offset,
    max_bytes: u64,
    max_records: usize,
    bytes: u64,
    pub records: Vec<Record>,
    /// Where the batch lies that the next page begins with, or begins in.
    pub resume: Option<Mark>,
}

impl Page {
    pub(super) fn new(offset: Offset, max_bytes: u64, max_records: usize) -> Self {
        // At least one record: a page of none would be asked for again and again.
        Page { offset, max_bytes: max_bytes.max(1), max_records, bytes: 0, records: Vec::new(), resume: None }
    }

    /// Of the record after the last one taken.
    fn end(&self) -> Offset {
        self.offset + self.records.len() as u64
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.max_bytes || self.records.len() >= self.max_records
    }

    /// Takes what is wanted of a batch that adds so many records where the partition ends at `base`.
    fn take(&mut self, batch: &Batch, base: Offset, added: u64) -> Result<(), BatchError> {
        if base + added <= self.offset.max(base) {
            return Ok(());
        }
        for record in batch.decode(base)? {
            if record.offset < self.offset {
                continue;
            }
            self.bytes += record.size();
            self.records.push(record);
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }
}

/// An evolved entry, where the partition ended before it, and what it added.
pub(super) struct Placed {
    id: LogId,
    /// `None`: it holds none.
    pub batch: Option<Batch>,
    pub base: Offset,
    pub added: u64,
}

impl Placed {
    /// The place of the entry behind it.
    pub(super) fn end(&self) -> Mark {
        Mark { index: self.id.index + 1, offset: self.base + self.added }
    }
}

enum ReadIndexError {
    NotLeader(Option<NodeId>),
    Failed(String),
}

impl<W: World> Core<W> {
    /// Returns when this replica may serve a read of that consistency.
    pub(super) async fn settle_read(&self, consistency: Consistency) -> Result<(), LogError> {
        let timeout = self.host.timing.read_timeout;
        let why = match consistency {
            Consistency::Stale => return Ok(()),
            Consistency::Session(seen) if self.evolved.end() >= seen => return Ok(()),
            Consistency::Session(seen) => format!("this replica did not come to offset {seen}"),
            Consistency::Linearizable => String::from("no majority confirmed the read"),
        };
        let settled = async {
            if let Consistency::Session(seen) = consistency {
                self.evolved.wait(|evolved| evolved.end() >= seen).await;
                return Ok(());
            }
            let target = self.read_index_in_time().await?;
            self.evolved.wait(|evolved| evolved.next_index() > target.index).await;
            Ok(())
        };
        let settled = <W::Tasks as AsyncRuntime>::timeout(timeout, settled).await;
        settled.unwrap_or_else(|_| Err(LogError::Unavailable(format!("{}: {why} within {timeout:?}", self.name()))))
    }

    /// As [`Core::read_index`]; while nobody leads, the lead is moving or the leader ends with the question, for as long as
    /// that takes: an election at most.
    async fn read_index_in_time(&self) -> Result<LogId, LogError> {
        let began = <<W::Tasks as AsyncRuntime>::Instant as Instant>::now();
        loop {
            match self.read_index().await {
                Err(LogError::NotLeader { .. } | LogError::Unavailable(_))
                    if began.elapsed() < self.host.timing.election_max =>
                {
                    <W::Tasks as AsyncRuntime>::sleep(LEAD_MOVES).await;
                }
                settled => return settled,
            }
        }
    }

    /// A log id that includes everything acknowledged before this call, confirmed by a majority.
    async fn read_index(&self) -> Result<LogId, LogError> {
        let leader = match self.read_index_as_leader().await {
            Ok(id) => return Ok(id),
            Err(ReadIndexError::Failed(why)) => return Err(LogError::Unavailable(why)),
            Err(ReadIndexError::NotLeader(leader)) => leader.ok_or_else(|| self.not_leader(None))?,
        };
        let link = self.host.peers.link(leader).ok_or_else(|| self.not_leader(Some(leader)))?;
        let question = peer_request::Body::ReadIndex(pb::ReadIndexRequest {});
        let answer = link.request(self.id, question, self.host.timing.read_timeout).await;
        match answer.map_err(|error| LogError::Unavailable(format!("{}: {error}", self.name())))? {
            peer_response::Body::ReadIndex(pb::ReadIndexResponse { outcome: Some(outcome) }) => match outcome {
                Outcome::LogId(id) => Ok(raft::log_id_from_wire(&id)),
                Outcome::NotLeader(0) => Err(self.not_leader(None)),
                Outcome::NotLeader(leader) => Err(self.not_leader(Some(leader))),
                Outcome::Failed(why) => Err(LogError::Unavailable(why)),
            },
            _ => Err(LogError::Unavailable(format!(
                "{}: node {leader} answered something else than was asked",
                self.name()
            ))),
        }
    }

    /// Confirms with a majority that this replica leads, and has led since it began to in `term`.
    pub(super) async fn confirm_lead(&self, term: Term) -> Result<(), LogError> {
        match self.read_index_as_leader().await {
            Ok(_) if self.raft.as_leader().is_ok_and(|leader| leader.term() == term) => Ok(()),
            Ok(_) => Err(self.not_leader(None)),
            Err(ReadIndexError::NotLeader(leader)) => Err(self.not_leader(leader)),
            Err(ReadIndexError::Failed(why)) => Err(LogError::Unavailable(why)),
        }
    }

    async fn read_index_as_leader(&self) -> Result<LogId, ReadIndexError> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(raft::from_log_id::<W>(linearizer.read_log_id().log_id())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(elsewhere))) => {
                Err(ReadIndexError::NotLeader(elsewhere.leader_id))
            }
            Err(error) => Err(ReadIndexError::Failed(format!("{}: {error}", self.name()))),
        }
    }

    /// Reads a page below `end`, which has been evolved. Where `from` is known (the [`Page::resume`] of the page before),
    /// nothing is read in vain; else the batches from the mark before the page's offset on are.
    pub(super) async fn read_evolved(
        self: &Arc<Self>,
        mut page: Page,
        from: Option<Mark>,
        end: Offset,
    ) -> Result<Page, LogError> {
        if page.offset >= end {
            return Ok(page);
        }
        let mut at = match from {
            Some(mark) => mark,
            None => self.seek(page.offset)?,
        };
        page.resume = Some(at);
        while at.offset < end && !page.is_full() {
            for placed in self.evolved_entries(at, CHUNK).await? {
                if let Some(batch) = &placed.batch {
                    let taken = page.take(batch, placed.base, placed.added);
                    taken.map_err(|error| self.damaged(error.to_string()))?;
                }
                at = placed.end();
                if page.is_full() && page.end() < at.offset {
                    return Ok(page);
                }
                page.resume = Some(at);
                if at.offset >= end || page.is_full() {
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// The entry that holds the record at an offset below the end.
    pub(super) fn entry_at(&self, offset: Offset) -> Result<(LogId, Batch), LogError> {
        let mut at = self.seek(offset)?;
        loop {
            for placed in self.read_entries(at, CHUNK)? {
                at = placed.end();
                if let Some(batch) = placed.batch
                    && at.offset > offset
                {
                    return Ok((placed.id, batch));
                }
            }
        }
    }

    /// The effects of the decided batch in an evolved entry.
    pub(super) async fn decided_at(self: &Arc<Self>, index: u64) -> Result<Bytes, LogError> {
        let missing = || LogError::Unavailable(format!("{}: entry {index} is none that was decided here", self.name()));
        if index >= self.evolved.next_index() {
            return Err(missing());
        }
        // Nobody asks for its offsets.
        let entries = self.evolved_entries(Mark { index, offset: 0 }, 1).await?;
        entries.into_iter().next().and_then(|placed| placed.batch).map(|batch| batch.effects()).ok_or_else(missing)
    }

    fn seek(&self, offset: Offset) -> Result<Mark, LogError> {
        let end = self.evolved.end();
        self.evolved.seek(offset).ok_or_else(|| self.damaged(format!("no entry for offset {offset} below {end}")))
    }

    /// Whole batches below `end`, which has been evolved and is above `offset`: the one that holds the record at `offset`, and
    /// more up to about `max_bytes`. With the place of what comes next. Where `from` is known (the place that was given with
    /// the batches before), nothing is read in vain.
    pub(super) async fn read_batches(
        self: &Arc<Self>,
        offset: Offset,
        from: Option<Mark>,
        end: Offset,
        max_bytes: u64,
    ) -> Result<(Vec<PlacedBatch>, Mark), LogError> {
        let mut at = match from {
            Some(mark) => mark,
            None => self.seek(offset)?,
        };
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while at.offset < end && (batches.is_empty() || bytes < max_bytes) {
            for placed in self.evolved_entries(at, max_bytes.saturating_sub(bytes).max(1)).await? {
                at = placed.end();
                if let Placed { batch: Some(batch), base, added, .. } = placed
                    && added > 0
                    && base + added > offset
                {
                    bytes += batch.bytes().len() as u64;
                    batches.push(PlacedBatch { base, batch });
                }
            }
        }
        Ok((batches, at))
    }

    /// A chunk of evolved entries, at least one: there is one at `at`. Those that are not in memory are read where a disk may
    /// be waited for.
    async fn evolved_entries(self: &Arc<Self>, at: Mark, bytes: u64) -> Result<Vec<Placed>, LogError> {
        if self.log.wal().is_in_memory(at.index) {
            return self.read_entries(at, bytes);
        }
        let core = self.clone();
        let read = <W::Tasks as AsyncRuntime>::spawn_blocking(move || core.read_entries(at, bytes)).await;
        read.unwrap_or_else(|error| Err(LogError::Stopped(format!("{}: {error}", self.name()))))
    }

    /// A chunk of evolved entries, at least one: there is one at `at`. May wait for a disk.
    pub(super) fn read_entries(&self, at: Mark, bytes: u64) -> Result<Vec<Placed>, LogError> {
        self.read_range(at, self.evolved.next_index(), bytes)
    }

    /// The same, of the entries before `upto`, which have all evolved.
    pub(super) fn read_range(&self, at: Mark, upto: u64, bytes: u64) -> Result<Vec<Placed>, LogError> {
        let Mark { index, offset } = at;
        let entries = self.log.read(index..upto, bytes).map_err(|error| self.damaged(error.to_string()))?;
        if entries.is_empty() {
            return Err(self.damaged(format!("the log ends at entry {index}, offset {offset}, below entry {upto}")));
        }
        let voids = self.evolved.voids(index..index + entries.len() as u64);
        let mut base = offset;
        let mut placed = Vec::with_capacity(entries.len());
        for (index, entry) in (index..).zip(entries) {
            let id = raft::from_log_id::<W>(&entry.log_id);
            if id.index != index {
                return Err(self.damaged(format!("entry {index}, offset {base}, is not kept here; {id} is")));
            }
            let (batch, added) = match entry.payload {
                EntryPayload::Normal(batch) => {
                    let added = if voids.binary_search(&index).is_ok() { 0 } else { batch.added(base) };
                    (Some(batch), added)
                }
                _ => (None, 0),
            };
            placed.push(Placed { id, batch, base, added });
            base += added;
        }
        Ok(placed)
    }

    pub(super) fn damaged(&self, detail: String) -> LogError {
        tracing::error!(partition = %self.name(), %detail, "a committed part of the log cannot be read");
        LogError::Unavailable(format!("{}: {detail}", self.name()))
    }
}
