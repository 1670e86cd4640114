//! Between openraft's values, the WAL's and the wire's.
use super::types::TypeConfig;
use crate::{
    batch::{Batch, BatchError},
    topic::{LogId, NodeId, PartitionId, Vote},
    wal::{EntryKind, WalEntry},
    world::World,
};
use bytes::Bytes;
use corduroy_proto::v1 as pb;
use openraft::{
    EntryPayload, Membership,
    alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, VoteOf},
    impls::{EmptyNode, Entry},
    raft::{AppendEntriesRequest, TransferLeaderRequest},
    vote::RaftLeaderId as _,
};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn to_log_id<W: World>(id: LogId) -> LogIdOf<TypeConfig<W>> {
    openraft::LogId::new(CommittedLeaderIdOf::<TypeConfig<W>>::from(id.term), id.index)
}

pub(crate) fn from_log_id<W: World>(id: &LogIdOf<TypeConfig<W>>) -> LogId {
    LogId { term: id.committed_leader_id().term, index: id.index() }
}

pub(crate) fn to_vote<W: World>(vote: Vote) -> VoteOf<TypeConfig<W>> {
    match vote.committed {
        true => VoteOf::<TypeConfig<W>>::new_committed(vote.term, vote.node),
        false => VoteOf::<TypeConfig<W>>::new(vote.term, vote.node),
    }
}

pub(crate) fn from_vote<W: World>(vote: &VoteOf<TypeConfig<W>>) -> Vote {
    Vote { term: vote.leader_id.term(), node: *vote.leader_id.node_id(), committed: vote.committed }
}

/// Largest membership that is decoded: some hundred members. In memory a member or a set takes up to 50 times its bytes.
const MEMBERSHIP_BYTES: usize = 16 << 10;

/// Why an entry of the WAL or of a peer cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("entry {0}: {1}")]
    Batch(LogId, BatchError),
    #[error("entry {0}: membership does not decode: {1}")]
    Membership(LogId, prost::DecodeError),
    #[error("entry {0}: membership of {1} bytes")]
    MembershipSize(LogId, usize),
    #[error("entry {0}: payload checksum is {1:#010x}, expected {2:#010x}")]
    Checksum(LogId, u32, u32),
    #[error("entry {0}: unknown kind {1}")]
    Kind(LogId, i32),
}

/// The entry as the WAL keeps it.
pub(crate) fn entry_to_wal<W: World>(entry: &EntryOf<TypeConfig<W>>) -> WalEntry {
    let (kind, payload, crc) = match &entry.payload {
        EntryPayload::Blank => (EntryKind::Blank, Bytes::new(), 0),
        EntryPayload::Normal(batch) => (EntryKind::Batch, batch.bytes().clone(), batch.crc()),
        EntryPayload::Membership(membership) => {
            let payload = encode_membership(membership);
            let crc = crc32c::crc32c(&payload);
            (EntryKind::Membership, payload, crc)
        }
    };
    WalEntry { id: from_log_id::<W>(&entry.log_id), kind, payload, crc }
}

/// The entry as openraft sees it. The payload's checksum has been verified by whoever read the bytes in.
pub(crate) fn entry_from_wal<W: World>(entry: WalEntry) -> Result<EntryOf<TypeConfig<W>>, EntryError> {
    let payload = match entry.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Membership => {
            let len = entry.payload.len();
            if len > MEMBERSHIP_BYTES {
                return Err(EntryError::MembershipSize(entry.id, len));
            }
            let membership =
                decode_membership(&entry.payload).map_err(|error| EntryError::Membership(entry.id, error))?;
            EntryPayload::Membership(membership)
        }
        EntryKind::Batch => {
            let batch = Batch::from_verified(entry.payload, entry.crc);
            EntryPayload::Normal(batch.map_err(|error| EntryError::Batch(entry.id, error))?)
        }
    };
    Ok(Entry { log_id: to_log_id::<W>(entry.id), payload })
}

pub(crate) fn log_id_to_wire(id: LogId) -> pb::LogId {
    pb::LogId { term: id.term, index: id.index }
}

pub(crate) fn log_id_from_wire(id: &pb::LogId) -> LogId {
    LogId { term: id.term, index: id.index }
}

pub(crate) fn vote_to_wire(vote: Vote) -> pb::Vote {
    pb::Vote { term: vote.term, node: vote.node, committed: vote.committed }
}

pub(crate) fn vote_from_wire(vote: Option<&pb::Vote>) -> Vote {
    vote.map_or_else(Vote::default, |vote| Vote { term: vote.term, node: vote.node, committed: vote.committed })
}

pub(crate) fn entry_to_wire<W: World>(entry: &EntryOf<TypeConfig<W>>) -> pb::Entry {
    let WalEntry { id, kind, payload, crc } = entry_to_wal::<W>(entry);
    let kind = match kind {
        EntryKind::Blank => pb::EntryKind::Blank,
        EntryKind::Membership => pb::EntryKind::Membership,
        EntryKind::Batch => pb::EntryKind::Batch,
    };
    pb::Entry { term: id.term, index: id.index, kind: kind.into(), payload, crc }
}

/// Verifies the checksum: this is where a peer's bytes come in.
fn entry_from_wire<W: World>(entry: pb::Entry) -> Result<EntryOf<TypeConfig<W>>, EntryError> {
    let id = LogId { term: entry.term, index: entry.index };
    let kind = match pb::EntryKind::try_from(entry.kind) {
        Ok(pb::EntryKind::Blank) => EntryKind::Blank,
        Ok(pb::EntryKind::Membership) => EntryKind::Membership,
        Ok(pb::EntryKind::Batch) => EntryKind::Batch,
        _ => return Err(EntryError::Kind(id, entry.kind)),
    };
    let actual = crc32c::crc32c(&entry.payload);
    if actual != entry.crc {
        return Err(EntryError::Checksum(id, actual, entry.crc));
    }
    entry_from_wal::<W>(WalEntry { id, kind, payload: entry.payload, crc: entry.crc })
}

pub(crate) fn append_to_wire<W: World>(stream: u64, request: &AppendEntriesRequest<TypeConfig<W>>) -> pb::AppendBatch {
    pb::AppendBatch {
        stream,
        vote: Some(vote_to_wire(from_vote::<W>(&request.vote))),
        prev: request.prev_log_id.as_ref().map(|id| log_id_to_wire(from_log_id::<W>(id))),
        commit: request.leader_commit.as_ref().map(|id| log_id_to_wire(from_log_id::<W>(id))),
        entries: request.entries.iter().map(entry_to_wire::<W>).collect(),
    }
}

pub(crate) fn to_append_request<W: World>(
    append: pb::AppendBatch,
) -> Result<AppendEntriesRequest<TypeConfig<W>>, EntryError> {
    Ok(AppendEntriesRequest {
        vote: to_vote::<W>(vote_from_wire(append.vote.as_ref())),
        prev_log_id: append.prev.as_ref().map(|id| to_log_id::<W>(log_id_from_wire(id))),
        leader_commit: append.commit.as_ref().map(|id| to_log_id::<W>(log_id_from_wire(id))),
        entries: append.entries.into_iter().map(entry_from_wire::<W>).collect::<Result<_, _>>()?,
    })
}

/// A heartbeat is an append without entries.
pub(crate) fn heartbeat_request<W: World>(beat: &pb::Heartbeat) -> AppendEntriesRequest<TypeConfig<W>> {
    AppendEntriesRequest {
        vote: to_vote::<W>(vote_from_wire(beat.vote.as_ref())),
        prev_log_id: beat.prev.as_ref().map(|id| to_log_id::<W>(log_id_from_wire(id))),
        leader_commit: beat.commit.as_ref().map(|id| to_log_id::<W>(log_id_from_wire(id))),
        entries: Vec::new(),
    }
}

pub(crate) fn heartbeat_to_wire<W: World>(
    partition: PartitionId,
    request: &AppendEntriesRequest<TypeConfig<W>>,
) -> pb::Heartbeat {
    pb::Heartbeat {
        partition: partition.0,
        vote: Some(vote_to_wire(from_vote::<W>(&request.vote))),
        prev: request.prev_log_id.as_ref().map(|id| log_id_to_wire(from_log_id::<W>(id))),
        commit: request.leader_commit.as_ref().map(|id| log_id_to_wire(from_log_id::<W>(id))),
    }
}

pub(crate) fn encode_membership(membership: &Membership<NodeId, EmptyNode>) -> Bytes {
    let configs =
        membership.get_joint_config().iter().map(|voters| pb::VoterSet { voters: voters.iter().copied().collect() });
    let nodes = membership.nodes().map(|(id, _)| *id);
    pb::Membership { configs: configs.collect(), nodes: nodes.collect() }.encode_to_vec().into()
}

pub(crate) fn decode_membership(bytes: &[u8]) -> Result<Membership<NodeId, EmptyNode>, prost::DecodeError> {
    let wire = pb::Membership::decode(bytes)?;
    let configs: Vec<BTreeSet<NodeId>> = wire.configs.into_iter().map(|set| set.voters.into_iter().collect()).collect();
    let nodes: BTreeMap<NodeId, EmptyNode> = wire.nodes.into_iter().map(|id| (id, EmptyNode::default())).collect();
    Ok(Membership::new_with_defaults(configs, nodes.into_keys()))
}

pub(crate) fn transfer_to_wire<W: World>(request: &TransferLeaderRequest<TypeConfig<W>>) -> pb::TransferLeader {
    pb::TransferLeader {
        from: Some(vote_to_wire(from_vote::<W>(request.from_leader()))),
        to: *request.to_node_id(),
        last_log_id: request.last_log_id().map(|id| log_id_to_wire(from_log_id::<W>(id))),
    }
}

pub(crate) fn transfer_request<W: World>(transfer: &pb::TransferLeader) -> TransferLeaderRequest<TypeConfig<W>> {
    let last = transfer.last_log_id.as_ref().map(|id| to_log_id::<W>(log_id_from_wire(id)));
    TransferLeaderRequest::new(to_vote::<W>(vote_from_wire(transfer.from.as_ref())), transfer.to, last)
}
