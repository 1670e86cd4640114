//! Subscribing: what a partition holds, as it becomes readable here.
//!
//! Pull-based: what is not asked for is not read, so a slow subscriber pins nothing but its place (R67). What has left
//! memory comes from the segments, page by page.
use super::{Partition, PlacedBatch, fold::Mark, read::Page};
use crate::{error::LogError, record::Record, topic::Offset, world::World};
use futures::stream::{self, BoxStream, StreamExt};

/// How far a subscriber has come.
struct Place<W: World> {
    partition: Partition<W>,
    next: Offset,
    /// Where that lies in the Raft log, where it is known.
    at: Option<Mark>,
}

impl<W: World> Partition<W> {
    /// Records from `offset` on, in order, without gap or repeat, for as long as the stream is polled; each item holds at
    /// least one record and about `max_bytes`. Pull-based: what is not asked for is not read. Ends after its first error.
    ///
    /// An offset past the end waits until the partition has grown there.
    pub fn subscribe(&self, offset: Offset, max_bytes: u64) -> BoxStream<'static, Result<Vec<Record>, LogError>> {
        let place = Place { partition: self.clone(), next: offset, at: None };
        let records = stream::try_unfold(place, move |Place { partition, next, at }| async move {
            let end = partition.grown_past(next).await?;
            let page = Page::new(next, max_bytes, usize::MAX);
            let Page { records, resume, .. } = partition.core.read_evolved(page, at, end).await?;
            let next = next + records.len() as u64;
            Ok(Some((records, Place { partition, next, at: resume })))
        });
        records.boxed()
    }

    /// As [`Partition::subscribe`], but whole batches as the log has them, which costs next to nothing here. The first one
    /// may begin before `offset`.
    pub fn subscribe_batches(
        &self,
        offset: Offset,
        max_bytes: u64,
    ) -> BoxStream<'static, Result<Vec<PlacedBatch>, LogError>> {
        let place = Place { partition: self.clone(), next: offset, at: None };
        let batches = stream::try_unfold(place, move |Place { partition, next, at }| async move {
            let end = partition.grown_past(next).await?;
            let (batches, at) = partition.core.read_batches(next, at, end, max_bytes).await?;
            Ok(Some((batches, Place { partition, next: at.offset, at: Some(at) })))
        });
        batches.boxed()
    }

    /// Waits until the record at `offset` can be read; gives the evolved offset then.
    async fn grown_past(&self, offset: Offset) -> Result<Offset, LogError> {
        self.core.evolved.wait(|evolved| evolved.end() > offset || evolved.is_closed()).await;
        let end = self.core.evolved.end();
        if end > offset { Ok(end) } else { Err(LogError::Stopped(format!("{} has stopped", self.name()))) }
    }
}
