//! Reading facts back from the log of a partition, where somebody knows at which offsets they are.
use corduroy_log::{Consistency, LogError, Partition, world::World};
use corduroy_proto::runtime as pb;

/// Events of one answer.
const MOST: usize = 10_000;
/// Bytes of the log that are read at once, and all in all before the answer is complete enough.
const READ: u64 = 64 << 10;
const ALL: u64 = 16 << 20;
/// Records that are read at once.
const RECORDS: u32 = 1024;

/// The events at these offsets, which are in order; fewer, where they are many or some are not there yet.
pub(super) async fn at<W: World>(
    partition: &Partition<W>,
    offsets: &[u64],
    consistency: Consistency,
) -> Result<pb::QueryAnswer, LogError> {
    let (_, end) = partition.offsets(consistency).await?;
    let mut answer = pb::QueryAnswer { end, time: partition.log_time().0, ..pb::QueryAnswer::default() };
    let mut wanted = offsets.iter().copied().filter(|offset| *offset < end).take(MOST).peekable();
    let mut read = 0;
    while let Some(first) = wanted.peek().copied().filter(|_| read < ALL) {
        // Events of one customer are often close together.
        let records = partition.read(first, READ, RECORDS, Consistency::Stale).await?.records;
        for record in &records {
            read += record.value.len() as u64;
            while wanted.next_if(|offset| *offset < record.offset).is_some() {}
            if wanted.next_if_eq(&record.offset).is_some() {
                let (offset, time, event) = (record.offset, record.time.0, record.value.clone());
                answer.events.push(pb::StoredEvent { offset, time, event });
            }
        }
        if records.is_empty() {
            break;
        }
    }
    Ok(answer)
}
