//! What the WAL should be: a list of everything that was asked for in each partition, frame by frame, and the state any prefix
//! of it makes.
use corduroy_log::{
    topic::{LogId, NodeId, PartitionId, Vote},
    wal::{Identity, LogHash, PeerIdentity, WalEntry},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The part of a call that is one frame on disk: it is there whole or not at all.
#[derive(Clone, Debug)]
pub(super) enum Atom {
    Entry(PartitionId, WalEntry),
    /// Entries from this index on are gone.
    Truncate(PartitionId, u64),
    Purge(PartitionId, LogId),
    Install(PartitionId, LogId, LogHash),
    Vote(PartitionId, Vote),
    Peer(PeerIdentity),
}

/// One partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    purged_hash: LogHash,
    /// Index of the first entry, where none is purged.
    begins: u64,
    /// Each with the log hash after it.
    pub(super) entries: VecDeque<(WalEntry, LogHash)>,
}

impl Partition {
    pub(super) fn first(&self) -> u64 {
        self.purged.map_or(self.begins, |id| id.index + 1)
    }

    pub(super) fn next(&self) -> u64 {
        self.first() + self.entries.len() as u64
    }

    /// Nothing says where the log begins.
    pub(super) fn is_unbegun(&self) -> bool {
        self.entries.is_empty() && self.purged.is_none()
    }

    pub(super) fn get(&self, index: u64) -> Option<&WalEntry> {
        let at = usize::try_from(index.checked_sub(self.first())?).ok()?;
        self.entries.get(at).map(|(entry, _)| entry)
    }

    pub(super) fn summary(&self) -> Summary {
        let last = self.entries.back();
        Summary {
            vote: self.vote,
            purged: self.purged,
            last: last.map(|(entry, _)| entry.id).or(self.purged),
            hash: last.map_or(self.purged_hash, |(_, hash)| *hash),
        }
    }

    fn push(&mut self, entry: WalEntry) {
        if self.is_unbegun() {
            self.begins = entry.id.index;
        }
        let hash = log_hash(&self.summary().hash, &entry);
        self.entries.push_back((entry, hash));
    }

    fn purge(&mut self, upto: LogId) {
        while self.entries.front().is_some_and(|(entry, _)| entry.id.index <= upto.index) {
            self.purged_hash = self.entries.pop_front().expect("there is a front").1;
        }
        self.purged = Some(upto);
    }
}

/// What a partition shows of itself; the log hash stands for the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    pub(super) hash: LogHash,
}

/// What a WAL shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) partitions: BTreeMap<PartitionId, Summary>,
    pub(super) peers: BTreeMap<NodeId, PeerIdentity>,
}

/// All partitions, and what is known of peers.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    partitions: BTreeMap<PartitionId, Partition>,
    peers: BTreeMap<NodeId, PeerIdentity>,
}

impl State {
    pub(super) fn partition(&mut self, id: PartitionId) -> &mut Partition {
        self.partitions.entry(id).or_default()
    }

    pub(super) fn apply(&mut self, atom: &Atom) {
        match atom {
            Atom::Entry(id, entry) => self.partition(*id).push(entry.clone()),
            Atom::Truncate(id, first_removed) => {
                let partition = self.partition(*id);
                let kept = first_removed - partition.first();
                partition.entries.truncate(kept as usize);
            }
            Atom::Purge(id, upto) => self.partition(*id).purge(*upto),
            Atom::Install(id, upto, hash) => {
                let partition = self.partition(*id);
                partition.entries.clear();
                partition.purged = Some(*upto);
                partition.purged_hash = *hash;
            }
            Atom::Vote(id, vote) => self.partition(*id).vote = Some(*vote),
            Atom::Peer(peer) => drop(self.peers.insert(peer.node, *peer)),
        }
    }

    /// Whether a lane is as it was found.
    fn is(&self, lane: Lane, found: &Found) -> bool {
        match lane {
            Lane::Partition(id) => {
                let ours = self.partitions.get(&id).map(Partition::summary).unwrap_or_default();
                ours == found.partitions.get(&id).copied().unwrap_or_default()
            }
            Lane::Peers => self.peers == found.peers,
        }
    }
}

/// What has an order of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Partition(PartitionId),
    Peers,
}

/// So many atoms of each lane.
pub(super) type Counts = BTreeMap<Lane, usize>;

/// What was asked for in one lane.
#[derive(Clone, Debug, Default)]
struct Asked {
    atoms: Vec<Atom>,
    /// How many atoms there were after each call.
    ends: Vec<usize>,
    /// So many atoms must be there after a crash.
    floor: usize,
}

impl Asked {
    /// The longest prefix that makes what was found, of at least `lowest` atoms.
    fn longest(&self, lane: Lane, found: &Found, lowest: usize) -> Option<usize> {
        let mut state = State::default();
        let mut prefix = None;
        for count in 0..=self.atoms.len() {
            if count > 0 {
                state.apply(&self.atoms[count - 1]);
            }
            if count >= lowest && state.is(lane, found) {
                prefix = Some(count);
            }
        }
        prefix
    }
}

/// Everything that was asked for, and what is known of how much of it must be there.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    lanes: BTreeMap<Lane, Asked>,
    /// The state after all of it: what the WAL shows at once.
    pub(super) now: State,
    /// Sequence numbers that were said to be durable, with the floors of that moment.
    known: Vec<(u64, Counts)>,
    committed: BTreeMap<PartitionId, Committed>,
    /// As of the last start.
    identity: Option<Identity>,
}

/// What was noted as committed in a partition.
#[derive(Clone, Debug, Default)]
struct Committed {
    /// What a recovery may find: what the last one found, and what was noted since, in order.
    since: Vec<LogId>,
    /// The first of these was found, so it is on disk.
    known: bool,
    /// All of it.
    ever: BTreeSet<LogId>,
}

/// How a recovery went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    /// Calls found that nobody was told of.
    pub(super) kept: bool,
    /// Calls missing that nobody was told of.
    pub(super) lost: bool,
    /// A call is there in part.
    pub(super) half: bool,
    /// Acknowledged calls are missing.
    pub(super) unmarked: bool,
}

impl Model {
    /// A call, as its frames. Gives how many atoms there are after it.
    pub(super) fn call(&mut self, lane: Lane, atoms: Vec<Atom>) -> usize {
        for atom in &atoms {
            self.now.apply(atom);
        }
        let asked = self.lanes.entry(lane).or_default();
        asked.atoms.extend(atoms);
        asked.ends.push(asked.atoms.len());
        asked.atoms.len()
    }

    /// So many atoms are durable.
    pub(super) fn acknowledged(&mut self, lane: Lane, atoms: usize) {
        let asked = self.lanes.entry(lane).or_default();
        asked.floor = asked.floor.max(atoms);
    }

    /// A vote or a peer can be seen, so it is durable, and everything asked for before in its lane.
    pub(super) fn seen(&mut self, found: &Found) {
        let visible = |atom: &Atom| match atom {
            Atom::Vote(id, vote) => found.partitions.get(id).is_some_and(|summary| summary.vote == Some(*vote)),
            Atom::Peer(peer) => found.peers.get(&peer.node) == Some(peer),
            _ => false,
        };
        for asked in self.lanes.values_mut() {
            if let Some(at) = asked.atoms[asked.floor..].iter().rposition(visible) {
                asked.floor += at + 1;
            }
        }
    }

    pub(super) fn durable_sequence(&mut self, sequence: u64) {
        let floors = self.floors();
        match self.known.last_mut() {
            Some((known, before)) if *known == sequence => *before = floors,
            _ => self.known.push((sequence, floors)),
        }
    }

    pub(super) fn highest_sequence(&self) -> u64 {
        self.known.last().map_or(0, |(sequence, _)| *sequence)
    }

    pub(super) fn forget_sequences_after(&mut self, sequence: u64) {
        self.known.retain(|&(known, _)| known <= sequence);
    }

    /// What must be there when the disk says no more than that this sequence number was durable.
    pub(super) fn floors_at(&self, sequence: u64) -> Counts {
        let at = self.known.partition_point(|(known, _)| *known <= sequence);
        at.checked_sub(1).map(|at| self.known[at].1.clone()).unwrap_or_default()
    }

    /// What must be there after a crash.
    pub(super) fn floors(&self) -> Counts {
        self.lanes.iter().map(|(lane, asked)| (*lane, asked.floor)).collect()
    }

    pub(super) fn committed(&mut self, id: PartitionId, at: LogId) {
        let committed = self.committed.entry(id).or_default();
        committed.since.push(at);
        committed.ever.insert(at);
    }

    /// Whether a recovery may find this. `closed`: the WAL was closed in order. `damaged`: older ones are as good.
    pub(super) fn finds_committed(
        &mut self,
        id: PartitionId,
        found: Option<LogId>,
        closed: bool,
        damaged: bool,
    ) -> bool {
        let committed = self.committed.entry(id).or_default();
        let since = std::mem::replace(&mut committed.since, found.into_iter().collect());
        let known = std::mem::replace(&mut committed.known, found.is_some());
        match found {
            None => damaged || !known && (!closed || since.is_empty()),
            Some(found) if damaged => committed.ever.contains(&found),
            Some(found) if closed => since.last() == Some(&found),
            Some(found) => since.contains(&found),
        }
    }

    /// Whether a start may find this identity: that of the directory, opened more often than ever before, and joined from the first
    /// start on.
    pub(super) fn finds_identity(&mut self, found: Identity) -> bool {
        self.identity.replace(found).is_none_or(|before| {
            found.incarnation == before.incarnation && found.boot_epoch > before.boot_epoch && found.joined
        })
    }

    /// The longest prefix of each lane that makes what was found, of at least `lowest` atoms; what is behind it never was. `None`:
    /// there is none.
    pub(super) fn recover(&mut self, found: &Found, lowest: &Counts) -> Option<Recovered> {
        let nothing = Summary::default();
        let known = |id: &PartitionId| self.lanes.contains_key(&Lane::Partition(*id));
        let foreign = found.partitions.iter().any(|(id, summary)| *summary != nothing && !known(id));
        if foreign || !found.peers.is_empty() && !self.lanes.contains_key(&Lane::Peers) {
            return None;
        }
        let longest = |(lane, asked): (&Lane, &Asked)| {
            let lowest = lowest.get(lane).copied().unwrap_or_default().min(asked.floor);
            Some((*lane, asked.longest(*lane, found, lowest)?))
        };
        let counts = self.lanes.iter().map(longest).collect::<Option<Counts>>()?;
        let mut recovered = Recovered::default();
        self.now = State::default();
        for (lane, asked) in &mut self.lanes {
            let count = counts[lane];
            recovered.kept |= count > asked.floor;
            recovered.lost |= count < asked.atoms.len();
            recovered.half |= count > 0 && !asked.ends.contains(&count);
            recovered.unmarked |= count < asked.floor;
            asked.atoms.truncate(count);
            asked.ends.retain(|&end| end <= count);
            asked.floor = count;
            asked.atoms.iter().for_each(|atom| self.now.apply(atom));
        }
        self.known.retain(|(_, floors)| floors.iter().all(|(lane, floor)| *floor <= counts[lane]));
        Some(recovered)
    }
}

/// As `docs/disk-format.md` has it.
fn log_hash(before: &LogHash, entry: &WalEntry) -> LogHash {
    let mut bytes = before.to_vec();
    bytes.extend(entry.id.index.to_le_bytes());
    bytes.extend(entry.id.term.to_le_bytes());
    bytes.extend(entry.crc.to_le_bytes());
    xxhash_rust::xxh3::xxh3_128(&bytes).to_le_bytes()
}
