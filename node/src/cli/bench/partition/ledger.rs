//! What was sent and what was answered: every request of a run, by number.
//!
//! Requests take the lanes in turn, and each carries the same number of records, so a request's number says which records
//! of which lane it has.
use super::super::{judge::Claims, timeline::Sample};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its first record has this offset.
    Acked(u64),
    /// It was certainly not appended.
    Refused,
    /// It may be there or not.
    Unknown,
    /// Too much was in flight, and it was not sent at all.
    Withheld,
}

/// One request.
#[derive(Clone, Copy, Debug)]
struct Request {
    due: Instant,
    answer: Option<(Instant, Outcome)>,
}

/// All requests so far.
pub(super) struct Ledger {
    lanes: u32,
    batch: u32,
    requests: Mutex<Vec<Request>>,
}

/// Records by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    /// Not sent, as too much was in flight.
    pub(super) withheld: u64,
}

impl Ledger {
    pub(super) fn new(lanes: u32, batch: u32) -> Self {
        Ledger { lanes, batch, requests: Mutex::default() }
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request is due. Returns its lane and its first record's number there.
    pub(super) fn begin(&self, due: Instant) -> (u64, u32, u64) {
        let mut requests = self.requests();
        let number = requests.len() as u64;
        requests.push(Request { due, answer: None });
        (number, self.lane(number), number / u64::from(self.lanes) * u64::from(self.batch))
    }

    /// A request was answered.
    pub(super) fn settle(&self, number: u64, outcome: Outcome) {
        self.requests()[number as usize].answer = Some((Instant::now(), outcome));
    }

    fn lane(&self, number: u64) -> u32 {
        (number % u64::from(self.lanes)) as u32
    }

    /// For a timeline. Call when everything is answered.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let requests = self.requests();
        let sample = |request: &Request| {
            let (answered, outcome) = request.answer?;
            let acked = if matches!(outcome, Outcome::Acked(_)) { self.batch.into() } else { 0 };
            Some(Sample { due: request.due, answered, acked })
        };
        requests.iter().filter_map(sample).collect()
    }

    /// When each lane's requests were acknowledged, ascending.
    pub(super) fn ack_times(&self) -> Vec<Vec<Instant>> {
        let mut times = vec![Vec::new(); self.lanes as usize];
        for (number, request) in (0..).zip(self.requests().iter()) {
            if let Some((at, Outcome::Acked(_))) = request.answer {
                times[self.lane(number) as usize].push(at);
            }
        }
        times.iter_mut().for_each(|times| times.sort_unstable());
        times
    }

    /// What the records of one lane were said to be.
    pub(super) fn claims(&self, lane: u32) -> Claims {
        let (requests, batch) = (self.requests(), u64::from(self.batch));
        let of_lane = requests.iter().skip(lane as usize).step_by(self.lanes as usize);
        let mut claims = Claims::default();
        for request in of_lane {
            let numbers = claims.sent..claims.sent + batch;
            claims.sent = numbers.end;
            match request.answer {
                Some((_, Outcome::Acked(offset))) => claims.acked.extend(numbers.zip(offset..)),
                Some((_, Outcome::Refused | Outcome::Withheld)) => claims.refused.extend(numbers),
                Some((_, Outcome::Unknown)) | None => {}
            }
        }
        claims
    }

    /// Records by what became of them; what was not answered is unknown.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let batch = u64::from(self.batch);
        for request in self.requests().iter() {
            counts.sent += batch;
            match request.answer {
                Some((_, Outcome::Acked(_))) => counts.acknowledged += batch,
                Some((_, Outcome::Refused)) => counts.refused += batch,
                Some((_, Outcome::Withheld)) => counts.withheld += batch,
                Some((_, Outcome::Unknown)) | None => counts.unknown += batch,
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_take_lanes_in_turn_and_say_which_records_they_have() {
        let ledger = Ledger::new(2, 10);
        let now = Instant::now();
        let begun: Vec<_> = (0..5).map(|_| ledger.begin(now)).collect();
        assert_eq!(begun, [(0, 0, 0), (1, 1, 0), (2, 0, 10), (3, 1, 10), (4, 0, 20)]);
    }

    #[test]
    fn claims_are_what_was_answered() {
        let ledger = Ledger::new(2, 2);
        let now = Instant::now();
        for _ in 0..8 {
            ledger.begin(now);
        }
        ledger.settle(0, Outcome::Acked(0));
        ledger.settle(2, Outcome::Unknown);
        ledger.settle(4, Outcome::Refused);
        ledger.settle(6, Outcome::Acked(4));
        ledger.settle(1, Outcome::Withheld);
        let claims = ledger.claims(0);
        assert_eq!((claims.sent, &*claims.acked), (8, &[(0, 0), (1, 1), (6, 4), (7, 5)][..]));
        assert_eq!(claims.refused, [4, 5]);
        assert_eq!(ledger.claims(1).refused, [0, 1]);
        let counts = Counts { sent: 16, acknowledged: 4, refused: 2, unknown: 8, withheld: 2 };
        assert_eq!(ledger.counts(), counts);
        assert_eq!((ledger.ack_times()[0].len(), ledger.ack_times()[1].len()), (2, 0));
        assert_eq!(ledger.samples().iter().map(|sample| sample.acked).sum::<u64>(), 4);
    }
}
