//! The writer's work: what producers asked for, one frame at a time, and whose turn it is.
//!
//! Each partition has a lane, and every batch takes from all lanes that have something, [`QUANTUM`] bytes in turn (deficit round
//! robin). So a partition that floods the log delays another one by the batch that is being written and its share of the next
//! one, however much it has asked for (R28).
//!
//! **Invariant**: the steps of a lane are taken in the order they were asked for. Nothing is promised between lanes: whoever
//! needs an order between two partitions waits for the first.
use super::{
    batch::{Change, Done, Frame, Op},
    frame::PEERS,
    memory::Core,
    payload::{encode_peer, encode_vote},
};
use crate::topic::{LogId, PartitionId};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// What a lane may add in its turn. What it cannot use because its next frame is larger, it keeps for its next one.
const QUANTUM: u64 = 16 << 10;

/// A step of the writer: at most one frame, and who is told once it and everything before it in its lane is on disk.
pub(crate) struct Step {
    pub frame: Option<Frame>,
    pub done: Option<Done>,
}

impl Step {
    fn len(&self) -> u64 {
        self.frame.as_ref().map_or(0, Frame::len)
    }
}

/// What one partition asked for.
struct Lane {
    steps: VecDeque<Step>,
    /// Bytes it may add before others have their turn.
    allowed: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Plan {
    /// By raw partition id, as in frames. None is empty.
    lanes: BTreeMap<u64, Lane>,
    /// Each of them once.
    turns: VecDeque<u64>,
    /// The newest committed position of each partition that waits for a ride. Older ones say nothing more.
    riding: BTreeMap<PartitionId, (Arc<Core>, LogId)>,
    /// Whether the alarm went off.
    pub alarm: bool,
}

impl Plan {
    /// Takes an op apart. Its waiter hangs on its last frame.
    pub(crate) fn add(&mut self, op: Op) {
        let (frame, done) = match op {
            Op::Append { core, entries, done } => {
                let lane = core.id().0;
                for entry in entries {
                    self.push(lane, Step { frame: Some(Frame::entry(core.clone(), entry)), done: None });
                }
                // An append of nothing still has a place in the order.
                return self.push(lane, Step { frame: None, done: Some(done) });
            }
            Op::Committed { core, id } => {
                self.riding.insert(core.id(), (core, id));
                return;
            }
            Op::Alarm => {
                self.alarm = true;
                return;
            }
            Op::Vote { core, vote, done } => {
                let payload = Bytes::copy_from_slice(&encode_vote(&vote));
                (Frame::new(Some(core), Change::Vote(vote), LogId { term: vote.term, index: 0 }, payload), done)
            }
            Op::Truncate { core, first_removed, hash, done } => {
                let id = LogId { term: 0, index: first_removed };
                (Frame::new(Some(core), Change::Truncate(hash), id, Bytes::new()), done)
            }
            Op::Purge { core, upto, upto_hash, hash, done } => {
                (Frame::new(Some(core), Change::Purge(hash, upto_hash), upto, Bytes::copy_from_slice(&upto_hash)), done)
            }
            Op::Peer { peer, done } => {
                let payload = Bytes::copy_from_slice(&encode_peer(&peer));
                (Frame::new(None, Change::Peer(peer), LogId::default(), payload), done)
            }
        };
        let lane = frame.core.as_ref().map_or(PEERS, |core| core.id().0);
        self.push(lane, Step { frame: Some(frame), done: Some(done) });
    }

    fn push(&mut self, lane: u64, step: Step) {
        let entry = self.lanes.entry(lane).or_insert_with(|| {
            self.turns.push_back(lane);
            Lane { steps: VecDeque::new(), allowed: QUANTUM }
        });
        entry.steps.push_back(step);
    }

    /// Whether somebody waits for something.
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Moves the next batch of at most so many bytes to its end, or one frame that is larger.
    pub(crate) fn take(&mut self, bytes: u64, batch: &mut Vec<Frame>, waiting: &mut Vec<Done>) {
        let mut room = bytes;
        while let Some(turn) = self.turns.pop_front() {
            let lane = self.lanes.get_mut(&turn).expect("who has a turn has a lane");
            while let Some(step) = lane.steps.pop_front_if(|step| step.len() <= lane.allowed) {
                let len = step.len();
                if len > room && !batch.is_empty() {
                    lane.steps.push_front(step);
                    self.turns.push_front(turn);
                    return;
                }
                lane.allowed -= len;
                room = room.saturating_sub(len);
                batch.extend(step.frame);
                waiting.extend(step.done);
            }
            if lane.steps.is_empty() {
                self.lanes.remove(&turn);
            } else {
                lane.allowed += QUANTUM;
                self.turns.push_back(turn);
            }
        }
    }

    /// What rides with a batch.
    pub(crate) fn take_riding(&mut self) -> impl Iterator<Item = Frame> {
        std::mem::take(&mut self.riding).into_values().map(|(core, id)| Frame::committed(core, id))
    }

    /// Everyone who waits for something that was not taken.
    pub(crate) fn give_up(&mut self) -> Vec<Done> {
        self.turns.clear();
        let lanes = std::mem::take(&mut self.lanes).into_values();
        lanes.flat_map(|lane| lane.steps).filter_map(|step| step.done).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::frame::frame_len;

    /// A frame of so many bytes in all.
    fn frame(len: u64) -> Frame {
        let payload = vec![0; (len - frame_len(0)) as usize];
        Frame::new(None, Change::Footer, LogId::default(), payload.into())
    }

    fn push(plan: &mut Plan, lane: u64, len: u64) {
        plan.push(lane, Step { frame: Some(frame(len)), done: None });
    }

    fn take(plan: &mut Plan, bytes: u64) -> Vec<u64> {
        let (mut batch, mut waiting) = (Vec::new(), Vec::new());
        plan.take(bytes, &mut batch, &mut waiting);
        batch.iter().map(Frame::len).collect()
    }

    #[test]
    fn a_lane_that_floods_leaves_the_others_their_share_of_the_next_batch() {
        let mut plan = Plan::default();
        (0..1000).for_each(|_| push(&mut plan, 1, 4096));
        assert_eq!(take(&mut plan, 256 << 10), [4096; 64]);
        // Three come when the flood has 936 before them.
        (0..3).for_each(|_| push(&mut plan, 2, 8192));
        push(&mut plan, 3, 128);
        let batch = take(&mut plan, 256 << 10);
        assert_eq!(batch.iter().filter(|len| **len == 8192).count(), 3, "{batch:?}");
        assert!(batch.contains(&128) && batch.iter().sum::<u64>() > 250 << 10, "{batch:?}");
        // Two that flood have half each.
        (0..1000).for_each(|_| push(&mut plan, 2, 8192));
        let batch = take(&mut plan, 256 << 10);
        let large = batch.iter().filter(|len| **len == 8192).sum::<u64>();
        assert!((112 << 10..=144 << 10).contains(&large), "{large} of 256 KiB");
    }

    #[test]
    fn lanes_of_large_and_of_small_frames_have_the_same_share() {
        let mut plan = Plan::default();
        (0..10).for_each(|_| push(&mut plan, 1, 200 << 10));
        (0..100_000).for_each(|_| push(&mut plan, 2, 1024));
        let (mut large, mut small) = (0, 0);
        for _ in 0..4 {
            for len in take(&mut plan, 1 << 20) {
                *if len == 1024 { &mut small } else { &mut large } += len;
            }
        }
        assert!(large.abs_diff(small) <= 400 << 10, "{large} and {small}");
    }

    #[test]
    fn everything_is_taken_once_and_each_lane_in_its_order() {
        let mut told = Vec::new();
        let mut plan = Plan::default();
        for number in 0..500_u64 {
            let lane = number % 7;
            let frame = (number % 11 != 0).then(|| frame(128 + number * 37 % 40_000));
            plan.push(lane, Step { frame, done: None });
        }
        let all: u64 = plan.lanes.values().flat_map(|lane| &lane.steps).map(Step::len).sum();
        let order: Vec<Vec<u64>> = plan.lanes.values().map(|lane| lane.steps.iter().map(Step::len).collect()).collect();
        let mut batches = 0;
        while !plan.is_empty() {
            let batch = take(&mut plan, 100_000);
            assert!(batch.iter().sum::<u64>() <= 100_000);
            told.extend(batch);
            batches += 1;
        }
        assert!(batches > 30 && plan.lanes.is_empty());
        assert_eq!(told.iter().sum::<u64>(), all);
        for lane in order {
            let mut rest = told.iter();
            assert!(lane.iter().filter(|len| **len > 0).all(|len| rest.any(|other| other == len)), "out of order");
        }
    }

    #[test]
    fn a_frame_that_is_larger_than_a_batch_goes_alone() {
        let mut plan = Plan::default();
        push(&mut plan, 1, 128);
        push(&mut plan, 1, 1 << 20);
        push(&mut plan, 1, 128);
        assert_eq!(take(&mut plan, 4096), [128]);
        assert_eq!(take(&mut plan, 4096), [1 << 20]);
        assert_eq!(take(&mut plan, 4096), [128]);
        assert!(plan.is_empty());
    }
}
