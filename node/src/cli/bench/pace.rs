//! An open loop: appends are due at times that were fixed before, whatever became of those before.
//!
//! ```text
//!   Pace: due(0), due(1), due(2) ... ─▶ a thread that waits for each ─▶ whoever sends
//! ```
//!
//! A closed loop asks the next question when the last one was answered, and so asks least when answers are worst. Here a
//! time counts from when it was due, waiting for the sender included: a pause of one second is seen by all who came in it.
//!
//! **Invariant**: due times depend on the pace alone. When the sender falls behind they pile up, and none is left out.
use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Due times handed over and not yet taken.
const WAITING: usize = 4096;
/// How late the system may wake the thread. The default of 0.05 ms would be in every figure.
const SLACK: NonZeroU64 = NonZeroU64::new(1_000).expect("it is not 0");

/// A fixed rate from a moment on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) begin: Instant,
    pub(super) per_second: f64,
}

/// One thing that is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// From 0.
    pub(super) number: u64,
    pub(super) at: Instant,
}

impl Pace {
    /// When the one with this number is due.
    pub(super) fn due(&self, number: u64) -> Due {
        Due { number, at: self.begin + Duration::from_secs_f64(number as f64 / self.per_second) }
    }

    /// What is due, each at its time, for as long as it is to go on. Ends early when the receiver is dropped.
    pub(super) fn keep(self, goes_on: impl Fn(&Due) -> bool + Send + 'static) -> mpsc::Receiver<Due> {
        let (due, receiver) = mpsc::channel(WAITING);
        std::thread::spawn(move || {
            // Where the system refuses it is a little later.
            let _ = rustix::thread::set_current_timer_slack(Some(SLACK));
            for next in (0..).map(|number| self.due(number)).take_while(goes_on) {
                std::thread::sleep(next.at.saturating_duration_since(Instant::now()));
                if due.blocking_send(next).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_do_not_drift() {
        let begin = Instant::now();
        let pace = Pace { begin, per_second: 3.0 };
        assert_eq!(pace.due(0).at, begin);
        assert_eq!((pace.due(3_000_000).at - begin).as_millis(), 1_000_000_000);
    }

    #[tokio::test]
    async fn everything_that_is_due_comes_and_nothing_before_its_time() {
        let begin = Instant::now();
        let mut due = Pace { begin, per_second: 1000.0 }.keep(|due| due.number < 50);
        // Asleep while they pile up: none is left out.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut count = 0;
        while let Some(next) = due.recv().await {
            assert_eq!(next.number, count);
            assert!(Instant::now() >= next.at, "number {count} came early");
            count += 1;
        }
        assert_eq!(count, 50);
    }
}
