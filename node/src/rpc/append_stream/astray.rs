//! What failed on a stream before a partition was found for it. Pure.
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// Places that are remembered; the stream that comes to so many is ended.
const PLACES: usize = 1024;

/// Where a request is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// A name that a topic can have: it is kept.
    pub(super) topic: String,
    /// `None`: the node chooses.
    pub(super) partition: Option<u32>,
}

/// Places of requests that failed. What follows to the same place is not tried.
#[derive(Debug, Default)]
pub(super) struct Astray(HashMap<String, HashSet<Option<u32>>>);

/// As many places are remembered as may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PLACES} appends of this stream failed before a partition was found")
    }
}

impl Astray {
    /// Whether a request to this place might overtake one that failed. One without a partition might have gone, or go, to
    /// any of its topic.
    pub(super) fn blocks(&self, place: &Place) -> bool {
        self.0.get(&place.topic).is_some_and(|failed| {
            place.partition.is_none() || failed.contains(&None) || failed.contains(&place.partition)
        })
    }

    /// Remembers the place of a request that failed.
    ///
    /// # Errors
    /// [`Full`] with the last place there is room for: the stream must end.
    pub(super) fn remember(&mut self, place: Place) -> Result<(), Full> {
        self.0.entry(place.topic).or_default().insert(place.partition);
        if self.0.values().map(HashSet::len).sum::<usize>() < PLACES { Ok(()) } else { Err(Full) }
    }
}

#[cfg(test)]
mod tests;
