//! The header of a batch: everything the fold over a log looks at.
use super::{BatchError, KeyDigest, ProducerId, ProducerStamp};
use bytes::{Buf, BufMut};

/// Bytes of the part every header has.
const FIXED: usize = 16;
const VERSION: u8 = 1;
/// Stands for an offset that is not there.
const NONE: u64 = u64::MAX;

/// What a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Records.
    Records = 1,
    /// Changes of named cursors. They cost no offset.
    Cursors = 2,
    /// What the leader of a service decided: events, which are records as any other, and what goes with them. May have no event.
    Decided = 3,
}

/// Bytes of a [`DecidedHeader`].
const DECIDED: usize = 24;
/// Bytes of a [`SourceAdvance`](super::SourceAdvance).
const SOURCE: usize = 24;

/// What a decided batch states before its sources, its effects and its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecidedHeader {
    /// The term it was decided in. It counts in no other.
    pub term: u64,
    /// Its number among the decided batches of that term that count, from 0.
    pub sequence: u64,
    /// How many sources it advances.
    pub sources: u16,
    /// Bytes of its effects.
    pub effects: u32,
}

impl DecidedHeader {
    /// Bytes of what lies between the header and the events: sources and effects.
    pub fn prelude(&self) -> usize {
        SOURCE * usize::from(self.sources) + self.effects as usize
    }
}

/// The sections behind the fixed part, in this order, by the bits of its flags.
mod section {
    pub const EXPECTED_END: u16 = 1;
    pub const PRODUCER: u16 = 1 << 1;
    pub const EXPECTED_KEY: u16 = 1 << 2;
    pub const ALL: u16 = EXPECTED_END | PRODUCER | EXPECTED_KEY;
}

/// Where a key must have its last record for a batch to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyExpectation {
    /// Which key.
    pub key: KeyDigest,
    /// The offset of its last record; `None`: it has none.
    pub last: Option<u64>,
}

/// What must hold where a batch comes to stand, or it is void. Everything asked for must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The partition ends there.
    pub end: Option<u64>,
    /// The key has its last record there.
    pub key: Option<KeyExpectation>,
    /// It is the next one of its producer.
    pub producer: Option<ProducerStamp>,
}

impl Conditions {
    /// Bytes of a header that states them.
    pub fn header_len(&self) -> usize {
        let Conditions { end, key, producer } = self;
        FIXED + 8 * usize::from(end.is_some()) + 32 * usize::from(producer.is_some()) + 24 * usize::from(key.is_some())
    }

    fn flags(&self) -> u16 {
        let flag = |set: bool, flag: u16| if set { flag } else { 0 };
        flag(self.end.is_some(), section::EXPECTED_END)
            | flag(self.producer.is_some(), section::PRODUCER)
            | flag(self.key.is_some(), section::EXPECTED_KEY)
    }
}

/// See the module of batches for its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// What the batch holds.
    pub kind: Kind,
    /// Records, or changes of cursors.
    pub count: u32,
    /// Log time, microseconds since 1970.
    pub time: u64,
    /// What must hold for it to count.
    pub conditions: Conditions,
    /// There where the kind is [`Kind::Decided`], and nowhere else.
    pub decided: Option<DecidedHeader>,
}

impl BatchHeader {
    /// Bytes it takes.
    #[allow(clippy::len_without_is_empty, reason = "there is no header of no bytes")]
    pub fn len(&self) -> usize {
        self.conditions.header_len() + if self.decided.is_some() { DECIDED } else { 0 }
    }

    /// Writes it into the first [`BatchHeader::len`] bytes.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn encode(&self, mut into: &mut [u8]) {
        let Conditions { end, key, producer } = self.conditions;
        into.put_u8(VERSION);
        into.put_u8(self.kind as u8);
        into.put_u16_le(self.conditions.flags());
        into.put_u32_le(self.count);
        into.put_u64_le(self.time);
        if let Some(end) = end {
            into.put_u64_le(end);
        }
        if let Some(ProducerStamp { producer, epoch, sequence }) = producer {
            into.put_slice(&producer.0);
            into.put_u32_le(epoch);
            into.put_u32_le(0);
            into.put_u64_le(sequence);
        }
        if let Some(KeyExpectation { key, last }) = key {
            into.put_slice(&key.0);
            into.put_u64_le(last.unwrap_or(NONE));
        }
        if let Some(DecidedHeader { term, sequence, sources, effects }) = self.decided {
            into.put_u64_le(term);
            into.put_u64_le(sequence);
            into.put_u16_le(sources);
            into.put_u16_le(0);
            into.put_u32_le(effects);
        }
    }

    /// Reads it from the beginning of a batch.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let short = || BatchError::Short(bytes.len(), "batch header");
        let mut rest = bytes;
        if rest.len() < FIXED {
            return Err(short());
        }
        let (version, kind, flags) = (rest.get_u8(), rest.get_u8(), rest.get_u16_le());
        let unknown = BatchError::Unknown { version, kind, flags };
        let known = match kind {
            1 => Kind::Records,
            2 if flags == 0 => Kind::Cursors,
            3 if flags == 0 => Kind::Decided,
            _ => return Err(unknown),
        };
        if version != VERSION || flags & !section::ALL != 0 {
            return Err(unknown);
        }
        let count = rest.get_u32_le();
        if count == 0 && known != Kind::Decided {
            return Err(BatchError::Empty);
        }
        let time = rest.get_u64_le();
        let mut conditions = Conditions::default();
        if flags & section::EXPECTED_END != 0 {
            conditions.end = Some(rest.try_get_u64_le().map_err(|_| short())?);
        }
        if flags & section::PRODUCER != 0 {
            let section = rest.split_off(..32).ok_or_else(short)?;
            conditions.producer = Some(decode_producer(section)?);
        }
        if flags & section::EXPECTED_KEY != 0 {
            let mut section = rest.split_off(..24).ok_or_else(short)?;
            let mut key = KeyDigest::default();
            section.copy_to_slice(&mut key.0);
            conditions.key =
                Some(KeyExpectation { key, last: Some(section.get_u64_le()).filter(|&last| last != NONE) });
        }
        let decided = match known {
            Kind::Decided => Some(decode_decided(rest.split_off(..DECIDED).ok_or_else(short)?)?),
            Kind::Records | Kind::Cursors => None,
        };
        Ok(BatchHeader { kind: known, count, time, conditions, decided })
    }
}

fn decode_decided(mut section: &[u8]) -> Result<DecidedHeader, BatchError> {
    let (term, sequence) = (section.get_u64_le(), section.get_u64_le());
    let (sources, reserved) = (section.get_u16_le(), section.get_u16_le());
    if reserved != 0 {
        return Err(BatchError::ReservedHeader);
    }
    Ok(DecidedHeader { term, sequence, sources, effects: section.get_u32_le() })
}

fn decode_producer(mut section: &[u8]) -> Result<ProducerStamp, BatchError> {
    let mut producer = ProducerId::default();
    section.copy_to_slice(&mut producer.0);
    let epoch = section.get_u32_le();
    if section.get_u32_le() != 0 {
        return Err(BatchError::ReservedHeader);
    }
    Ok(ProducerStamp { producer, epoch, sequence: section.get_u64_le() })
}
