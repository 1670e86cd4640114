//! openraft's state machine: evolves committed entries into the partition's shared state.
//!
//! openraft's snapshot is the partition's checkpoint: the same bytes, with the same order of events on disk.
use super::{
    convert::{decode_membership, encode_membership, from_log_id, to_log_id},
    log_store::{LogStore, READ_BYTES},
    types::{Applied, TypeConfig},
};
use crate::{
    partition::{Checkpoints, Evolved, Image},
    raft::log_id_from_wire,
    topic::LogId,
    wal::LogHash,
    world::World,
};
use bytes::Bytes;
use corduroy_proto::v1 as pb;
use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, RaftSnapshotBuilder, StoredMembership,
    alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
    storage::{EntryResponder, RaftStateMachine, Snapshot, SnapshotMeta},
};
use prost::Message as _;
use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex, Weak},
    task::Poll,
};

/// The evolving side of one partition. What it evolves is in [`Evolved`], which readers share.
pub(crate) struct StateMachine<W: World> {
    evolved: Arc<Evolved>,
    log: LogStore<W>,
    checkpoints: Checkpoints<W>,
    restored: Weak<pb::PartitionSnapshot>,
}

impl<W: World> StateMachine<W> {
    /// `restored` is the checkpoint that `evolved` began with. For as long as the caller keeps it, openraft, which asks for
    /// it several times when it starts, is given that; later it is read again.
    pub(crate) fn new(
        evolved: Arc<Evolved>,
        log: LogStore<W>,
        checkpoints: Checkpoints<W>,
        restored: Weak<pb::PartitionSnapshot>,
    ) -> Self {
        StateMachine { evolved, log, checkpoints, restored }
    }

    /// Evolves what is known to be committed and is not evolved yet, piece by piece, before there is a Raft group. Says how
    /// many entries that were.
    ///
    /// openraft would do the same in pieces of 64 entries, which may be 256 MiB.
    pub(crate) async fn catch_up(&self) -> io::Result<u64> {
        let first = self.evolved.next_index();
        let end = self.log.committed_end().max(first);
        self.read(first..end, |entry| {
            self.evolve(entry);
        })
        .await?;
        self.evolved.publish();
        Ok(end - first)
    }

    /// Reads what is behind that, as openraft does when it starts: the errors it reports do not say what they are any more.
    pub(crate) async fn check_tail(&self) -> io::Result<()> {
        self.read(self.evolved.next_index()..self.log.end(), drop).await
    }

    /// Hands over the entries of a range, all of which must be there.
    async fn read(&self, range: Range<u64>, mut take: impl FnMut(EntryOf<TypeConfig<W>>)) -> io::Result<()> {
        let mut next = range.start;
        while next < range.end {
            let entries = self.log.read(next..range.end, READ_BYTES)?;
            if entries.first().is_none_or(|first| first.log_id.index() != next) {
                return Err(invalid(format!("entry {next} is not in the log")));
            }
            next += entries.len() as u64;
            entries.into_iter().for_each(&mut take);
            pass_turn().await;
        }
        Ok(())
    }

    fn evolve(&self, entry: EntryOf<TypeConfig<W>>) -> Applied {
        let id = from_log_id::<W>(&entry.log_id);
        match entry.payload {
            EntryPayload::Blank => self.evolved.pass(id, 0),
            EntryPayload::Membership(membership) => self.evolved.change_membership(id, encode_membership(&membership)),
            EntryPayload::Normal(batch) => self.evolved.evolve(id, &batch),
        }
    }
}

/// Lets others on this thread go on.
pub(crate) async fn pass_turn() {
    let mut passed = false;
    std::future::poll_fn(|context| match std::mem::replace(&mut passed, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// The membership in the form openraft knows.
fn membership<W: World>(stored: Option<(LogId, Bytes)>) -> io::Result<StoredMembershipOf<TypeConfig<W>>> {
    let Some((id, encoded)) = stored else { return Ok(StoredMembership::default()) };
    Ok(StoredMembership::new(Some(to_log_id::<W>(id)), decode_membership(&encoded).map_err(invalid)?))
}

/// A checkpoint as openraft knows it.
fn to_snapshot<W: World>(data: &pb::PartitionSnapshot) -> io::Result<SnapshotOf<TypeConfig<W>, Bytes>> {
    let stored = data.membership_id.as_ref().map(|id| (log_id_from_wire(id), data.membership.clone()));
    let last_log_id = data.last.as_ref().map(|id| to_log_id::<W>(log_id_from_wire(id)));
    let meta = SnapshotMeta { last_log_id, last_membership: membership::<W>(stored)? };
    Ok(Snapshot { meta, snapshot: data.encode_to_vec().into() })
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<W: World> RaftStateMachine<TypeConfig<W>> for StateMachine<W> {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder<W>;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig<W>>>, StoredMembershipOf<TypeConfig<W>>), io::Error> {
        Ok((self.evolved.last().map(to_log_id::<W>), membership::<W>(self.evolved.membership())?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig<W>>, io::Error>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let applied = self.evolve(entry);
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        self.evolved.publish();
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<W> {
        SnapshotBuilder {
            image: Mutex::new(self.evolved.image()),
            evolved: self.evolved.clone(),
            log: self.log.clone(),
            checkpoints: self.checkpoints.clone(),
        }
    }

    /// The file first, then the log that begins behind it, then the state. A crash before the log's frame is on disk finds
    /// the old log and passes over a checkpoint ahead of it; a crash after it finds both.
    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig<W>>,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        let data = pb::PartitionSnapshot::decode(snapshot).map_err(invalid)?;
        let carried = to_snapshot::<W>(&data)?.meta;
        if &carried != meta {
            return Err(invalid(format!("the snapshot is {carried}, its header says {meta}")));
        }
        let last = data.last.as_ref().map(log_id_from_wire).ok_or_else(|| invalid("a snapshot of nothing"))?;
        let hash = LogHash::try_from(&data.log_hash[..]).map_err(invalid)?;
        // Whatever is wrong with the content must be found before anything counts on it.
        if data.table.is_some() {
            return Err(invalid("the rows of the snapshot's table did not come with it"));
        }
        self.evolved.check(&data, None).map_err(invalid)?;
        self.checkpoints.save(self.log.id(), data.clone()).await?;
        self.log.install(last, hash).await?;
        self.evolved.install(&data, None).map_err(invalid)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig<W>, Bytes>>, io::Error> {
        if let Some(restored) = self.restored.upgrade() {
            return to_snapshot::<W>(&restored).map(Some);
        }
        match self.checkpoints.newest(self.log.id()) {
            Ok(newest) => newest.as_ref().map(to_snapshot::<W>).transpose(),
            // Whoever wants it can have the whole log instead (R38); an error would end the group.
            Err(error) if self.log.wal().purged().is_none() => {
                tracing::error!(partition = %self.log.id(), %error, "checkpoint passed over; the log is whole");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The state as it was when the builder was made; building writes the checkpoint.
pub(crate) struct SnapshotBuilder<W: World> {
    image: Mutex<Option<Image>>,
    evolved: Arc<Evolved>,
    log: LogStore<W>,
    checkpoints: Checkpoints<W>,
}

impl<W: World> RaftSnapshotBuilder<TypeConfig<W>> for SnapshotBuilder<W> {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig<W>, Bytes>, io::Error> {
        let image = self.image.get_mut().expect("nobody panics with it").take();
        if let Some(image) = image {
            self.checkpoints.take(self.log.wal(), &self.evolved, image).await?;
        }
        to_snapshot::<W>(&self.checkpoints.newest(self.log.id())?.unwrap_or_default())
    }
}
