//! A partition as far as producers and conditions go: what nodes promise of one, in a few lines.
use corduroy_proto::v1::{self, append_request::Expect};
use std::collections::HashMap;

#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// Values, by offset.
    pub(crate) log: Vec<String>,
    producers: HashMap<Vec<u8>, Session>,
}

#[derive(Debug, Default)]
struct Session {
    epoch: u32,
    next: u64,
    /// Offsets of appends, by the number of their first record.
    appended: HashMap<u64, u64>,
}

/// The reason of a refusal, and what there was instead.
pub(crate) type Refused = (&'static str, Option<u64>);

impl Partition {
    /// The offset of the first record.
    pub(crate) fn take(&mut self, append: &v1::AppendRequest) -> Result<u64, Refused> {
        if let Some(stamp) = &append.producer {
            let session = self.producers.entry(stamp.id.to_vec()).or_default();
            if stamp.epoch < session.epoch {
                return Err(("PRODUCER_FENCED", Some(session.epoch.into())));
            }
            let next = if stamp.epoch > session.epoch { 0 } else { session.next };
            if stamp.sequence > next {
                return Err(("OUT_OF_SEQUENCE", Some(next)));
            }
            if stamp.sequence < next {
                return session.appended.get(&stamp.sequence).copied().ok_or(("ALREADY_APPENDED", None));
            }
        }
        let offset = self.log.len() as u64;
        match &append.expect {
            Some(Expect::ExpectedOffset(expected)) if *expected != offset => {
                return Err(("OFFSET_MISMATCH", Some(offset)));
            }
            _ => {}
        }
        self.log.extend(append.records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()));
        if let Some(stamp) = &append.producer {
            let session = self.producers.entry(stamp.id.to_vec()).or_default();
            if stamp.epoch > session.epoch {
                *session = Session { epoch: stamp.epoch, ..Session::default() };
            }
            session.next += append.records.len() as u64;
            session.appended.insert(stamp.sequence, offset);
        }
        Ok(offset)
    }

    /// As after a day without appends.
    pub(crate) fn forget_producers(&mut self) {
        self.producers.clear();
    }
}
