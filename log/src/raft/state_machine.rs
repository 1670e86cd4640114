//! openraft's state machine: evolves committed entries into the partition's shared state.
use super::{
    convert::{decode_membership, encode_membership, from_log_id, to_log_id},
    types::TypeConfig,
};
use crate::{partition::Evolved, world::World};
use bytes::Bytes;
use corduroy_proto::v1 as pb;
use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, RaftSnapshotBuilder, StoredMembership,
    alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
    storage::{EntryResponder, RaftStateMachine, Snapshot, SnapshotMeta},
};
use prost::Message as _;
use std::{io, sync::Arc};

/// The evolving side of one partition. What it evolves is in [`Evolved`], which readers share.
pub(crate) struct StateMachine<W: World> {
    evolved: Arc<Evolved>,
    membership: StoredMembershipOf<TypeConfig<W>>,
    applied: Option<LogIdOf<TypeConfig<W>>>,
    snapshot: Option<SnapshotOf<TypeConfig<W>, Bytes>>,
}

impl<W: World> StateMachine<W> {
    pub(crate) fn new(evolved: Arc<Evolved>) -> Self {
        StateMachine { evolved, membership: StoredMembership::default(), applied: None, snapshot: None }
    }

    fn current(&self) -> SnapshotOf<TypeConfig<W>, Bytes> {
        let data = pb::PartitionSnapshot {
            fold: Some(self.evolved.encode()),
            membership: encode_membership(self.membership.membership()),
        };
        Snapshot {
            meta: SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() },
            snapshot: data.encode_to_vec().into(),
        }
    }
}

impl<W: World> RaftStateMachine<TypeConfig<W>> for StateMachine<W> {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder<W>;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig<W>>>, StoredMembershipOf<TypeConfig<W>>), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig<W>>, io::Error>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let id = from_log_id::<W>(&entry.log_id);
            let applied = match entry.payload {
                EntryPayload::Blank => self.evolved.pass(id),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    self.evolved.pass(id)
                }
                EntryPayload::Normal(batch) => self.evolved.evolve(id, &batch),
            };
            self.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        self.evolved.publish();
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<W> {
        let snapshot = self.current();
        self.snapshot = Some(snapshot.clone());
        SnapshotBuilder { snapshot }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig<W>>,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        let invalid = |error: prost::DecodeError| io::Error::new(io::ErrorKind::InvalidData, error);
        let data = pb::PartitionSnapshot::decode(snapshot.clone()).map_err(invalid)?;
        let carried = decode_membership(&data.membership).map_err(invalid)?;
        if &carried != meta.last_membership.membership() {
            let text =
                format!("snapshot carries membership {carried}, its header says {}", meta.last_membership.membership());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let last = meta.last_log_id.as_ref().map(from_log_id::<W>);
        self.evolved.install(last, &data.fold.unwrap_or_default()).map_err(invalid)?;
        self.membership = meta.last_membership.clone();
        self.applied = last.map(to_log_id::<W>);
        self.snapshot = Some(Snapshot { meta: meta.clone(), snapshot });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig<W>, Bytes>>, io::Error> {
        Ok(self.snapshot.clone())
    }
}

/// Hands over the snapshot taken when it was made.
pub(crate) struct SnapshotBuilder<W: World> {
    snapshot: SnapshotOf<TypeConfig<W>, Bytes>,
}

impl<W: World> RaftSnapshotBuilder<TypeConfig<W>> for SnapshotBuilder<W> {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig<W>, Bytes>, io::Error> {
        Ok(self.snapshot.clone())
    }
}
