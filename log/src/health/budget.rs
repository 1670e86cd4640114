//! How much may be under way at once.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A bound in the unit its owner counts in: bytes, or requests. Cheap to ask; never waits.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicU64,
    limit: u64,
}

/// What was taken from a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    amount: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Budget { used: AtomicU64::new(0), limit })
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// What is given out now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes a share. One is given whatever its size where nothing is under way; otherwise the error says how much is.
    pub(crate) fn take(self: &Arc<Self>, amount: u64) -> Result<Share, u64> {
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        let share = Share { budget: self.clone(), amount };
        if before > 0 && before.saturating_add(amount) > self.limit { Err(before) } else { Ok(share) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_what_it_has_and_takes_back_what_was_given() {
        let budget = Budget::new(10);
        let first = budget.take(6).unwrap();
        assert_eq!(budget.take(5).unwrap_err(), 6);
        let second = budget.take(4).unwrap();
        assert_eq!(budget.used(), 10, "what was refused is not counted");
        drop((first, second));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_larger_than_the_budget_passes_alone() {
        let budget = Budget::new(10);
        let large = budget.take(50).unwrap();
        assert_eq!(budget.take(1).unwrap_err(), 50);
        drop(large);
        budget.take(1).unwrap();
    }
}
