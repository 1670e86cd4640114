//! Partitions of a topic as one stream of records: of each in order, and of all as they come.
use super::position::Position;
use corduroy_log::{LogError, RealLog, Record, Subscription, world::RealWorld};
use futures::{
    StreamExt as _, future,
    stream::{self, BoxStream},
};
use std::collections::VecDeque;

/// Records as they come, each with its partition.
pub(super) type Records = BoxStream<'static, Result<(u32, Record), LogError>>;

/// The records of these partitions from a position on, each with the partition it is of. Only what is committed comes; what nobody
/// takes is not read. Ends with the first error, and when the node stops.
///
/// # Errors
/// There is no such topic, or partition.
pub(super) fn follow(log: &RealLog, topic: &str, partitions: &[u32], from: &Position) -> Result<Records, LogError> {
    let mut streams = Vec::new();
    for partition in partitions {
        streams.push(one(log, topic, *partition, from.next(*partition))?);
    }
    let until_failed = |failed: &mut bool, next: Result<(u32, Record), LogError>| {
        let told = (!*failed).then_some(next);
        *failed |= told.as_ref().is_some_and(Result::is_err);
        future::ready(told)
    };
    Ok(stream::select_all(streams).scan(false, until_failed).boxed())
}

fn one(log: &RealLog, topic: &str, partition: u32, from: u64) -> Result<Records, LogError> {
    let subscription = log.subscribe(topic, partition, from)?;
    let begin = (Some(subscription), from, VecDeque::new());
    let next = move |(subscription, mut from, mut read): (Option<Subscription<RealWorld>>, _, VecDeque<_>)| async move {
        let mut subscription = subscription?;
        loop {
            if let Some(record) = read.pop_front() {
                return Some((Ok((partition, record)), (Some(subscription), from, read)));
            }
            match subscription.next().await {
                Ok(batches) => {
                    for placed in batches {
                        match placed.records(from) {
                            Ok(records) => read.extend(records),
                            Err(error) => {
                                let error = LogError::Unavailable(format!("a batch at {}: {error}", placed.base));
                                return Some((Err(error), (None, from, read)));
                            }
                        }
                        from = from.max(placed.end());
                    }
                }
                Err(error) => return Some((Err(error), (None, from, read))),
            }
        }
    };
    Ok(stream::unfold(begin, next).boxed())
}
