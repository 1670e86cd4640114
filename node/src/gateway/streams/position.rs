//! How far a reader of several partitions is, as a text: `17` of one, `0:17,1:20` of several.
use std::collections::BTreeMap;

/// Where nothing was seen.
const NOTHING: &str = "-";

/// The last offset seen of each partition; of one that is not in it, nothing was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Position(BTreeMap<u32, u64>);

impl Position {
    /// `only`: the partition of a text that names none.
    pub(in crate::gateway) fn read(text: &str, only: Option<u32>) -> Option<Self> {
        if text == NOTHING {
            return Some(Position::default());
        }
        if let (Some(only), Ok(offset)) = (only, text.parse()) {
            return Some(Position([(only, offset)].into()));
        }
        let pair = |pair: &str| {
            let (partition, offset) = pair.split_once(':')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        let seen: BTreeMap<u32, u64> =
            text.split(',').filter(|pair| !pair.is_empty()).map(pair).collect::<Option<_>>()?;
        Some(Position(seen))
    }

    /// The other way round.
    pub(in crate::gateway) fn show(&self, only: Option<u32>) -> String {
        if let Some(offset) = only.and_then(|only| self.0.get(&only)) {
            return offset.to_string();
        }
        if self.0.is_empty() {
            return NOTHING.to_owned();
        }
        self.0.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect::<Vec<_>>().join(",")
    }

    /// Where to go on in a partition.
    pub(in crate::gateway) fn next(&self, partition: u32) -> u64 {
        self.0.get(&partition).map_or(0, |seen| seen.saturating_add(1))
    }

    /// Everything before an offset was seen, or need not be.
    pub(in crate::gateway) fn begin(&mut self, partition: u32, offset: u64) {
        match offset.checked_sub(1) {
            Some(seen) => drop(self.0.insert(partition, seen)),
            None => drop(self.0.remove(&partition)),
        }
    }

    /// Of all other partitions, as a text; empty where nothing was seen of them.
    pub(in crate::gateway) fn without(&self, partition: u32) -> String {
        let others = self.0.iter().filter(|(other, _)| **other != partition);
        others.map(|(partition, offset)| format!("{partition}:{offset}")).collect::<Vec<_>>().join(",")
    }

    /// Whether it is of no others than these.
    pub(in crate::gateway) fn is_within(&self, partitions: &[u32]) -> bool {
        self.0.keys().all(|partition| partitions.contains(partition))
    }

    /// This was seen.
    pub(in crate::gateway) fn saw(&mut self, partition: u32, offset: u64) {
        self.0.insert(partition, offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_shown() {
        for (text, only) in [("17", Some(3)), ("0:17,1:20", None), ("2:0", None), ("-", None), ("-", Some(3))] {
            let position = Position::read(text, only).expect(text);
            assert_eq!(position.show(only), text);
        }
        let position = Position::read("0:17,2:0", None).expect("it is one");
        assert_eq!([0, 1, 2].map(|partition| position.next(partition)), [18, 0, 1]);
        for none in ["17", "a", "0:", "0:17,x", "0:-1", "0:17;1:20"] {
            assert_eq!(Position::read(none, None), None, "{none}");
        }
    }

    #[test]
    fn what_begins_at_an_offset_goes_on_there() {
        let mut position = Position::default();
        for (partition, offset) in [(0, 0), (1, 5)] {
            position.begin(partition, offset);
            assert_eq!(position.next(partition), offset);
        }
        position.saw(0, 0);
        assert_eq!((position.next(0), position.show(None)), (1, "0:0,1:4".to_owned()));
    }
}
