//! Values that say which record they are.
use bytes::Bytes;

/// Bytes of a value that are needed to say so.
pub(super) const LEAST: u32 = 12;

/// The value of record `number` of a lane, of `size` bytes and at least [`LEAST`].
pub(super) fn value_of(lane: u32, number: u64, size: u32) -> Bytes {
    let mut value = Vec::with_capacity(size.max(LEAST) as usize);
    value.extend_from_slice(&lane.to_be_bytes());
    value.extend_from_slice(&number.to_be_bytes());
    value.resize(size.max(LEAST) as usize, 0x2a);
    value.into()
}

/// The number in a value of this lane.
pub(super) fn number_of(lane: u32, value: &[u8]) -> Option<u64> {
    let (of, rest) = value.split_first_chunk::<4>()?;
    let (number, _) = rest.split_first_chunk::<8>()?;
    (u32::from_be_bytes(*of) == lane).then(|| u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_which_record_they_are() {
        assert_eq!(number_of(3, &value_of(3, 77, LEAST)), Some(77));
        assert_eq!(number_of(3, &value_of(3, 77, 128)), Some(77));
        assert_eq!(value_of(3, 77, 128).len(), 128);
        assert_eq!(number_of(2, &value_of(3, 77, 128)), None);
        assert_eq!(number_of(3, b"other"), None);
    }
}
