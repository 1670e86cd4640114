//! Subscribing: the records of a partition as they become readable here.
use super::{Partition, read::Page};
use crate::{error::LogError, record::Record, topic::Offset, world::World};
use futures::stream::{self, BoxStream, StreamExt};

impl<W: World> Partition<W> {
    /// Records from `offset` on, in order, without gap or repeat, for as long as the stream is polled; each item holds at
    /// least one record and about `max_bytes`. Pull-based: what is not asked for is not read. Ends after its first error.
    ///
    /// An offset past the end waits until the partition has grown there.
    pub fn subscribe(&self, offset: Offset, max_bytes: u64) -> BoxStream<'static, Result<Vec<Record>, LogError>> {
        let state = Some((self.clone(), offset, None));
        stream::unfold(state, move |state| async move {
            let (partition, offset, from) = state?;
            partition.core.evolved.wait(|evolved| evolved.end() > offset || evolved.is_closed()).await;
            let end = partition.core.evolved.end();
            if end <= offset {
                return Some((Err(LogError::Stopped(format!("{} has stopped", partition.name()))), None));
            }
            let page = Page::new(offset, max_bytes, usize::MAX);
            match partition.core.read_evolved(page, from, end) {
                Ok(Page { records, resume, .. }) => {
                    let next = offset + records.len() as u64;
                    Some((Ok(records), Some((partition, next, resume))))
                }
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}
