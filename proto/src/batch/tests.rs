//! The layout, by itself. Its golden bytes are those of `corduroy_log::batch`, which encodes.
use super::*;
use bytes::BufMut as _;

fn sample() -> Vec<Record> {
    vec![
        Record::new("value").with_key("k").with_header("trace", "\u{1}\u{2}"),
        Record::new(Bytes::new()).with_key(Bytes::new()),
        Record::new("last"),
    ]
}

fn sealed(records: &[Record], conditions: Conditions) -> Batch {
    let header = BatchHeader { kind: Kind::Records, count: records.len() as u32, time: 7, conditions, decided: None };
    let mut buffer = BytesMut::zeroed(header.len());
    records.iter().for_each(|record| put_record(&mut buffer, record));
    Batch::seal(header, buffer)
}

fn read(batch: &Batch) -> Result<Vec<Record>, BatchError> {
    batch.records().collect()
}

#[test]
fn records_are_read_back_from_behind_any_conditions() {
    let stamp = ProducerStamp { producer: ProducerId([1; 16]), epoch: 2, sequence: 3 };
    let key = KeyExpectation { key: KeyDigest([4; 16]), last: Some(5) };
    for conditions in [
        Conditions::default(),
        Conditions { end: Some(6), ..Conditions::default() },
        Conditions { producer: Some(stamp), ..Conditions::default() },
        Conditions { end: Some(6), key: Some(key), producer: Some(stamp) },
    ] {
        let batch = sealed(&sample(), conditions);
        let found = Batch::verify(batch.bytes().clone(), batch.crc()).expect("it was sealed");
        assert_eq!(read(&found), Ok(sample()));
        assert_eq!((found.header().conditions, found.header().time, found.count()), (conditions, 7, 3));
    }
}

#[test]
fn a_record_takes_as_many_bytes_as_its_length_says() {
    for record in sample() {
        let mut buffer = BytesMut::new();
        put_record(&mut buffer, &record);
        assert_eq!(buffer.len() as u64, record_len(&record));
    }
}

#[test]
fn records_that_are_cut_anywhere_end_with_one_error() {
    let batch = sealed(&sample(), Conditions::default());
    for len in 16..batch.bytes().len() {
        let cut = Batch::from_verified(batch.bytes().slice(..len), 0).expect("the header is whole");
        let mut records = cut.records();
        let errors = records.by_ref().filter(Result::is_err).count();
        assert_eq!((errors, records.next(), records.remaining()), (1, None, 0), "{len} bytes");
    }
}

#[test]
fn bytes_behind_the_last_record_are_not_passed_over() {
    let mut bytes = BytesMut::from(&sealed(&sample(), Conditions::default()).bytes()[..]);
    bytes.put_u8(0);
    let batch = Batch::from_verified(bytes.freeze(), 0).expect("the header is whole");
    assert_eq!(read(&batch), Err(BatchError::Trailing(1)));
}

#[test]
fn a_count_without_records_reserves_nothing() {
    let header =
        BatchHeader { kind: Kind::Records, count: u32::MAX, time: 7, conditions: Conditions::default(), decided: None };
    let batch = Batch::seal(header, BytesMut::zeroed(16));
    assert_eq!(batch.records().size_hint().0, 0);
    assert!(matches!(read(&batch), Err(BatchError::Short(..))));
}

#[test]
fn changes_of_cursors_are_no_records() {
    let header =
        BatchHeader { kind: Kind::Cursors, count: 1, time: 7, conditions: Conditions::default(), decided: None };
    let batch = Batch::seal(header, BytesMut::zeroed(16 + 25));
    assert_eq!((batch.count(), read(&batch)), (0, Ok(Vec::new())));
}

#[test]
fn producers_are_written_as_uuids() {
    let mut id = [0; 16];
    (0..).zip(&mut id).for_each(|(number, byte)| *byte = number * 0x11);
    assert_eq!(ProducerId(id).to_string(), "00112233-4455-6677-8899-aabbccddeeff");
}
