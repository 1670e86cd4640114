//! What is in the log against what was said to be there.
use serde::Serialize;
use std::fmt;

/// What a writer of one lane was told. Records are numbered from 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// Records sent.
    pub(super) sent: u64,
    /// Number and offset of those acknowledged.
    pub(super) acked: Vec<(u64, u64)>,
    /// Numbers of those refused: they are certainly not there.
    pub(super) refused: Vec<u64>,
}

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
    /// There, and said to be refused.
    pub(super) refused_and_there: u64,
}

impl Verdict {
    pub(super) fn add(&mut self, other: &Verdict) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.misplaced += other.misplaced;
        self.phantom += other.phantom;
        self.refused_and_there += other.refused_and_there;
    }

    pub(super) fn is_clean(&self) -> bool {
        *self == Verdict::default()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { lost, doubled, misplaced, phantom, refused_and_there } = self;
        write!(
            f,
            "{lost} lost, {doubled} doubled, {misplaced} at a wrong offset, {phantom} never sent, {refused_and_there} refused \
             and there"
        )
    }
}

/// Judges one lane. `found` are the numbers of its records by offset, of one replica.
pub(super) fn judge(claims: &Claims, found: &[Option<u64>]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut times = vec![0_u64; usize::try_from(claims.sent).expect("they were counted in memory")];
    for number in found {
        match number.and_then(|number| times.get_mut(usize::try_from(number).ok()?)) {
            Some(times) => *times += 1,
            None => verdict.phantom += 1,
        }
    }
    verdict.doubled = times.iter().filter(|times| **times > 1).count() as u64;
    verdict.refused_and_there = claims.refused.iter().filter(|number| times[**number as usize] > 0).count() as u64;
    for (number, offset) in &claims.acked {
        let there = found.get(*offset as usize).is_some_and(|found| *found == Some(*number));
        match (there, times[*number as usize]) {
            (true, _) => {}
            (false, 0) => verdict.lost += 1,
            (false, _) => verdict.misplaced += 1,
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers 0, 1 and 3 were acknowledged at offsets 0, 1 and 3; of 2 and 4 nothing is known; 5 was refused.
    fn claims() -> Claims {
        Claims { sent: 6, acked: vec![(0, 0), (1, 1), (3, 3)], refused: vec![5] }
    }

    #[test]
    fn unknown_records_may_be_there_or_not() {
        assert!(judge(&claims(), &[Some(0), Some(1), Some(2), Some(3)]).is_clean());
        assert!(judge(&claims(), &[Some(0), Some(1), Some(4), Some(3), Some(2)]).is_clean());
    }

    #[test]
    fn each_violation_is_found() {
        let verdict = |found: &[Option<u64>]| judge(&claims(), found);
        let clean = Verdict::default();
        assert_eq!(verdict(&[Some(0), Some(1), Some(2)]), Verdict { lost: 1, ..clean });
        assert_eq!(verdict(&[Some(0), Some(1), Some(2), Some(3), Some(2)]), Verdict { doubled: 1, ..clean });
        assert_eq!(verdict(&[Some(0), Some(1), Some(3)]), Verdict { misplaced: 1, ..clean });
        assert_eq!(verdict(&[Some(0), Some(1), Some(2), Some(3), Some(9), None]), Verdict { phantom: 2, ..clean });
        let refused = [Some(0), Some(1), Some(2), Some(3), Some(5)];
        assert_eq!(verdict(&refused), Verdict { refused_and_there: 1, ..clean });
    }
}
