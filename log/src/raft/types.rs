//! What openraft is told about our types, once for every world.
use super::state_machine::StateMachine;
use crate::{
    batch::Batch,
    partition::fold::Verdict,
    topic::{NodeId, Offset, Term},
    world::{Timestamp, World},
};
use openraft::{
    RaftMetrics, RaftTypeConfig,
    impls::{BoxedErrorSource, EmptyNode, Entry, EntryPayload, InlineBatch, ProgressResponder, leader_id_std},
    type_config::alias::WatchReceiverOf,
    vote::RaftLeaderId,
};
use std::marker::PhantomData;

/// openraft's type parameter. Addresses are not part of the membership: the cluster map has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig<W>(PhantomData<W>);

impl<W: World> RaftTypeConfig for TypeConfig<W> {
    type D = Batch;
    type R = Applied;
    type NodeId = NodeId;
    type Node = EmptyNode;
    type Term = Term;
    type LeaderId = leader_id_std::LeaderId<Term, NodeId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Batch, NodeId, EmptyNode>;
    type Entry = Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = W::Tasks;
    type Responder<T>
        = ProgressResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// What evolving an entry answers to the one who appended it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Offset of the batch's first record (of the next record, for entries without any).
    pub base: Offset,
    /// Offset after its last record. Equal to `base` where the batch was void, and for entries without records.
    pub end: Offset,
    /// Log time of the batch.
    pub time: Timestamp,
    /// What became of it.
    pub verdict: Verdict,
}

pub(crate) type Raft<W> = openraft::Raft<TypeConfig<W>, StateMachine<W>>;
pub(crate) type Metrics<W> = WatchReceiverOf<TypeConfig<W>, RaftMetrics<TypeConfig<W>>>;
pub(crate) type RaftConfig = openraft::Config;
