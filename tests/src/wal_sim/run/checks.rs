//! What a running WAL shows, compared with the model.
use super::{
    super::model::{Found, Summary},
    NODE, Run,
    outcome::{Stop, broken},
};
use corduroy_log::{
    testing::{DiskCall, DiskError, SimWorld},
    topic::PartitionId,
    wal::Wal,
};
use futures::FutureExt as _;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
};

impl<T: FnMut(&str)> Run<T> {
    /// Takes the answers there are, and compares what can be seen at once. Not for a node that was just found dead.
    pub(super) fn observe(&mut self) -> Result<(), Stop> {
        let (failed_before, mut failed) = (self.failed, BTreeSet::new());
        let mut unanswered = BTreeMap::new();
        let mut still = VecDeque::new();
        for mut call in std::mem::take(&mut self.waiting) {
            match call.answer.as_mut().now_or_never() {
                None => {
                    unanswered.entry(call.lane).or_insert(call.what);
                    still.push_back(call);
                }
                Some(Ok(())) if failed_before || failed.contains(&call.lane) => {
                    return broken("nothing is acknowledged after a failure", call.what);
                }
                Some(Ok(())) => {
                    if let Some(before) = unanswered.get(&call.lane) {
                        return broken(
                            "acknowledgements of a partition come in the order of the calls",
                            format_args!("{} was answered before an earlier {before}", call.what),
                        );
                    }
                    self.tally.acknowledged += 1;
                    self.model.acknowledged(call.lane, call.end);
                }
                Some(Err(_)) => {
                    self.failed = true;
                    failed.insert(call.lane);
                }
            }
        }
        self.waiting = still;
        if !self.sim.is_alive(NODE) || self.failed {
            return Ok(());
        }
        self.compare_now()
    }

    /// What a running WAL shows: entries at once, votes and peers when they are durable.
    pub(super) fn compare_now(&mut self) -> Result<(), Stop> {
        let Some(wal) = self.wal.clone() else { return Ok(()) };
        let found = self.found(&wal);
        self.model.seen(&found);
        let stats = wal.stats();
        self.model.durable_sequence(stats.durable_sequence);
        if stats.segment != self.segment {
            self.tally.rotations += 1;
            self.segment = stats.segment;
        }
        for (id, found) in found.partitions {
            let expected = self.model.now.partition(id).summary();
            if (found.purged, found.last, found.hash) != (expected.purged, expected.last, expected.hash) {
                return broken(
                    "what was asked for is visible at once",
                    format_args!("{id}: {found:?}, not {expected:?}"),
                );
            }
        }
        Ok(())
    }

    pub(super) fn found(&self, wal: &Wal<SimWorld>) -> Found {
        let summary = |id: PartitionId| {
            let log = wal.partition(id);
            let summary = Summary { vote: log.vote(), purged: log.purged(), last: log.last(), hash: log.log_hash() };
            (id, summary)
        };
        Found {
            partitions: wal.partitions().into_iter().map(summary).collect(),
            peers: wal.peers().into_iter().map(|peer| (peer.node, peer)).collect(),
        }
    }

    pub(super) fn read(&mut self, at: usize, back: u8, count: u8) -> Result<(), Stop> {
        let partition = self.model.now.partition(self.ids[at]);
        let start = partition.next().saturating_sub(back.into());
        let range = start..start + u64::from(count);
        self.compare(at, range, 1 + u64::from(count) * 100, self.rotten.is_some())
    }

    pub(super) fn read_badly(&mut self, at: usize) -> Result<(), Stop> {
        let partition = self.model.now.partition(self.ids[at]);
        let range = partition.first()..partition.next();
        let before = self.tally.rot_reads;
        self.compare(at, range, u64::MAX, true)?;
        self.tally.read_errors += self.tally.rot_reads - before;
        self.tally.rot_reads = before;
        self.sim.read_stale(NODE, 0);
        self.sim.spare_disk(NODE, DiskCall::Read);
        self.sim.spare_disk(NODE, DiskCall::Open);
        self.failures = self.sim.disk_failures(NODE).len();
        Ok(())
    }

    /// Reads and compares. `bad`: an error is as good as the right bytes.
    pub(super) fn compare(&mut self, at: usize, range: Range<u64>, bytes: u64, bad: bool) -> Result<(), Stop> {
        let id = self.ids[at];
        let read = match self.log(at).entries(range.clone(), bytes) {
            Ok(read) => read,
            Err(_) if bad => {
                self.tally.rot_reads += 1;
                return Ok(());
            }
            Err(error) => return broken("what was appended can be read", format_args!("{id} {range:?}: {error}")),
        };
        let partition = self.model.now.partition(id);
        let mut expected = range.start.max(partition.first())..range.end.min(partition.next());
        for entry in &read {
            let index = expected.next();
            if index.and_then(|index| partition.get(index)) != Some(entry) {
                return broken(
                    "a read gives what was appended",
                    format_args!("{id} {range:?}: {:?} with {} bytes at {index:?}", entry.id, entry.payload.len()),
                );
            }
        }
        if !expected.is_empty() && (bytes == u64::MAX || read.is_empty()) {
            return broken("a read gives what was appended", format_args!("{id} {range:?}: {expected:?} is missing"));
        }
        self.tally.reads += read.len() as u64;
        Ok(())
    }

    /// Entry by entry: each is right, or an error.
    pub(super) fn compare_each(&mut self) -> Result<(), Stop> {
        for at in 0..self.ids.len() {
            let partition = self.model.now.partition(self.ids[at]);
            for index in partition.first()..partition.next() {
                self.compare(at, index..index + 1, u64::MAX, true)?;
            }
        }
        Ok(())
    }

    /// A disk that failed is not written to again.
    pub(super) fn halts_after_a_failure(&self) -> Result<(), Stop> {
        let deadly = |(call, error): &(DiskCall, DiskError)| {
            let write = matches!(call, DiskCall::Write | DiskCall::SyncData | DiskCall::SyncDir | DiskCall::SyncAll);
            write && *error != DiskError::Full
        };
        let failed = self.sim.disk_failures(NODE)[self.failures..].iter().find(|failure| deadly(failure)).copied();
        match failed {
            Some(failure) if self.sim.is_alive(NODE) => {
                broken("a node whose disk failed halts", format_args!("{failure:?}"))
            }
            _ => Ok(()),
        }
    }
}
