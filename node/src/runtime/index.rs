//! Finding aggregates otherwise than by key: what a service says of a state is kept in a view, on every node that has the partition.
//!
//! ```text
//!   log ─▶ which aggregates did this batch touch ─▶ their states as they are now ─▶ Service::index ─▶ view ([`corduroy_log::view`])
//!   Services::find ─▶ the view, once it has what the read must see ─▶ keys ─▶ the state: what it says now is what counts
//! ```
//!
//! **Invariant**: a view says which aggregates to look at, and nothing else. What is found has been read from the state, and is what
//! was asked for there.
use super::{
    call::{Found, Services, unreadable},
    replica::Replica,
    service::Service,
    state::State,
};
use corduroy_log::{
    Consistency, LogError, Partition,
    view::{Placed, Shown, ViewInput},
    world::World,
};
use corduroy_proto::runtime::{self as pb, query_call};
use prost::Message;

/// Something that an aggregate is found by: the name of an index, and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexKey {
    index: &'static str,
    value: String,
}

impl IndexKey {
    /// The value in an index.
    pub fn new(index: &'static str, value: impl Into<String>) -> Self {
        IndexKey { index, value: value.into() }
    }

    /// As the view has it. None begins with another one.
    fn place(&self) -> Vec<u8> {
        let length = (self.value.len() as u64).to_be_bytes();
        [self.index.as_bytes(), &[0], &length, self.value.as_bytes()].concat()
    }
}

/// Aggregates of a partition that were found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundPage<S> {
    /// By key, in order.
    pub aggregates: Vec<(String, S)>,
    /// There may be more behind this key; `None`: there are none.
    pub behind: Option<String>,
}

fn places<S: Service>(key: &str, state: &S::State) -> Vec<Vec<u8>> {
    S::index(key, state).iter().map(IndexKey::place).collect()
}

impl<S: Service, M: Send> Shown for Replica<S, M> {
    fn version(&self) -> u32 {
        S::INDEX
    }

    fn touched(&self, input: &ViewInput<'_>) -> Vec<Vec<u8>> {
        // What cannot be read has not evolved, either.
        let records = input.records().unwrap_or_default().into_iter();
        let touched = records.filter_map(|record| {
            let event = S::Event::decode(record.value).ok()?;
            let key = record.key.unwrap_or_default();
            let concerned = S::concerns(std::str::from_utf8(&key).ok()?, &event);
            Some(concerned.into_iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>())
        });
        touched.flatten().collect()
    }

    fn places(&self, keys: Vec<Vec<u8>>) -> Vec<Placed> {
        let state_of = |state: &State<S>, key: &[u8]| state.get_stored(std::str::from_utf8(key).ok()?);
        // Of a copy: reading tables takes time, and that a service panics here is a matter of its view alone.
        let state = self.state();
        let found = keys.into_iter().map(|key| (state_of(&state, &key), key));
        let placed = |(found, key): (Option<S::State>, Vec<u8>)| {
            let places = found.map(|state| places::<S>(&String::from_utf8_lossy(&key), &state));
            (key, places.unwrap_or_default())
        };
        found.map(placed).collect()
    }

    fn walk(&self, after: Option<&[u8]>, limit: usize) -> Vec<Placed> {
        let after = after.and_then(|after| std::str::from_utf8(after).ok());
        let state = self.state();
        let piece: Vec<_> = state.scan("", after).take(limit).collect();
        let placed = |(key, state): (String, S::State)| {
            let places = places::<S>(&key, &state);
            (key.into_bytes(), places)
        };
        piece.into_iter().map(placed).collect()
    }
}

/// The keys at a place of the index, by the view of this node.
pub(super) async fn keys<W: World>(
    partition: &Partition<W>,
    call: &pb::FindCall,
    limit: usize,
    consistency: Consistency,
) -> Result<Vec<String>, LogError> {
    let keys = partition.find(&call.place, call.after.as_bytes(), limit, consistency).await?;
    Ok(keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect())
}

/// Answers a question for what is at a place of the index, where these keys were found.
pub(super) fn answer<S: Service, M: Send>(
    replica: &Replica<S, M>,
    call: &pb::FindCall,
    limit: usize,
    keys: Vec<String>,
) -> pb::QueryAnswer {
    let more = keys.len() == limit;
    let behind = keys.last().filter(|_| more).cloned().unwrap_or_default();
    let state = replica.state();
    let (end, time) = (state.end(), state.time().0);
    let states = keys.into_iter().filter_map(|key| state.get_stored(&key).map(|state| (key, state)));
    let counts = |(key, state): &(String, S::State)| places::<S>(key, state).iter().any(|place| *place == call.place);
    let stored = |(key, state): (String, S::State)| pb::StoredAggregate {
        key,
        state: state.encode_to_vec().into(),
        removed: false,
    };
    let aggregates = states.filter(counts).map(stored).collect();
    pb::QueryAnswer { end, time, aggregates, more, behind, ..pb::QueryAnswer::default() }
}

impl<W: World> Services<W> {
    /// The aggregates of a partition that [`Service::index`] says this of, by key, behind `after`; about `limit` of them are looked
    /// at. Any replica with a view that has come far enough answers.
    ///
    /// # Errors
    /// As [`Services::get`]; [`LogError::Unavailable`] too when no replica has such a view in time, with why.
    pub async fn find<S: Service>(
        &self,
        partition: u32,
        by: &IndexKey,
        after: &str,
        limit: u32,
        consistency: Consistency,
    ) -> Result<Found<FoundPage<S::State>>, LogError> {
        let find = pb::FindCall { place: by.place().into(), after: after.into(), limit };
        let found = self.query(S::NAME, partition, query_call::What::Find(find), consistency).await?;
        let pb::QueryAnswer { aggregates, more, behind, .. } = found.value;
        let state = |aggregate: pb::StoredAggregate| {
            Ok((aggregate.key, S::State::decode(aggregate.state).map_err(unreadable)?))
        };
        let aggregates = aggregates.into_iter().map(state).collect::<Result<_, LogError>>()?;
        let value = FoundPage { aggregates, behind: more.then_some(behind) };
        Ok(Found { value, position: found.position, time: found.time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_begins_with_another_one() {
        let values = ["", "a", "ab", "b\0", "\0", "\u{1}"];
        let keys = ["n", "na"].into_iter().flat_map(|index| values.map(|value| IndexKey::new(index, value)));
        let places: Vec<_> = keys.map(|key| key.place()).collect();
        for (at, place) in places.iter().enumerate() {
            let others = places.iter().enumerate().filter(|(other, _)| *other != at);
            assert!(others.clone().all(|(_, other)| !other.starts_with(place)), "{place:?}");
            assert_eq!(others.count(), places.len() - 1);
        }
    }
}
