//! Heartbeats on their way to one peer. Those of all groups go out together (R27): whoever lets many groups beat at once
//! *holds* as many heartbeats first; they go when all are there, or when he lets go. One that comes at another time (a
//! linearizable read asks for it) goes at once.
use super::outbox::LISTED;
use crate::topic::PartitionId;
use corduroy_proto::v1::{AppendAck, Heartbeat, HeartbeatAcks, Heartbeats};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Names one heartbeat of a connection: the message it went in, and its partition.
pub(super) type BeatId = (u64, PartitionId);

/// What waits: heartbeats for each other, and their senders for answers.
#[derive(Debug, Default)]
pub(super) struct Beats {
    /// Of the message being put together.
    id: u64,
    /// How many more are waited for.
    held: usize,
    beats: Vec<Heartbeat>,
    waiting: BTreeMap<BeatId, oneshot::Sender<AppendAck>>,
}

impl Beats {
    /// Takes a heartbeat. A message is returned when it should go now.
    pub(super) fn push(&mut self, beat: Heartbeat, answer: oneshot::Sender<AppendAck>) -> (BeatId, Option<Heartbeats>) {
        // One of each partition in a message: a second one begins the next.
        let again = self.beats.iter().any(|before| before.partition == beat.partition);
        let before = again.then(|| self.take()).flatten();
        let id = (self.id, PartitionId(beat.partition));
        self.beats.push(beat);
        self.waiting.insert(id, answer);
        self.held = self.held.saturating_sub(1);
        let go = self.held == 0 || self.beats.len() == LISTED;
        (id, before.or_else(|| go.then(|| self.take()).flatten()))
    }

    /// Waits for so many.
    pub(super) fn hold(&mut self, count: usize) {
        self.held = count;
    }

    /// What was held, and is not gone yet.
    pub(super) fn let_go(&mut self) -> Option<Heartbeats> {
        self.held = 0;
        self.take()
    }

    fn take(&mut self) -> Option<Heartbeats> {
        if self.beats.is_empty() {
            return None;
        }
        let id = self.id;
        self.id += 1;
        Some(Heartbeats { id, beats: std::mem::take(&mut self.beats) })
    }

    /// Gives answers to those who wait.
    pub(super) fn answered(&mut self, HeartbeatAcks { id, acks }: HeartbeatAcks) {
        for answer in acks {
            let waiter = self.waiting.remove(&(id, PartitionId(answer.partition)));
            if let (Some(waiter), Some(ack)) = (waiter, answer.ack) {
                waiter.send(ack).ok();
            }
        }
    }

    /// Nobody waits for this answer any more.
    pub(super) fn forget(&mut self, id: BeatId) {
        self.waiting.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corduroy_proto::v1::HeartbeatAck;

    fn beat(partition: u64) -> Heartbeat {
        Heartbeat { partition, ..Heartbeat::default() }
    }

    fn push(beats: &mut Beats, partition: u64) -> (oneshot::Receiver<AppendAck>, Option<Heartbeats>) {
        let (sender, answer) = oneshot::channel();
        (answer, beats.push(beat(partition), sender).1)
    }

    #[test]
    fn heartbeats_that_are_held_go_in_one_message_and_others_at_once() {
        let mut beats = Beats::default();
        let (_answer, alone) = push(&mut beats, 7);
        assert_eq!(alone.map(|message| message.beats), Some(vec![beat(7)]));
        beats.hold(64);
        let answers: Vec<_> = (1..=63).map(|partition| push(&mut beats, partition)).collect();
        assert!(answers.iter().all(|(_, message)| message.is_none()));
        let message = push(&mut beats, 64).1.expect("all are there");
        assert_eq!((message.id, message.beats.len()), (1, 64));
        beats.hold(64);
        assert!(push(&mut beats, 1).1.is_none());
        assert_eq!(beats.let_go().map(|message| message.beats), Some(vec![beat(1)]), "the others do not come");
        assert_eq!(beats.let_go(), None);
        assert!(push(&mut beats, 7).1.is_some(), "nothing is held any more");
    }

    #[test]
    fn a_message_has_one_heartbeat_of_a_partition() {
        let mut beats = Beats::default();
        beats.hold(9);
        let (_first, none) = push(&mut beats, 1);
        let (_second, first) = push(&mut beats, 1);
        let second = beats.let_go().expect("the second one");
        let first = first.expect("what there was before");
        assert_eq!((none, first.beats.len(), second.beats.len()), (None, 1, 1));
        assert_eq!(beats.waiting.len(), 2);
    }

    #[test]
    fn a_message_is_full_at_some_point() {
        let mut beats = Beats::default();
        beats.hold(2 * LISTED);
        let full: Vec<_> = (0..LISTED as u64 + 1).filter_map(|partition| push(&mut beats, partition).1).collect();
        assert_eq!(full.iter().map(|message| message.beats.len()).collect::<Vec<_>>(), [LISTED]);
    }

    #[test]
    fn answers_may_come_in_pieces_and_only_to_the_message_they_are_for() {
        let mut beats = Beats::default();
        beats.hold(9);
        let (mut first, _) = push(&mut beats, 1);
        let (mut second, _) = push(&mut beats, 2);
        let id = beats.let_go().expect("two").id;
        let acks = |id, partition, answered| HeartbeatAcks {
            id,
            acks: vec![HeartbeatAck { partition, ack: Some(AppendAck { answered, ..AppendAck::default() }) }],
        };
        beats.answered(acks(id + 1, 1, 5));
        assert!(first.try_recv().is_err(), "another message's");
        beats.answered(acks(id, 1, 6));
        assert_eq!(first.try_recv().expect("answered").answered, 6);
        beats.forget((id, PartitionId(2)));
        beats.answered(acks(id, 2, 7));
        assert!(second.try_recv().is_err(), "nobody waits for it");
        assert!(beats.waiting.is_empty());
    }
}
