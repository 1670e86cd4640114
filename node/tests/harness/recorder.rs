//! Everything clients did and saw, with times.
use corduroy_client::{Appended, Error, Record, StoredRecord};
use corduroy_tests::checker::{
    Append, Consistency, Entry, History, Moment, Outcome, Read, RecordId, SessionId, ValueHash,
};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// Gives out ids and sessions, keeps the clock, and writes everything down. Shared by all clients of a run.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    next_id: AtomicU64,
    next_session: AtomicU32,
    /// Acknowledged records, by partition.
    acked: Vec<AtomicU64>,
    reads: AtomicU64,
    history: Mutex<History>,
}

/// One record of the load, before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    id: RecordId,
    value: ValueHash,
}

impl Recorder {
    /// Nothing has happened yet.
    pub fn new(partitions: u32) -> Self {
        Recorder {
            began: Instant::now(),
            next_id: AtomicU64::new(1),
            next_session: AtomicU32::new(0),
            acked: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            reads: AtomicU64::new(0),
            history: Mutex::default(),
        }
    }

    /// Now, on the clock of the run.
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_nanos()).expect("a run lasts less than 500 years"))
    }

    /// A new session.
    pub fn session(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// A record with an id nobody else has. Every few records have a key, a header, or a payload of some length, so
    /// that these are compared as well.
    pub fn record(&self, session: SessionId) -> (Record, Sent) {
        let bytes = self.next_id.load(Ordering::Relaxed) * 37 % 601;
        self.record_of(session, usize::try_from(bytes).expect("below 601"))
    }

    /// As [`Recorder::record`], with a payload of about `bytes`.
    pub fn record_of(&self, session: SessionId, bytes: usize) -> (Record, Sent) {
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        let filler = "x".repeat(bytes);
        let mut record = Record::new(format!("{number} {filler}"));
        if number.is_multiple_of(3) {
            record = record.with_key(format!("customer-{}", number % 17));
        }
        if number.is_multiple_of(5) {
            record = record.with_header("session", session.0.to_string()).with_header("empty", "");
        }
        let headers = record.headers.iter().map(|header| (header.name.as_str(), &header.value[..]));
        let value = ValueHash::of(record.key.as_deref(), headers, &record.value);
        let id = RecordId::new(number).expect("numbers begin at 1");
        (record, Sent { id, value })
    }

    /// How one request ended. Its records share start and end.
    pub fn appended(&self, session: SessionId, sent: &[Sent], start: Moment, answer: &Result<Appended, Error>) {
        let end = self.now();
        let mut history = self.history();
        for (sent, index) in sent.iter().zip(0..) {
            let outcome = match answer {
                Ok(ack) => Outcome::Acked { partition: ack.partition, offset: ack.first_offset + index },
                // The client promises that nothing was appended after every other error.
                Err(Error::UnknownOutcome(_)) => Outcome::Unknown,
                Err(_) => Outcome::Refused,
            };
            history.appends.push(Append { session, id: sent.id, value: sent.value, start, end, outcome });
        }
        if let Ok(ack) = answer {
            self.acked[ack.partition as usize].fetch_add(u64::from(ack.count), Ordering::Relaxed);
        }
    }

    /// One answered read.
    pub fn read(
        &self,
        session: SessionId,
        partition: u32,
        start: Moment,
        consistency: Consistency,
        records: &[StoredRecord],
        end_offset: u64,
    ) {
        let records = records.iter().map(entry).collect();
        let read = Read { session, start, end: self.now(), partition, consistency, records, end_offset };
        self.history().reads.push(read);
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Acknowledged records so far, of each partition.
    pub fn acked(&self) -> Vec<u64> {
        self.acked.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// The longest time in which each partition acknowledged nothing, from a moment on until now.
    pub fn gaps(&self, since: Moment) -> Vec<Duration> {
        let history = self.history();
        let longest = |partition: u32| {
            let acked = |append: &&Append| {
                matches!(append.outcome, Outcome::Acked { partition: of, .. } if of == partition) && append.end > since
            };
            let mut times: Vec<Moment> = history.appends.iter().filter(acked).map(|append| append.end).collect();
            times.extend([since, self.now()]);
            times.sort();
            times.windows(2).map(|pair| Duration::from_nanos(pair[1].0 - pair[0].0)).max().unwrap_or_default()
        };
        (0..self.acked.len() as u32).map(longest).collect()
    }

    /// Answered reads so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// What was written down so far; leaves nothing behind.
    pub fn take(&self) -> History {
        std::mem::take(&mut self.history())
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record as a client got it, as the checker wants it.
pub fn entry(record: &StoredRecord) -> Entry {
    let headers = record.headers.iter().map(|header| (header.name.as_str(), &header.value[..]));
    let value = ValueHash::of(record.key.as_deref(), headers, &record.value);
    let since = record.time.duration_since(SystemTime::UNIX_EPOCH).expect("log time is after 1970");
    let time = u64::try_from(since.as_micros()).expect("log time fits for 500 000 years");
    Entry { offset: record.offset, id: id_in(&record.value), value, time }
}

/// The id a payload of the load begins with.
pub fn id_in(payload: &[u8]) -> Option<RecordId> {
    let number = payload.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(number).ok()?.parse().ok().and_then(RecordId::new)
}
