//! What is in the log against what was said to be there.
use super::writer::History;
use serde::Serialize;
use std::fmt;

/// Records that are not as they should be. All zero: nothing wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    /// Acknowledged, and nowhere.
    pub(super) lost: u64,
    /// There more than once.
    pub(super) doubled: u64,
    /// Acknowledged, and not at the offset that was said.
    pub(super) misplaced: u64,
    /// There, and never sent.
    pub(super) phantom: u64,
}

impl Verdict {
    pub(super) fn add(&mut self, other: &Verdict) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.misplaced += other.misplaced;
        self.phantom += other.phantom;
    }

    pub(super) fn is_clean(&self) -> bool {
        *self == Verdict::default()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { lost, doubled, misplaced, phantom } = self;
        write!(f, "{lost} lost, {doubled} doubled, {misplaced} at a wrong offset, {phantom} never sent")
    }
}

/// Judges one partition. `found` are the numbers of its records by offset.
pub(super) fn judge(history: &History, found: &[Option<u64>]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut times = vec![0_u64; usize::try_from(history.sent).expect("they were counted in memory")];
    for number in found {
        match number.and_then(|number| times.get_mut(usize::try_from(number).ok()?)) {
            Some(times) => *times += 1,
            None => verdict.phantom += 1,
        }
    }
    verdict.doubled = times.iter().filter(|times| **times > 1).count() as u64;
    for ack in &history.acks {
        let there = found.get(ack.offset as usize).is_some_and(|number| *number == Some(ack.number));
        match (there, times[ack.number as usize]) {
            (true, _) => {}
            (false, 0) => verdict.lost += 1,
            (false, _) => verdict.misplaced += 1,
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::{super::writer::Acked, *};
    use std::time::Instant;

    /// Numbers 0, 1 and 3 were acknowledged at offsets 0, 1 and 3; of 2 and 4 nothing is known.
    fn history() -> History {
        let ack = |number| Acked { number, offset: number, at: Instant::now() };
        History { sent: 5, acks: vec![ack(0), ack(1), ack(3)], unknown: 2, refused: 0 }
    }

    #[test]
    fn unknown_records_may_be_there_or_not() {
        assert!(judge(&history(), &[Some(0), Some(1), Some(2), Some(3)]).is_clean());
        assert!(judge(&history(), &[Some(0), Some(1), Some(4), Some(3), Some(2)]).is_clean());
    }

    #[test]
    fn each_violation_is_found() {
        let verdict = |found: &[Option<u64>]| judge(&history(), found);
        assert_eq!(verdict(&[Some(0), Some(1), Some(2)]), Verdict { lost: 1, ..Verdict::default() });
        assert_eq!(
            verdict(&[Some(0), Some(1), Some(2), Some(3), Some(2)]),
            Verdict { doubled: 1, ..Verdict::default() }
        );
        assert_eq!(verdict(&[Some(0), Some(1), Some(3)]), Verdict { misplaced: 1, ..Verdict::default() });
        assert_eq!(
            verdict(&[Some(0), Some(1), Some(2), Some(3), Some(9), None]),
            Verdict { phantom: 2, ..Verdict::default() }
        );
    }
}
