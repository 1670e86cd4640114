//! The state of a service's partition: the fold over its log. Pure; clones share memory.
use super::{
    aggregates::{Aggregates, hash_of},
    service::{At, Service},
};
use bytes::Bytes;
use corduroy_log::{FrozenTable, Table, world::Timestamp};
use corduroy_proto::runtime::{self as pb, step::Cause};
use imbl::{OrdMap, OrdSet, Vector};
use prost::Message;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// See the module.
///
/// **Invariant**: `hash` is the sum of the hashes of all timers, dead letters and parked inputs, whatever way they came here.
pub(crate) struct State<S: Service> {
    /// Encoded: so they are small, and equal states are equal bytes.
    aggregates: Aggregates,
    partition: S::Partition,
    /// The offset of the next event.
    end: u64,
    time: Timestamp,
    timers: OrdMap<u64, Arc<pb::Timer>>,
    due: OrdSet<(u64, u64)>,
    next_timer: u64,
    letters: OrdMap<u64, Arc<pb::DeadLetter>>,
    /// How many of them each key has.
    blocked: OrdMap<Arc<str>, u64>,
    next_letter: u64,
    parked: OrdMap<Arc<str>, Vector<Arc<pb::Input>>>,
    hash: u64,
}

impl<S: Service> Clone for State<S> {
    fn clone(&self) -> Self {
        State {
            aggregates: self.aggregates.clone(),
            partition: self.partition.clone(),
            end: self.end,
            time: self.time,
            timers: self.timers.clone(),
            due: self.due.clone(),
            next_timer: self.next_timer,
            letters: self.letters.clone(),
            blocked: self.blocked.clone(),
            next_letter: self.next_letter,
            parked: self.parked.clone(),
            hash: self.hash,
        }
    }
}

impl<S: Service> Default for State<S> {
    fn default() -> Self {
        State {
            aggregates: Aggregates::default(),
            partition: S::Partition::default(),
            end: 0,
            time: Timestamp::default(),
            timers: OrdMap::new(),
            due: OrdSet::new(),
            next_timer: 1,
            letters: OrdMap::new(),
            blocked: OrdMap::new(),
            next_letter: 1,
            parked: OrdMap::new(),
            hash: 0,
        }
    }
}

/// A state that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Damaged(pub String);

impl<S: Service> State<S> {
    /// The state of an aggregate.
    pub(crate) fn get(&self, key: &str) -> Option<S::State> {
        self.effective(key, self.aggregates.get(key).as_deref())
    }

    /// The state of a stored aggregate, one that an event has named, as [`State::scan`] has them.
    pub(crate) fn get_stored(&self, key: &str) -> Option<S::State> {
        self.effective(key, Some(&self.aggregates.get(key)?))
    }

    fn effective(&self, key: &str, encoded: Option<&[u8]>) -> Option<S::State> {
        // They were encoded here, or in a checkpoint: checked when they came from there, or, of its table, as they were written.
        let stored = encoded.map(|encoded| S::State::decode(encoded).expect("a state that was encoded"));
        match S::seeded(&self.partition, key, stored.as_ref()) {
            Some(seeded) => Some(seeded),
            None => stored,
        }
    }

    /// The stored aggregates whose keys begin so, behind a key, in order.
    pub(crate) fn scan(&self, prefix: &str, after: Option<&str>) -> impl Iterator<Item = (String, S::State)> {
        let after = after.filter(|after| *after > prefix);
        let found = self.aggregates.walk(after.unwrap_or(prefix));
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        let found = found.take_while(move |(key, _)| key.starts_with(&prefix));
        let found = found.filter(move |(key, _)| after.as_deref().is_none_or(|after| &**key > after));
        found.filter_map(|(key, row)| Some((key.to_string(), self.effective(&key, Some(&row))?)))
    }

    /// What the partition keeps.
    pub(crate) fn partition(&self) -> &S::Partition {
        &self.partition
    }

    /// The offset of the next event.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Log time of the last batch.
    pub(crate) fn time(&self) -> Timestamp {
        self.time
    }

    /// The first timer, if it is due by then.
    pub(crate) fn due(&self, by: Timestamp) -> Option<Arc<pb::Timer>> {
        let (due, id) = self.due.get_min()?;
        (*due <= by.0).then(|| self.timers.get(id).expect("what is due is there").clone())
    }

    /// When the first timer is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.due.get_min().map(|(due, _)| *due)
    }

    pub(crate) fn next_timer(&self) -> u64 {
        self.next_timer
    }

    pub(crate) fn timers(&self) -> impl Iterator<Item = &pb::Timer> {
        self.due.iter().filter_map(|(_, id)| self.timers.get(id)).map(|timer| &**timer)
    }

    pub(crate) fn letter(&self, id: u64) -> Option<&Arc<pb::DeadLetter>> {
        self.letters.get(&id)
    }

    pub(crate) fn next_letter(&self) -> u64 {
        self.next_letter
    }

    pub(crate) fn letters(&self) -> impl Iterator<Item = &pb::DeadLetter> {
        self.letters.values().map(|letter| &**letter)
    }

    pub(crate) fn parked(&self) -> impl Iterator<Item = (&str, &Vector<Arc<pb::Input>>)> {
        self.parked.iter().map(|(key, inputs)| (&**key, inputs))
    }

    /// Whether inputs of a key have to wait: one of them is a dead letter, or others wait already.
    pub(crate) fn is_blocked(&self, key: &str) -> bool {
        self.parked.contains_key(key) || self.has_letter(key)
    }

    fn has_letter(&self, key: &str) -> bool {
        self.blocked.contains_key(key)
    }

    /// The next input that waits behind nothing any more.
    pub(crate) fn unparked(&self) -> Option<Arc<pb::Input>> {
        let (_, inputs) = self.parked.iter().find(|(key, _)| !self.has_letter(key))?;
        inputs.front().cloned()
    }

    /// A hash of everything: equal for equal states.
    pub(crate) fn hash(&self) -> u64 {
        let sum = self.hash.wrapping_add(self.aggregates.sum());
        let mut counters = [0; 32];
        for (at, number) in [self.time.0, self.next_timer, self.next_letter, sum].into_iter().enumerate() {
            counters[at * 8..at * 8 + 8].copy_from_slice(&number.to_le_bytes());
        }
        xxh3_64_with_seed(&counters, xxh3_64(&self.partition.encode_to_vec()))
    }

    /// Takes a fact.
    pub(crate) fn take_event(&mut self, key: &str, event: &S::Event) {
        let at = At { offset: self.end, time: self.time };
        for touched in S::concerns(key, event) {
            let before = self.aggregates.get(touched);
            let mut state = self.effective(touched, before.as_deref());
            S::evolve(&mut state, touched, event, at);
            self.aggregates.replace(touched, before.as_ref(), state.map(|state| state.encode_to_vec()));
        }
        S::evolve_partition(&mut self.partition, key, event, at);
        self.end += 1;
    }

    /// The table beneath the aggregates that changed lately.
    pub(crate) fn table(&self) -> Option<&Table> {
        self.aggregates.table()
    }

    /// Of the aggregates, those that go to a table. More than so many bytes that have changed are a new one.
    pub(crate) fn freeze(&mut self, limit: u64) -> FrozenTable {
        self.aggregates.freeze(limit)
    }

    /// What was frozen then is in this table. Gives away what it takes the place of.
    pub(crate) fn settle(&mut self, freeze: u64, table: Table) -> impl Send + use<S> {
        self.aggregates.settle(freeze, table)
    }

    /// The next event has this offset.
    pub(crate) fn set_end(&mut self, end: u64) {
        self.end = end;
    }

    /// Begins a batch.
    pub(crate) fn begin(&mut self, time: Timestamp) {
        self.time = time;
    }

    /// Takes what a step did, but for its events.
    pub(crate) fn take_step(&mut self, step: &pb::Step) {
        match step.cause.as_ref() {
            Some(Cause::Timer(id)) => self.remove_timer(*id),
            Some(Cause::Parked(key)) => self.pop_parked(key),
            Some(Cause::Redrive(redrive)) => self.remove_letter(redrive.letter),
            Some(Cause::Discard(discard)) => self.remove_letter(discard.letter),
            Some(Cause::Command(_) | Cause::Source(_)) | None => {}
        }
        for timer in &step.timers {
            self.add_timer(timer);
        }
        for timer in &step.cancelled {
            self.remove_timer(*timer);
        }
        if let Some(letter) = &step.dead_letter {
            let id = if letter.id == 0 { self.next_letter } else { letter.id };
            self.next_letter = self.next_letter.max(id + 1);
            self.add_letter(pb::DeadLetter { id, ..letter.clone() });
        }
        if let Some(input) = &step.parks {
            self.park(input.clone());
        }
    }

    fn add_timer(&mut self, timer: &pb::Timer) {
        let id = self.next_timer;
        self.next_timer += 1;
        self.keep_timer(pb::Timer { id, ..timer.clone() });
    }

    fn keep_timer(&mut self, timer: pb::Timer) {
        self.hash = self.hash.wrapping_add(hash_of("timer", &timer.encode_to_vec()));
        self.due.insert((timer.due, timer.id));
        self.timers.insert(timer.id, Arc::new(timer));
    }

    fn remove_timer(&mut self, id: u64) {
        if let Some(timer) = self.timers.remove(&id) {
            self.hash = self.hash.wrapping_sub(hash_of("timer", &timer.encode_to_vec()));
            self.due.remove(&(timer.due, id));
        }
    }

    fn add_letter(&mut self, letter: pb::DeadLetter) {
        self.hash = self.hash.wrapping_add(hash_of("letter", &letter.encode_to_vec()));
        let key: Arc<str> = letter.input.as_ref().map_or("", |input| &input.key).into();
        let count = self.blocked.get(&key).copied().unwrap_or_default();
        self.blocked.insert(key, count + 1);
        self.letters.insert(letter.id, Arc::new(letter));
    }

    fn remove_letter(&mut self, id: u64) {
        if let Some(letter) = self.letters.remove(&id) {
            self.hash = self.hash.wrapping_sub(hash_of("letter", &letter.encode_to_vec()));
            let key: Arc<str> = letter.input.as_ref().map_or("", |input| &input.key).into();
            match self.blocked.get(&key).copied() {
                Some(count) if count > 1 => drop(self.blocked.insert(key, count - 1)),
                _ => drop(self.blocked.remove(&key)),
            }
        }
    }

    fn park(&mut self, input: pb::Input) {
        self.hash = self.hash.wrapping_add(hash_of("parked", &input.encode_to_vec()));
        let key: Arc<str> = input.key.as_str().into();
        let mut inputs = self.parked.get(&key).cloned().unwrap_or_default();
        inputs.push_back(Arc::new(input));
        self.parked.insert(key, inputs);
    }

    fn pop_parked(&mut self, key: &str) {
        let Some(mut inputs) = self.parked.get(key).cloned() else { return };
        if let Some(input) = inputs.pop_front() {
            self.hash = self.hash.wrapping_sub(hash_of("parked", &input.encode_to_vec()));
        }
        if inputs.is_empty() {
            self.parked.remove(key);
        } else {
            self.parked.insert(key.into(), inputs);
        }
    }

    /// For a checkpoint, but for the commands and for what is in its table.
    pub(crate) fn encode(&self) -> pb::ServiceState {
        let aggregate = |(key, state): (&Arc<str>, Option<&Arc<[u8]>>)| pb::StoredAggregate {
            key: key.to_string(),
            state: state.map(|state| Bytes::copy_from_slice(state)).unwrap_or_default(),
            removed: state.is_none(),
        };
        pb::ServiceState {
            end: self.end,
            time: self.time.0,
            aggregates: self.aggregates.recent().map(aggregate).collect(),
            sum: self.aggregates.sum(),
            partition: self.partition.encode_to_vec().into(),
            timers: self.timers.values().map(|timer| (**timer).clone()).collect(),
            next_timer: self.next_timer,
            letters: self.letters().cloned().collect(),
            next_letter: self.next_letter,
            parked: self
                .parked()
                .map(|(key, inputs)| pb::ParkedInputs {
                    key: key.to_owned(),
                    inputs: inputs.iter().map(|input| (**input).clone()).collect(),
                })
                .collect(),
            commands: Vec::new(),
            hash: self.hash(),
        }
    }

    /// From a checkpoint, and the table it names.
    pub(crate) fn decode(encoded: &pb::ServiceState, table: Option<Table>) -> Result<Self, Damaged> {
        let partition = S::Partition::decode(encoded.partition.clone());
        let mut state = State {
            partition: partition.map_err(|error| Damaged(format!("what the partition keeps: {error}")))?,
            end: encoded.end,
            time: Timestamp(encoded.time),
            aggregates: Aggregates::restore(table, encoded.sum),
            ..State::<S>::default()
        };
        for pb::StoredAggregate { key, state: bytes, removed } in &encoded.aggregates {
            S::State::decode(bytes.clone()).map_err(|error| Damaged(format!("aggregate {key:?}: {error}")))?;
            if !state.aggregates.restore_row(key, (!removed).then_some(bytes)) {
                return Err(Damaged(format!("aggregate {key:?} is there twice")));
            }
        }
        if state.table().is_none() {
            // Builds without tables did not write it. The hash of everything has it in it.
            state.aggregates.add_up();
        }
        encoded.timers.iter().for_each(|timer| state.keep_timer(timer.clone()));
        encoded.letters.iter().for_each(|letter| state.add_letter(letter.clone()));
        for parked in &encoded.parked {
            parked.inputs.iter().for_each(|input| state.park(input.clone()));
        }
        (state.next_timer, state.next_letter) = (encoded.next_timer, encoded.next_letter);
        if state.hash() != encoded.hash {
            return Err(Damaged(format!(
                "its hash is {:016x}, the checkpoint says {:016x}",
                state.hash(),
                encoded.hash
            )));
        }
        Ok(state)
    }
}
