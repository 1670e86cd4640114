use super::*;
use crate::{
    producer::{KeyDigest, ProducerId, ProducerStamp},
    record::Header,
    topic::PartitionId,
};

/// Bytes of a header that states no condition.
const FIXED: usize = 16;

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
    seal([EncodedRecords::encode(records, Conditions::default(), &Limits::default()).unwrap()], Timestamp(7))
}

#[test]
fn golden_bytes_of_a_batch() {
    let hex: String = sealed(&sample()).bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "01010000",
        "03000000",
        "0700000000000000",
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
    let encode = |text: &'static str| {
        EncodedRecords::encode(&[NewRecord::new(text)], Conditions::default(), &Limits::default()).unwrap()
    };
    let batch = seal([encode("a"), encode("b"), encode("c")], Timestamp(1));
    let values: Vec<_> = batch.decode(0).unwrap().into_iter().map(|r| r.value).collect();
    assert_eq!(values, ["a", "b", "c"]);
}

#[test]
fn a_batch_that_expects_an_end_counts_only_there_and_says_so_in_its_bytes() {
    let conditions = Conditions { end: Some(40), ..Conditions::default() };
    let records = EncodedRecords::encode(&sample(), conditions, &Limits::default()).unwrap();
    let batch = seal([records], Timestamp(7));
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

fn conditional() -> Conditions {
    Conditions {
        end: Some(40),
        producer: Some(ProducerStamp { producer: ProducerId([0xab; 16]), epoch: 2, sequence: 9 }),
        key: Some(KeyExpectation { key: KeyDigest([0xcd; 16]), last: None }),
    }
}

#[test]
fn golden_bytes_of_conditions() {
    let records = EncodedRecords::encode(&[NewRecord::new("v")], conditional(), &Limits::default()).unwrap();
    let batch = seal([records], Timestamp(7));
    let hex: String = batch.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "01010700",
        "01000000",
        "0700000000000000",
        "2800000000000000",
        "abababababababababababababababab",
        "0200000000000000",
        "0900000000000000",
        "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
        "ffffffffffffffff",
        "01000000ffffffff00000000",
        "76",
    );
    assert_eq!(hex, expected);
    let read = Batch::verify(batch.bytes().clone(), batch.crc()).unwrap();
    assert_eq!(read.conditions(), &conditional());
    assert_eq!(read.decode(40).unwrap(), batch.decode(40).unwrap());
}

#[test]
fn a_header_that_is_cut_or_has_reserved_bits_is_none() {
    let records = EncodedRecords::encode(&[NewRecord::new("v")], conditional(), &Limits::default()).unwrap();
    let bytes = seal([records], Timestamp(7)).bytes().to_vec();
    let decoded = |bytes: &[u8]| Batch::verify(Bytes::copy_from_slice(bytes), crc32c::crc32c(bytes));
    for len in 0..conditional().header_len() {
        assert!(matches!(decoded(&bytes[..len]), Err(BatchError::Short(..))), "{len}");
    }
    let mut reserved = bytes.clone();
    reserved[16 + 8 + 16 + 4] = 1;
    assert_eq!(decoded(&reserved).unwrap_err(), BatchError::ReservedHeader);
    let mut later = bytes;
    later[2] = 1 << 3;
    assert!(matches!(decoded(&later), Err(BatchError::Unknown { flags: 8, .. })));
}

#[test]
fn changes_of_cursors_are_read_back_and_are_no_records() {
    let changes = [
        CursorChange::Commit { name: "mail".into(), offset: 7, fence: 3 },
        CursorChange::Acquire { name: "über".into() },
        CursorChange::Delete { name: "x".into() },
    ];
    let batch = seal_cursors(&changes, Timestamp(7));
    let hex: String = batch.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "01020000",
        "03000000",
        "0700000000000000",
        "01000400000000000700000000000000",
        "0300000000000000",
        "6d61696c",
        "02000500000000000000000000000000",
        "0000000000000000",
        "c3bc626572",
        "03000100000000000000000000000000",
        "0000000000000000",
        "78",
    );
    assert_eq!(hex, expected);
    let read = Batch::verify(batch.bytes().clone(), batch.crc()).unwrap();
    assert_eq!(read.cursor_changes().unwrap(), changes);
    assert_eq!((read.records(), read.added(0), read.decode(0).unwrap()), (0, 0, Vec::new()));
    let mut unknown = batch.bytes().to_vec();
    unknown[16] = 4;
    let crc = crc32c::crc32c(&unknown);
    let found = Batch::verify(unknown.into(), crc).unwrap().cursor_changes();
    assert_eq!(found.unwrap_err(), BatchError::Cursor(0, "of an unknown kind"));
}

#[test]
fn requests_join_where_the_conditions_of_the_second_follow_from_the_first() {
    let encode = |records: usize, conditions| {
        EncodedRecords::encode(&vec![NewRecord::new("v"); records], conditions, &Limits::default()).unwrap()
    };
    let stamp = |sequence| ProducerStamp { producer: ProducerId([1; 16]), epoch: 0, sequence };
    let of = |sequence| Conditions { producer: Some(stamp(sequence)), ..Conditions::default() };
    assert_eq!(encode(3, Conditions::default()).joined_by(), Some(Conditions::default()));
    assert_eq!(encode(3, of(4)).joined_by(), Some(of(7)));
    assert_eq!(encode(3, conditional()).joined_by(), None);
    assert_eq!(encode(3, of(u64::MAX - 1)).joined_by(), None);
    let joined = seal([encode(3, of(4)), encode(2, of(7))], Timestamp(1));
    assert_eq!((joined.records(), joined.conditions()), (5, &of(4)));
    assert_eq!(joined.decode(0).unwrap().len(), 5);
}

#[test]
fn the_keys_of_a_batch_are_those_of_its_records() {
    let batch = sealed(&sample());
    assert_eq!(batch.keys().collect::<Vec<_>>(), [(0, &b"k"[..]), (1, &b""[..])]);
}

#[test]
fn limits_are_named() {
    let limits = Limits { record_bytes: 4, batch_bytes: 60, ..Limits::default() };
    let error = EncodedRecords::encode(&[NewRecord::new("12345")], Conditions::default(), &limits).unwrap_err();
    assert_eq!(error, LogError::RecordTooLarge { index: 0, size: 5, limit: 4 });
    let error = EncodedRecords::encode(&vec![NewRecord::new("1234"); 3], Conditions::default(), &limits).unwrap_err();
    assert_eq!(error, LogError::BatchTooLarge { size: 64, limit: 60 });
    assert!(matches!(EncodedRecords::encode(&[], Conditions::default(), &limits), Err(LogError::Invalid(_))));
}

#[test]
fn reserved_bits_of_a_record_are_not_passed_over() {
    let mut bytes = sealed(&sample()).bytes().to_vec();
    bytes[FIXED + 10] = 1;
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
        if valid && bytes.len() >= FIXED {
            bytes[..4].copy_from_slice(&[1, 1, 0, 0]);
        }
        let crc = crc32c::crc32c(&bytes);
        if let Ok(batch) = Batch::verify(bytes.into(), crc) {
            let _ = batch.decode(0);
        }
    }
}

fn decided() -> DecidedBatch {
    DecidedBatch {
        term: 5,
        sequence: 6,
        time: Timestamp(7),
        sources: [(PartitionId::new(3, 1), 2..9), (PartitionId::new(3, 4), 0..1)].into(),
        effects: Bytes::from_static(b"effects"),
        events: vec![NewRecord::new("paid").with_key("k"), NewRecord::new("held")],
    }
}

#[test]
fn golden_bytes_of_a_decided_batch() {
    let hex: String = decided().seal(&Limits::default()).unwrap().bytes().iter().map(|b| format!("{b:02x}")).collect();
    let expected = concat!(
        "01030000",
        "02000000",
        "0700000000000000",
        "0500000000000000",
        "0600000000000000",
        "0200",
        "0000",
        "07000000",
        "0100000003000000",
        "0200000000000000",
        "0900000000000000",
        "0400000003000000",
        "0000000000000000",
        "0100000000000000",
        "65666665637473",
        "040000000100000000000000",
        "6b",
        "70616964",
        "04000000ffffffff00000000",
        "68656c64",
    );
    assert_eq!(hex, expected);
}

#[test]
fn what_was_decided_is_read_back() {
    for batch in
        [decided(), DecidedBatch { events: Vec::new(), ..decided() }, DecidedBatch { term: 1, ..Default::default() }]
    {
        let sealed = batch.seal(&Limits::default()).unwrap();
        let found = Batch::verify(sealed.bytes().clone(), sealed.crc()).unwrap();
        let header = found.decided().unwrap();
        assert_eq!((header.term, header.sequence, found.time()), (batch.term, batch.sequence, batch.time));
        assert_eq!((found.sources().collect(), found.effects()), (batch.sources, batch.effects));
        let events = found.decode(40).unwrap().into_iter().map(|event| (event.offset, event.key, event.value));
        let expected = (40..).zip(batch.events).map(|(offset, event)| (offset, event.key, event.value));
        assert!(events.eq(expected));
        assert_eq!((found.cursor_changes(), found.records()), (Ok(Vec::new()), header_count(&found)));
    }
    let keys: Vec<_> = decided().seal(&Limits::default()).unwrap().keys().map(|(at, key)| (at, key.to_vec())).collect();
    assert_eq!(keys, [(0, b"k".to_vec())]);
}

fn header_count(batch: &Batch) -> u32 {
    u32::from_le_bytes(batch.bytes()[4..8].try_into().unwrap())
}

#[test]
fn a_decided_batch_that_is_cut_anywhere_is_an_error() {
    let sealed = decided().seal(&Limits::default()).unwrap();
    for len in 0..sealed.bytes().len() {
        let read = Batch::from_verified(sealed.bytes().slice(..len), 0).and_then(|batch| batch.decode(0));
        assert!(read.is_err(), "{len} bytes");
    }
    let mut bytes = sealed.bytes().to_vec();
    bytes[34] = 1;
    assert_eq!(Batch::from_verified(bytes.into(), 0), Err(BatchError::ReservedHeader));
}

#[test]
fn what_is_too_large_to_be_decided_is_refused() {
    let limits = Limits { batch_bytes: 200, record_bytes: 100, ..Limits::default() };
    let large = DecidedBatch { effects: vec![0; 200].into(), ..decided() };
    assert!(matches!(large.seal(&limits), Err(LogError::BatchTooLarge { limit: 200, .. })));
    let event = DecidedBatch { events: vec![NewRecord::new(vec![0; 101])], ..DecidedBatch::default() };
    assert!(matches!(event.seal(&limits), Err(LogError::RecordTooLarge { .. })));
    let many = DecidedBatch {
        sources: (0..65_536).map(|partition| (PartitionId(partition), 0..1)).collect(),
        ..DecidedBatch::default()
    };
    assert!(matches!(many.seal(&Limits::default()), Err(LogError::Invalid(_))));
}
