use super::*;
use proptest::prelude::*;

fn sample() -> Vec<NewRecord> {
    let header = Header { name: "trace".into(), value: Bytes::from_static(b"\x01\x02") };
    vec![
        NewRecord { key: Some(Bytes::from_static(b"k")), headers: vec![header], value: Bytes::from_static(b"value") },
        NewRecord::new(Bytes::new()).with_key(Bytes::new()),
        NewRecord::new("last"),
    ]
}

fn sealed(records: &[NewRecord]) -> Batch {
    seal([EncodedRecords::encode(records, &Limits::default()).unwrap()], Timestamp(7), None)
}

#[test]
fn golden_bytes_of_a_batch() {
    let hex: String = sealed(&sample()).bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "01010000",
        "03000000",
        "0700000000000000",
        "ffffffffffffffff",
        "05000000010000000100000",
        "0",
        "6b",
        "050002000000",
        "7472616365",
        "0102",
        "76616c7565",
        "00000000000000000000",
        "0000",
        "04000000ffffffff00000000",
        "6c617374",
    );
    assert_eq!(hex, expected);
}

#[test]
fn decoding_gives_back_what_was_encoded() {
    let batch = sealed(&sample());
    let records = batch.decode(40).unwrap();
    assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), [40, 41, 42]);
    for (record, new) in records.iter().zip(sample()) {
        assert_eq!((&record.key, &record.headers, &record.value), (&new.key, &new.headers, &new.value));
    }
}

#[test]
fn joined_requests_keep_their_order() {
    let encode = |text: &'static str| EncodedRecords::encode(&[NewRecord::new(text)], &Limits::default()).unwrap();
    let batch = seal([encode("a"), encode("b"), encode("c")], Timestamp(1), None);
    let values: Vec<_> = batch.decode(0).unwrap().into_iter().map(|r| r.value).collect();
    assert_eq!(values, ["a", "b", "c"]);
}

#[test]
fn a_batch_that_expects_an_end_counts_only_there_and_says_so_in_its_bytes() {
    let records = EncodedRecords::encode(&sample(), &Limits::default()).unwrap();
    let batch = seal([records], Timestamp(7), Some(40));
    let read = Batch::verify(batch.bytes().clone(), batch.crc()).unwrap();
    assert_eq!((read.added(39), read.added(40), read.added(41)), (0, 3, 0));
    assert_eq!(sealed(&sample()).added(39), 3);
}

#[test]
fn a_batch_of_a_later_version_is_not_skipped() {
    let mut bytes = sealed(&sample()).bytes().to_vec();
    bytes[0] = 2;
    let crc = crc32c::crc32c(&bytes);
    assert!(matches!(Batch::verify(bytes.into(), crc), Err(BatchError::Unknown { version: 2, .. })));
}

#[test]
fn limits_are_named() {
    let limits = Limits { record_bytes: 4, batch_bytes: 60, ..Limits::default() };
    let error = EncodedRecords::encode(&[NewRecord::new("12345")], &limits).unwrap_err();
    assert_eq!(error, LogError::RecordTooLarge { index: 0, size: 5, limit: 4 });
    let error = EncodedRecords::encode(&vec![NewRecord::new("1234"); 3], &limits).unwrap_err();
    assert_eq!(error, LogError::BatchTooLarge { size: 72, limit: 60 });
    assert!(matches!(EncodedRecords::encode(&[], &limits), Err(LogError::Invalid(_))));
}

#[test]
fn reserved_bits_of_a_record_are_not_passed_over() {
    let mut bytes = sealed(&sample()).bytes().to_vec();
    bytes[HEADER + 10] = 1;
    let crc = crc32c::crc32c(&bytes);
    let decoded = Batch::verify(bytes.into(), crc).unwrap().decode(0);
    assert_eq!(decoded.unwrap_err(), BatchError::Reserved(0));
}

proptest! {
    #[test]
    fn any_flipped_bit_is_noticed(position in 0usize..84, bit in 0u8..8) {
        let batch = sealed(&sample());
        let mut bytes = batch.bytes().to_vec();
        prop_assume!(position < bytes.len());
        bytes[position] ^= 1 << bit;
        let found = matches!(Batch::verify(bytes.into(), batch.crc()), Err(BatchError::Checksum { .. }));
        prop_assert!(found);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), valid: bool) {
        if valid && bytes.len() >= HEADER {
            bytes[..4].copy_from_slice(&[1, 1, 0, 0]);
        }
        let crc = crc32c::crc32c(&bytes);
        if let Ok(batch) = Batch::verify(bytes.into(), crc) {
            let _ = batch.decode(0);
        }
    }
}
