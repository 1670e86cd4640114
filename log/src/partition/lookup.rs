//! Reading by time and by key: a view says where to look, the log says what is there.
use super::{Consistency, Core, Partition, fold::Mark, read::CHUNK};
use crate::{
    error::LogError,
    producer::digest_of,
    record::Record,
    topic::Offset,
    view::{
        ViewReader, states,
        topics::{self, Place},
    },
    world::{StoreError, Timestamp, World},
};
use futures::{StreamExt as _, future::ready, stream::BoxStream};

/// Batches with records of a key that are looked up at once.
const LOOKUP: usize = 64;
/// Bytes of batches read for one page of a key, about: a key in many large batches comes in more and smaller pages.
const PAGE_READS: u64 = 16 << 20;

/// Where a time begins in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOffset {
    /// Of the first record with this log time or a later one; `end` where there is none yet.
    pub offset: Offset,
    /// First offset that could not be read.
    pub end: Offset,
}

/// Records of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// In offset order.
    pub records: Vec<Record>,
    /// Where to go on: every record of the key below is in `records`, or before where this began.
    pub next: Offset,
    /// First offset that could not be read. There is nothing more below where `next` is this.
    pub end: Offset,
}

impl<W: World> Partition<W> {
    /// The offset of the first record whose log time is `time` or later.
    ///
    /// # Errors
    /// Those of [`Partition::read`]; [`LogError::Unavailable`] while the view of the topics is not there, with how far it is.
    pub async fn offset_at(&self, time: Timestamp, consistency: Consistency) -> Result<TimeOffset, LogError> {
        let core = &self.core;
        core.settle_read(consistency).await?;
        let end = core.evolved.end();
        let before = self.look(topics::NAME, end, move |reader| topics::before(reader, time)).await?;
        let from = before.map_or_else(|| core.beginning(), |Place { index, base }| Ok(Mark { index, offset: base }))?;
        Ok(TimeOffset { offset: core.first_at(time, from, end)?, end })
    }

    /// The records of a key from `offset` on, in order: at least one where there is one, about `max_bytes` of keys, values and
    /// headers, at most `max_records`. A page may be shorter than it could be: [`KeyPage::next`] says where to go on.
    ///
    /// # Errors
    /// As [`Partition::offset_at`]; [`LogError::Invalid`] where the topic has no key index; [`LogError::OffsetOutOfRange`].
    pub async fn read_key(
        &self,
        key: &[u8],
        offset: Offset,
        max_bytes: u64,
        max_records: u32,
        consistency: Consistency,
    ) -> Result<KeyPage, LogError> {
        let core = &self.core;
        if !core.evolved.has_key_index() {
            return Err(LogError::Invalid(format!(
                "topic {:?} has no key index, so its records are not found by key; whether it has one is chosen when a \
                 topic is created",
                core.topic
            )));
        }
        core.settle_read(consistency).await?;
        let end = core.evolved.end();
        if offset > end {
            return Err(LogError::OffsetOutOfRange { partition: self.name(), offset, end });
        }
        let digest = digest_of(key);
        let mut page = KeyPage { records: Vec::new(), next: offset, end };
        let (mut bytes, mut read) = (0, 0);
        while page.next < end {
            let from = page.next;
            let find = move |reader: &ViewReader<'_>| topics::of_key(reader, &digest, from, end, LOOKUP);
            let places = self.look(topics::NAME, end, find).await?;
            let more = places.len() == LOOKUP;
            for (last, place) in places {
                let batch = core.batch_at(place)?;
                read += batch.iter().map(Record::size).sum::<u64>();
                for record in
                    batch.into_iter().filter(|found| found.offset >= from && found.key.as_deref() == Some(key))
                {
                    if !page.records.is_empty() && (bytes >= max_bytes || page.records.len() >= max_records as usize) {
                        return Ok(page);
                    }
                    bytes += record.size();
                    page.next = record.offset + 1;
                    page.records.push(record);
                }
                page.next = last + 1;
                if !page.records.is_empty() && read >= PAGE_READS {
                    return Ok(page);
                }
            }
            if !more {
                page.next = end;
            }
        }
        Ok(page)
    }

    /// Records whose log time is `time` or later, as [`Partition::subscribe`] gives them. Where nothing is as late yet, what
    /// comes and is earlier is left out.
    ///
    /// # Errors
    /// As [`Partition::offset_at`].
    pub async fn subscribe_at(
        &self,
        time: Timestamp,
        max_bytes: u64,
        consistency: Consistency,
    ) -> Result<BoxStream<'static, Result<Vec<Record>, LogError>>, LogError> {
        let begin = self.offset_at(time, consistency).await?;
        let late = move |page: Result<Vec<Record>, LogError>| {
            let page = page.map(|mut records| {
                records.retain(|record| record.time >= time);
                records
            });
            ready(Some(page).filter(|page| page.as_ref().map_or(true, |records| !records.is_empty())))
        };
        Ok(self.subscribe(begin.offset, max_bytes).filter_map(late).boxed())
    }

    /// The keys of the state beside this partition's log that are found at a place, behind one (empty: all of them), in order. What
    /// the state has of them may be further on than what put them there.
    ///
    /// # Errors
    /// As [`Partition::read_view`].
    pub async fn find(
        &self,
        place: &[u8],
        after: &[u8],
        limit: usize,
        consistency: Consistency,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        let (place, after) = (place.to_vec(), after.to_vec());
        self.read_view(states::NAME, consistency, move |reader| states::at(reader, &place, &after, limit)).await
    }

    /// Reads a view of this partition on this node, once it has everything that a read of this consistency must see. `read` is
    /// called on the view's own thread with what the view has, and may be called again where its store failed.
    ///
    /// # Errors
    /// As [`Partition::offset_at`]; [`LogError::Invalid`] where the node keeps no such view of the topic.
    pub async fn read_view<T, F>(&self, view: &str, consistency: Consistency, read: F) -> Result<T, LogError>
    where
        T: Send + 'static,
        F: Fn(&ViewReader<'_>) -> Result<T, StoreError> + Clone + Send + Sync + 'static,
    {
        self.core.settle_read(consistency).await?;
        self.look(view, self.core.evolved.end(), read).await
    }

    async fn look<T, F>(&self, view: &str, upto: Offset, read: F) -> Result<T, LogError>
    where
        T: Send + 'static,
        F: Fn(&ViewReader<'_>) -> Result<T, StoreError> + Clone + Send + Sync + 'static,
    {
        let host = &self.core.host;
        host.views.read(view, &self.core.source(), upto, host.timing.read_timeout, read).await
    }
}

impl<W: World> Core<W> {
    /// Where what is kept of the log begins.
    fn beginning(&self) -> Result<Mark, LogError> {
        let Some(purged) = self.log.wal().purged() else { return Ok(Mark { index: 0, offset: 0 }) };
        let begins = self.evolved.installed().filter(|mark| mark.index == purged.index + 1);
        begins.ok_or_else(|| self.damaged(format!("the log begins behind entry {purged}, at an unknown offset")))
    }

    /// The first record below `end` with this time or a later one, by the headers of the batches from a place on, where
    /// everything before is earlier; else `end`.
    fn first_at(&self, time: Timestamp, from: Mark, end: Offset) -> Result<Offset, LogError> {
        let mut at = from;
        while at.offset < end {
            for placed in self.read_entries(at, CHUNK)? {
                at = placed.end();
                if placed.added > 0 && placed.batch.is_some_and(|batch| batch.time() >= time) {
                    return Ok(placed.base.min(end));
                }
                if at.offset >= end {
                    break;
                }
            }
        }
        Ok(end)
    }

    /// The records of the batch at a place that a view named. That there are none there is damage: the view fits the log.
    fn batch_at(&self, place: Place) -> Result<Vec<Record>, LogError> {
        let entry = self.read_range(Mark { index: place.index, offset: place.base }, place.index + 1, CHUNK)?;
        let batch = entry.into_iter().next().filter(|placed| placed.added > 0).and_then(|placed| placed.batch);
        let batch = batch.ok_or_else(|| self.damaged(format!("entry {} adds no records", place.index)))?;
        batch.decode(place.base).map_err(|error| self.damaged(error.to_string()))
    }
}
