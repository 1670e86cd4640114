//! Batches of records, as they come in from peers and disks.
use super::{array, number};
use crate::{
    batch::{Batch, EncodedRecords, seal, seal_cursors},
    cluster::{Map, facts},
    config::Limits,
    partition::fold::{Fold, FoldOptions},
    record::{Header, NewRecord, Record},
    topic::LogId,
    world::Timestamp,
};
use arbitrary::Unstructured;
use bytes::Bytes;

/// A batch: arbitrary bytes under a fitting checksum, or records of arbitrary content.
pub fn records(data: &[u8]) {
    let mut input = Unstructured::new(data);
    if number(&mut input, 2) == 0 { bytes(input.take_rest()) } else { content(&mut input) }
}

fn bytes(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let crc = crc32c::crc32c(&bytes);
    let Ok(batch) = Batch::verify(bytes.clone(), crc) else { return };
    // The facts of the cluster map are records, too: whatever they hold, folding them does not panic.
    if let Ok(facts) = facts(7, &batch) {
        let mut map = Map::default();
        facts.into_iter().for_each(|(offset, event)| map.evolve(offset, event));
    }
    fold(&batch);
    if let Ok(changes) = batch.cursor_changes()
        && !changes.is_empty()
    {
        assert_eq!(seal_cursors(&changes, batch.time()).bytes(), &bytes, "changes that decode have one form");
        return;
    }
    let Ok(decoded) = batch.decode(7) else { return };
    assert_eq!(decoded.len() as u64, u64::from(batch.records()), "as many records as the header says");
    if decoded.is_empty() {
        return;
    }
    let keys = decoded.iter().enumerate().filter_map(|(number, record)| Some((number as u64, record.key.as_deref()?)));
    assert!(batch.keys().eq(keys), "the keys are those of the records");
    let records = EncodedRecords::encode(&unplaced(&decoded), *batch.conditions(), &limits());
    let again = seal([records.expect("what decodes can be encoded")], batch.time());
    assert_eq!(again.bytes(), &bytes, "what decodes has one form");
}

/// Whatever a batch says, a partition takes it or finds it void, and finds it void the second time if it numbers its records.
fn fold(batch: &Batch) {
    let mut fold = Fold::new(FoldOptions { key_index: true });
    let first = fold.evolve(LogId { term: 1, index: 0 }, batch);
    let second = fold.evolve(LogId { term: 1, index: 1 }, batch);
    assert!(first.end >= first.base && second.base == first.end);
    if batch.conditions().producer.is_some() && batch.records() > 0 {
        assert_eq!(second.end, second.base, "records of a producer were taken twice");
    }
}

fn content(input: &mut Unstructured<'_>) {
    let time = Timestamp(u64::from_le_bytes(array(input)));
    let records: Vec<NewRecord> = (0..1 + number(input, 4)).map(|_| record(input)).collect();
    let batch = Batch::encode(&records, &limits(), time).expect("far below the limits");
    let verified = Batch::verify(batch.bytes().clone(), batch.crc()).expect("what was encoded");
    assert_eq!((verified.records() as usize, verified.time()), (records.len(), time));
    let decoded = verified.decode(7).expect("what was encoded decodes");
    assert_eq!(unplaced(&decoded), records);
    assert!(decoded.iter().zip(7..).all(|(record, offset)| record.offset == offset && record.time == time));

    let mut flipped = batch.bytes().to_vec();
    let at = number(input, flipped.len());
    flipped[at] ^= 1 << number(input, 8);
    assert!(Batch::verify(flipped.into(), batch.crc()).is_err(), "a bit of byte {at} was flipped, and nobody saw it");
}

fn record(input: &mut Unstructured<'_>) -> NewRecord {
    let mut record = NewRecord::new(blob(input));
    if number(input, 2) == 1 {
        record.key = Some(blob(input));
    }
    for _ in 0..number(input, 3) {
        let name = String::from_utf8_lossy(&blob(input)).into_owned();
        record.headers.push(Header { name, value: blob(input) });
    }
    record
}

fn blob(input: &mut Unstructured<'_>) -> Bytes {
    let len = number(input, 64);
    Bytes::copy_from_slice(input.bytes(len.min(input.len())).unwrap_or_default())
}

/// Records as they were before they had an offset.
fn unplaced(records: &[Record]) -> Vec<NewRecord> {
    let new = |record: &Record| {
        let mut new = NewRecord::new(record.value.clone());
        new.key.clone_from(&record.key);
        new.headers.clone_from(&record.headers);
        new
    };
    records.iter().map(new).collect()
}

/// So large that only the form matters.
fn limits() -> Limits {
    Limits { record_bytes: u64::MAX, batch_bytes: u64::MAX, ..Limits::default() }
}
