//! What is asked of the WAL, and noted in the model.
use super::{
    super::model::{Atom, Lane},
    Run,
};
use bytes::Bytes;
use corduroy_log::{
    topic::{LogId, PartitionId, Vote},
    wal::{EntryKind, PeerIdentity, WalEntry},
};
use futures::FutureExt as _;
use std::{future::Future, io, pin::Pin};
use tokio::sync::oneshot;

type Answer = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A call that was not answered yet.
pub(super) struct Call {
    pub(super) what: &'static str,
    pub(super) lane: Lane,
    /// How many atoms there were after it.
    pub(super) end: usize,
    pub(super) answer: Answer,
}

impl<T: FnMut(&str)> Run<T> {
    /// Notes a call, unless it was refused on the spot.
    fn called(&mut self, what: &'static str, lane: Lane, atoms: Vec<Atom>, mut answer: Answer) {
        self.tally.calls += 1;
        let at_once = answer.as_mut().now_or_never();
        if let Some(Err(error)) = &at_once {
            // What had to be read for it could not be. A log that has failed is noticed when its node is looked at.
            self.say(format_args!("refused: {what}: {error}"));
            return;
        }
        let end = self.model.call(lane, atoms);
        let answer = if at_once.is_some() { Box::pin(async { Ok(()) }) } else { answer };
        self.waiting.push_back(Call { what, lane, end, answer });
    }

    pub(super) fn append(&mut self, at: usize, sizes: &[u32]) {
        let id = self.ids[at];
        let partition = self.model.now.partition(id);
        let first = if partition.is_unbegun() && at % 2 == 1 { 7 } else { partition.next() };
        self.term += u64::from(sizes.len().is_multiple_of(3));
        let term = self.term;
        let entries: Vec<WalEntry> =
            sizes.iter().zip(first..).map(|(&size, index)| entry(id, term, index, size)).collect();
        let (sender, receiver) = oneshot::channel();
        // Nobody listens any more when the run is over.
        self.log(at).append(entries.clone(), Box::new(move |result| drop(sender.send(result))));
        let answer = async { receiver.await.unwrap_or_else(|_| Err(io::Error::other("the node died"))) };
        self.tally.entries += entries.len() as u64;
        let lane = Lane::Partition(id);
        self.called(
            "append",
            lane,
            entries.into_iter().map(|entry| Atom::Entry(id, entry)).collect(),
            Box::pin(answer),
        );
    }

    pub(super) fn truncate(&mut self, at: usize, remove: u8) {
        let id = self.ids[at];
        let partition = self.model.now.partition(id);
        let removed = u64::from(remove).min(partition.entries.len() as u64);
        let first_removed = partition.next() - removed;
        let answer = self.log(at).truncate_after(first_removed.checked_sub(1));
        self.tally.truncations += u64::from(removed > 0);
        let atoms = if removed > 0 { vec![Atom::Truncate(id, first_removed)] } else { Vec::new() };
        self.called("truncate", Lane::Partition(id), atoms, Box::pin(answer));
    }

    pub(super) fn purge(&mut self, at: usize, forget: u8) {
        let id = self.ids[at];
        let partition = self.model.now.partition(id);
        let upto = match usize::from(forget).checked_sub(1) {
            Some(forget) => partition.entries.get(forget).map(|(entry, _)| entry.id),
            // Once more what was purged before.
            None => partition.purged,
        };
        let Some(upto) = upto else { return };
        let anew = partition.purged != Some(upto);
        let answer = self.log(at).purge(upto);
        self.tally.purges += u64::from(anew);
        let atoms = if anew { vec![Atom::Purge(id, upto)] } else { Vec::new() };
        self.called("purge", Lane::Partition(id), atoms, Box::pin(answer));
    }

    pub(super) fn install(&mut self, at: usize, ahead: u8) {
        let id = self.ids[at];
        self.term += 1;
        let upto = LogId { term: self.term, index: self.model.now.partition(id).next() + u64::from(ahead) };
        let hash = [self.term as u8; 16];
        let answer = self.log(at).install(upto, hash);
        self.tally.purges += 1;
        self.called("install", Lane::Partition(id), vec![Atom::Install(id, upto, hash)], Box::pin(answer));
    }

    pub(super) fn vote(&mut self, at: usize) {
        self.term += 1;
        let vote = Vote { term: self.term, node: 1 + self.term % 3, committed: self.term.is_multiple_of(2) };
        let answer = self.log(at).save_vote(vote);
        self.tally.votes += 1;
        let id = self.ids[at];
        self.called("vote", Lane::Partition(id), vec![Atom::Vote(id, vote)], Box::pin(answer));
    }

    pub(super) fn peer(&mut self, node: u8) {
        self.term += 1;
        let peer = PeerIdentity {
            node: node.into(),
            incarnation: [node; 16],
            boot_epoch: self.term,
            confirmed: self.term * 10,
        };
        let answer = self.wal.as_ref().expect("a node that is alive has a log").save_peer(peer);
        self.called("peer", Lane::Peers, vec![Atom::Peer(peer)], Box::pin(answer));
    }

    /// What is there is committed. Nobody is told when that is on disk.
    pub(super) fn committed(&mut self, at: usize) {
        let last = self.log(at).last();
        if let Some(last) = last {
            self.model.committed(self.ids[at], last);
        }
        self.log(at).save_committed(last);
    }
}

/// An entry that says who it is, in as many bytes as asked for.
fn entry(id: PartitionId, term: u64, index: u64, size: u32) -> WalEntry {
    let mark = format!("{id}: entry {index} of term {term}; ");
    let payload: Vec<u8> = mark.bytes().cycle().take(size as usize).collect();
    let kind = match (size, index % 5) {
        (0, _) => EntryKind::Blank,
        (_, 0) => EntryKind::Membership,
        _ => EntryKind::Batch,
    };
    WalEntry { id: LogId { term, index }, kind, crc: crc32c::crc32c(&payload), payload: Bytes::from(payload) }
}
