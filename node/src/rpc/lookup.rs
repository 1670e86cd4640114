//! Reading by time and by key.
use super::{
    convert,
    log::{LARGEST_PAGE, PAGE},
};
use crate::{observe::Metrics, world::Partition};
use corduroy_log::{LogError, world::Timestamp};
use corduroy_proto::v1;

/// Where a time begins.
pub(super) async fn offset_for_time(
    partition: &Partition,
    request: v1::OffsetForTimeRequest,
) -> Result<v1::OffsetForTimeResponse, LogError> {
    let time = request.time.ok_or_else(|| LogError::Invalid("the request names no time".into()))?;
    let consistency = convert::consistency(request.consistency, request.session_offset);
    let found = partition.offset_at(microseconds(&time), consistency).await?;
    Ok(v1::OffsetForTimeResponse { offset: found.offset, end_offset: found.end })
}

/// A page of a key's records.
pub(super) async fn read_key(
    partition: &Partition,
    request: v1::ReadKeyRequest,
    metrics: &Metrics,
) -> Result<v1::ReadKeyResponse, LogError> {
    let max_bytes = request.max_bytes.unwrap_or(PAGE).min(LARGEST_PAGE);
    let max_records = request.max_records.unwrap_or(u32::MAX);
    let consistency = convert::consistency(request.consistency, request.session_offset);
    let page = partition.read_key(&request.key, request.offset, max_bytes, max_records, consistency).await?;
    let (records, bytes) = convert::stored_records(page.records);
    metrics.sent(records.len() as u64, bytes);
    Ok(v1::ReadKeyResponse { records, next_offset: page.next, end_offset: page.end })
}

/// The first microsecond at or after a time: log times are whole ones. What is before 1970 is before all records.
fn microseconds(time: &prost_types::Timestamp) -> Timestamp {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    let nanos = if time.seconds < 0 { 0 } else { u64::try_from(time.nanos).unwrap_or(0) };
    Timestamp(seconds.saturating_mul(1_000_000).saturating_add(nanos.div_ceil(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_between_two_microseconds_begins_with_the_later_one() {
        let at = |seconds, nanos| microseconds(&prost_types::Timestamp { seconds, nanos }).0;
        assert_eq!(at(2, 5000), 2_000_005);
        assert_eq!(at(2, 5001), 2_000_006);
        assert_eq!(at(2, 999_999_999), 3_000_000);
        assert_eq!((at(-1, 999_999_999), at(0, 0), at(i64::MAX, 0)), (0, 0, u64::MAX));
    }
}
