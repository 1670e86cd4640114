//! What a replication stream has sent and is not answered yet: what bounds the memory of a slow follower's queue.
use std::collections::VecDeque;

/// Appends a stream may have unanswered.
const APPENDS: usize = 64;
/// The same in bytes; one append may be larger.
const BYTES: usize = 8 << 20;

#[derive(Debug, Default)]
pub(super) struct Window {
    /// Sizes of the appends that were sent and not answered, in order; `bytes` is their sum.
    unanswered: VecDeque<usize>,
    bytes: usize,
    answered: u64,
}

impl Window {
    pub(super) fn is_empty(&self) -> bool {
        self.unanswered.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.unanswered.len() >= APPENDS || self.bytes >= BYTES
    }

    /// An append of so many bytes was sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.unanswered.push_back(bytes);
        self.bytes += bytes;
    }

    /// All appends up to the `answered`-th of the stream are answered. `false`: so many were not sent.
    pub(super) fn answered(&mut self, answered: u64) -> bool {
        while self.answered < answered {
            let Some(bytes) = self.unanswered.pop_front() else { return false };
            self.bytes -= bytes;
            self.answered += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_bounded_in_appends_and_in_bytes() {
        let mut window = Window::default();
        for _ in 0..APPENDS {
            assert!(!window.is_full());
            window.sent(1);
        }
        assert!(window.is_full());
        assert!(window.answered(1) && !window.is_full());
        assert!(window.answered(APPENDS as u64) && window.is_empty());
        window.sent(BYTES);
        assert!(window.is_full(), "one may be larger, and is alone then");
        assert!(window.answered(1 + APPENDS as u64) && !window.is_full());
    }

    #[test]
    fn an_answer_to_what_was_not_sent_is_refused_at_once() {
        let mut window = Window::default();
        window.sent(7);
        assert!(window.answered(0) && window.answered(1) && window.answered(1), "the same again says nothing new");
        window.sent(7);
        assert!(!window.answered(u64::MAX));
    }
}
