//! The queue of the group commit under every interleaving of small models, by `loom`:
//! `cargo test -p corduroy-log --features loom --test loom`.
//!
//! The module is included as a file: it is private to the crate, and stands alone so that this is possible.
#![cfg(feature = "loom")]
#![allow(missing_docs, reason = "a test")]

#[allow(dead_code, reason = "the models do not need all of it")]
#[path = "../src/wal/queue.rs"]
mod queue;

use loom::{
    sync::{Arc, Mutex, Notify},
    thread,
};
use queue::{Queue, Taken, Urgency};
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Wake, Waker},
};

/// Wakes a thread of loom's that waits for a future.
struct Unpark(Notify);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let unpark = std::sync::Arc::new(Unpark(Notify::new()));
    let waker = Waker::from(unpark.clone());
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => unpark.0.wait(),
        }
    }
}

/// What happened to each item, in order: (item, whether it succeeded).
type Outcomes = Arc<Mutex<Vec<(u32, bool)>>>;

/// A writer as the real one, over a disk that works `syncs` times.
fn writer(queue: &Queue<u32>, outcomes: &Outcomes, mut syncs: u32) {
    let mut items = Vec::new();
    loop {
        let mut taken = block_on(queue.take(&mut items));
        if taken == Taken::Some {
            // As between two batches of what it has.
            let mut more = Vec::new();
            taken = queue.take_now(&mut more);
            items.append(&mut more);
        }
        if syncs == 0 && !items.is_empty() {
            let failed = items.drain(..).chain(queue.poison());
            outcomes.lock().unwrap().extend(failed.map(|item| (item, false)));
            return;
        }
        syncs = syncs.saturating_sub(1);
        outcomes.lock().unwrap().extend(items.drain(..).map(|item| (item, true)));
        if taken == Taken::Last {
            return;
        }
    }
}

/// A producer that hears of a refusal itself.
fn produce(queue: &Queue<u32>, outcomes: &Outcomes, items: &[u32]) {
    for &item in items {
        if let Err(item) = queue.push(item, Urgency::Now) {
            outcomes.lock().unwrap().push((item, false));
        }
    }
}

fn spawn(
    queue: &Arc<Queue<u32>>,
    outcomes: &Outcomes,
    role: impl FnOnce(&Queue<u32>, &Outcomes) + 'static,
) -> thread::JoinHandle<()> {
    let (queue, outcomes) = (queue.clone(), outcomes.clone());
    thread::spawn(move || role(&queue, &outcomes))
}

fn new() -> (Arc<Queue<u32>>, Outcomes) {
    (Arc::new(Queue::new()), Arc::new(Mutex::new(Vec::new())))
}

fn of(outcomes: &Outcomes, items: &[u32]) -> Vec<(u32, bool)> {
    outcomes.lock().unwrap().iter().copied().filter(|(item, _)| items.contains(item)).collect()
}

#[test]
fn a_push_wakes_the_writer() {
    loom::model(|| {
        let (queue, _) = new();
        let pushed = queue.clone();
        let producer = thread::spawn(move || pushed.push(1, Urgency::Now));
        let mut items = Vec::new();
        // A lost wake-up would leave this waiting for ever, which loom reports.
        assert_eq!(block_on(queue.take(&mut items)), Taken::Some);
        assert_eq!(items, [1]);
        assert_eq!(producer.join().unwrap(), Ok(()));
    });
}

#[test]
fn completions_keep_the_order_of_the_pushes() {
    loom::model(|| {
        let (queue, outcomes) = new();
        let writing = spawn(&queue, &outcomes, |queue, outcomes| writer(queue, outcomes, 100));
        let other = spawn(&queue, &outcomes, |queue, outcomes| produce(queue, outcomes, &[11, 12]));
        produce(&queue, &outcomes, &[1, 2]);
        other.join().unwrap();
        queue.close();
        writing.join().unwrap();
        assert_eq!(of(&outcomes, &[1, 2]), [(1, true), (2, true)]);
        assert_eq!(of(&outcomes, &[11, 12]), [(11, true), (12, true)]);
    });
}

#[test]
fn a_failed_sync_fails_everything_after_it_exactly_once() {
    loom::model(|| {
        let (queue, outcomes) = new();
        let writing = spawn(&queue, &outcomes, |queue, outcomes| writer(queue, outcomes, 1));
        let other = spawn(&queue, &outcomes, |queue, outcomes| produce(queue, outcomes, &[11]));
        produce(&queue, &outcomes, &[1, 2]);
        other.join().unwrap();
        queue.close();
        writing.join().unwrap();
        let all = outcomes.lock().unwrap().clone();
        assert_eq!(all.len(), 3, "{all:?}");
        let first_failure = all.iter().position(|(_, ok)| !ok).unwrap_or(all.len());
        assert!(all[first_failure..].iter().all(|(_, ok)| !ok), "{all:?}");
        drop(all);
        // Success never overtakes failure within one producer either.
        assert_ne!(of(&outcomes, &[1, 2]), [(1, false), (2, true)]);
    });
}

#[test]
fn a_push_during_the_close_is_either_done_or_given_back() {
    loom::model(|| {
        let (queue, outcomes) = new();
        let writing = spawn(&queue, &outcomes, |queue, outcomes| writer(queue, outcomes, 100));
        let closing = queue.clone();
        let closing = thread::spawn(move || closing.close());
        let accepted = queue.push(1, Urgency::Now).is_ok();
        closing.join().unwrap();
        writing.join().unwrap();
        assert_eq!(of(&outcomes, &[1]).len(), usize::from(accepted));
        assert_eq!(queue.push(2, Urgency::Rides), Err(2));
    });
}

#[test]
fn what_rides_comes_with_the_next_urgent_item_or_with_the_close() {
    loom::model(|| {
        let (queue, outcomes) = new();
        let writing = spawn(&queue, &outcomes, |queue, outcomes| writer(queue, outcomes, 100));
        assert_eq!(queue.push(1, Urgency::Rides), Ok(()));
        assert_eq!(queue.push(2, Urgency::Now), Ok(()));
        assert_eq!(queue.push(3, Urgency::Rides), Ok(()));
        queue.close();
        writing.join().unwrap();
        assert_eq!(*outcomes.lock().unwrap(), [(1, true), (2, true), (3, true)]);
    });
}

/// How many times each item was heard of.
fn heard(outcomes: &Outcomes, items: &[u32]) -> Vec<usize> {
    items.iter().map(|item| of(outcomes, &[*item]).len()).collect()
}

#[test]
fn close_push_and_a_failing_sync_together_lose_nothing_and_double_nothing() {
    loom::model(|| {
        let (queue, outcomes) = new();
        let writing = spawn(&queue, &outcomes, |queue, outcomes| writer(queue, outcomes, 0));
        let closing = queue.clone();
        let closing = thread::spawn(move || closing.close());
        produce(&queue, &outcomes, &[1, 2]);
        closing.join().unwrap();
        writing.join().unwrap();
        assert_eq!(heard(&outcomes, &[1, 2]), [1, 1]);
        assert!(outcomes.lock().unwrap().iter().all(|(_, ok)| !ok), "no sync succeeded");
        assert!(queue.is_closed());
        assert_eq!(queue.push(3, Urgency::Now), Err(3));
    });
}

#[test]
fn a_sync_that_fails_between_two_producers_and_a_close_is_heard_of_by_everyone_once() {
    loom::model(|| {
        let (queue, outcomes) = new();
        let writing = spawn(&queue, &outcomes, |queue, outcomes| writer(queue, outcomes, 1));
        let other = spawn(&queue, &outcomes, |queue, outcomes| {
            produce(queue, outcomes, &[11]);
            queue.close();
        });
        produce(&queue, &outcomes, &[1]);
        other.join().unwrap();
        writing.join().unwrap();
        assert_eq!(heard(&outcomes, &[1, 11]), [1, 1]);
    });
}

#[test]
fn an_idle_writer_is_woken_by_the_close() {
    loom::model(|| {
        let (queue, outcomes) = new();
        let writing = spawn(&queue, &outcomes, |queue, outcomes| writer(queue, outcomes, 100));
        queue.close();
        writing.join().unwrap();
        assert!(outcomes.lock().unwrap().is_empty());
    });
}

#[test]
fn what_rides_is_failed_with_the_rest() {
    loom::model(|| {
        let (queue, outcomes) = new();
        let writing = spawn(&queue, &outcomes, |queue, outcomes| writer(queue, outcomes, 0));
        for (item, urgency) in [(1, Urgency::Rides), (2, Urgency::Now), (3, Urgency::Rides)] {
            if let Err(item) = queue.push(item, urgency) {
                outcomes.lock().unwrap().push((item, false));
            }
        }
        queue.close();
        writing.join().unwrap();
        assert_eq!(heard(&outcomes, &[1, 2, 3]), [1, 1, 1]);
        assert!(outcomes.lock().unwrap().iter().all(|(_, ok)| !ok));
    });
}

/// One who waits for its item, as `append` does.
struct Waiter {
    answer: Mutex<Option<bool>>,
    answered: Notify,
}

#[test]
fn a_waiter_always_hears_how_its_item_ended() {
    for syncs in [0, 1] {
        loom::model(move || {
            let queue = Arc::new(Queue::<Arc<Waiter>>::new());
            let tell = |waiter: Arc<Waiter>, ok: bool| {
                assert_eq!(waiter.answer.lock().unwrap().replace(ok), None, "told once");
                waiter.answered.notify();
            };
            let writing = queue.clone();
            let writing = thread::spawn(move || {
                let (mut items, mut left): (_, u32) = (Vec::new(), syncs);
                loop {
                    let taken = block_on(writing.take(&mut items));
                    if left == 0 && !items.is_empty() {
                        items.drain(..).chain(writing.poison()).for_each(|waiter| tell(waiter, false));
                        return;
                    }
                    left = left.saturating_sub(1);
                    items.drain(..).for_each(|waiter| tell(waiter, true));
                    if taken == Taken::Last {
                        return;
                    }
                }
            });
            let closing = queue.clone();
            let closing = thread::spawn(move || closing.close());
            let waiter = Arc::new(Waiter { answer: Mutex::new(None), answered: Notify::new() });
            if let Err(waiter) = queue.push(waiter.clone(), Urgency::Now) {
                tell(waiter, false);
            }
            // Waiting for ever is what loom would report.
            let told = || waiter.answer.lock().unwrap().take();
            let answer = loop {
                match told() {
                    Some(answer) => break answer,
                    None => waiter.answered.wait(),
                }
            };
            assert!(!answer || syncs == 1, "an answer of a sync that failed");
            closing.join().unwrap();
            writing.join().unwrap();
        });
    }
}
