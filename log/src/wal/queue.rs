//! The queue of the group commit: many producers, one writer that takes everything there is.
//!
//! Self-contained on purpose, so that `loom` can run it through every interleaving (`tests/loom.rs`): a mutex, a vector
//! and the writer's waker. No timer, no linger: while the writer is busy with one batch the next one fills.
//!
//! **Invariant**: items come out in the order they went in, each exactly once: to the writer, or, after [`Queue::poison`],
//! to whoever poisoned, or back to the producer that came too late.
//! **Invariant**: after an urgent push or a close, a waiting writer is woken.
//!
//! It does not bound itself: its producers count their bytes in flight.
use self::sync::Mutex;
use std::{
    future::poll_fn,
    mem,
    task::{Context, Poll, Waker},
};

mod sync {
    #[cfg(feature = "loom")]
    pub(super) use loom::sync::Mutex;
    #[cfg(not(feature = "loom"))]
    pub(super) use std::sync::Mutex;
}

/// Whether an item is worth a write of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Somebody waits for it.
    Now,
    /// It rides with the next item somebody waits for, or with the close.
    Rides,
}

/// What the writer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Items; more may come.
    Some,
    /// The last items there will ever be, possibly none.
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Closed,
    Poisoned,
}

struct State<T> {
    items: Vec<T>,
    /// Whether one of `items` is urgent.
    urgent: bool,
    phase: Phase,
    /// The writer's, while it waits.
    waker: Option<Waker>,
}

/// See the module.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let state = State { items: Vec::new(), urgent: false, phase: Phase::Open, waker: None };
        Queue { state: Mutex::new(state) }
    }

    /// Adds an item at the end, or gives it back when the queue takes none any more.
    pub(crate) fn push(&self, item: T, urgency: Urgency) -> Result<(), T> {
        let waker = {
            let mut state = self.lock();
            if state.phase != Phase::Open {
                return Err(item);
            }
            state.items.push(item);
            if urgency == Urgency::Rides {
                return Ok(());
            }
            state.urgent = true;
            state.waker.take()
        };
        wake(waker);
        Ok(())
    }

    /// Takes no more items. The writer gets what is there, then learns of the end.
    pub(crate) fn close(&self) {
        let waker = {
            let mut state = self.lock();
            if state.phase == Phase::Open {
                state.phase = Phase::Closed;
            }
            state.waker.take()
        };
        wake(waker);
    }

    /// Takes no more items, and gives the caller what nobody has taken yet, so that it can fail them.
    pub(crate) fn poison(&self) -> Vec<T> {
        let mut state = self.lock();
        state.phase = Phase::Poisoned;
        state.urgent = false;
        mem::take(&mut state.items)
    }

    /// Whether it takes no more items.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().phase != Phase::Open
    }

    /// Whether [`Queue::poison`] was called.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.lock().phase == Phase::Poisoned
    }

    /// Waits until there is something urgent, then moves everything there is into `into`, which must be empty. Only one
    /// task may wait at a time: the writer.
    pub(crate) async fn take(&self, into: &mut Vec<T>) -> Taken {
        poll_fn(|cx| self.poll_take(cx, into)).await
    }

    fn poll_take(&self, cx: &mut Context<'_>, into: &mut Vec<T>) -> Poll<Taken> {
        assert!(into.is_empty(), "the writer asked for more with {} items still to do", into.len());
        let mut state = self.lock();
        if state.phase == Phase::Open && !state.urgent {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Self::move_all(&mut state, into))
    }

    /// Moves everything there is into `into`, which must be empty, be it urgent, anything, or nothing: for a writer that has other
    /// work anyway.
    pub(crate) fn take_now(&self, into: &mut Vec<T>) -> Taken {
        Self::move_all(&mut self.lock(), into)
    }

    fn move_all(state: &mut State<T>, into: &mut Vec<T>) -> Taken {
        // The vectors change places, so that their allocations are used again.
        mem::swap(&mut state.items, into);
        state.urgent = false;
        if state.phase == Phase::Open { Taken::Some } else { Taken::Last }
    }

    fn lock(&self) -> impl std::ops::DerefMut<Target = State<T>> + '_ {
        self.state.lock().expect("nothing panics while it holds the queue")
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
