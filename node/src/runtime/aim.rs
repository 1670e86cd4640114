//! Whom to ask for a partition: the leader that is known, else the replicas in turn.
use corduroy_log::{Log, LogError, topic::NodeId, world::World};
use std::time::Duration;

/// Pause before the second attempt; doubles up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(2);
const RETRY_MAX: Duration = Duration::from_millis(50);

/// Who was asked, and what that came to.
#[derive(Default)]
pub(super) struct Aim {
    here_first: bool,
    missed: u32,
    hint: Option<NodeId>,
}

impl Aim {
    /// This node is asked before all others, if it holds a replica.
    pub fn here_first() -> Self {
        Aim { here_first: true, ..Aim::default() }
    }

    /// Whom to ask next.
    pub fn next<W: World>(&mut self, log: &Log<W>, service: &str, partition: u32) -> Result<NodeId, LogError> {
        let (leader, replicas) = log.holders(service, partition)?;
        if replicas.is_empty() {
            return Err(LogError::Unavailable(format!("nobody holds {service}/{partition}")));
        }
        let hint = self.hint.take();
        let here = (self.here_first && self.missed == 0 && replicas.contains(&log.node())).then(|| log.node());
        let leader = leader.filter(|_| self.missed.is_multiple_of(2));
        let turn = replicas[(log.node() as usize + self.missed as usize) % replicas.len()];
        Ok(hint.or(here).or(leader).unwrap_or(turn))
    }

    /// It was the wrong one; perhaps it said who is the right one.
    pub fn missed(&mut self, hint: Option<NodeId>) {
        self.missed += 1;
        self.hint = hint;
    }

    /// None at all the first time somebody says who it is.
    pub fn pause(&self) -> Duration {
        if self.hint.is_some() && self.missed < 2 {
            return Duration::ZERO;
        }
        (RETRY_MIN * 2u32.saturating_pow(self.missed.saturating_sub(1).min(10))).min(RETRY_MAX)
    }
}
