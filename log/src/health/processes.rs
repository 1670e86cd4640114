//! What this node knows of the processes of the others, for whoever meets them, talks about them, or has to succeed them.
use super::gone::{Gone, Suspicion, Witnesses, Word};
use crate::{
    topic::{LogId, NodeId, PartitionId},
    world::World,
};
use corduroy_proto::v1::{self as pb, ProcessesGone};
use openraft_rt::{AsyncRuntime, Instant};
use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::Notify;

/// Elements of a word that are listened to; a node has as many partitions by default.
const LISTENED_TO: usize = 1 << 10;

/// See [`super::gone`].
pub(crate) struct Processes<W: World> {
    me: NodeId,
    began: <W::Tasks as AsyncRuntime>::Instant,
    gone: Mutex<Gone>,
    /// What the others are told.
    word: Mutex<ProcessesGone>,
    /// For the one task that acts on it.
    changed: Notify,
}

impl<W: World> Processes<W> {
    pub(crate) fn new(me: NodeId) -> Self {
        let began = <<W::Tasks as AsyncRuntime>::Instant as Instant>::now();
        Processes { me, began, gone: Mutex::default(), word: Mutex::default(), changed: Notify::new() }
    }

    fn gone(&self) -> MutexGuard<'_, Gone> {
        self.gone.lock().expect("bookkeeping does not panic")
    }

    /// Time since the log was opened.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A process answered.
    pub(crate) fn met(&self, node: NodeId, run: u64) {
        let ended = self.gone().met(node, run, self.now());
        self.ended(ended, node);
    }

    /// A process called.
    pub(crate) fn called(&self, node: NodeId, run: u64) {
        let ended = self.gone().called(node, run, self.now());
        self.ended(ended, node);
    }

    fn ended(&self, ended: bool, node: NodeId) {
        if ended {
            tracing::info!(peer = node, "a node is back whose process was said to be gone");
            self.changed.notify_one();
        }
    }

    /// The connection to a process was lost, and nobody listens there.
    pub(crate) fn refused(&self, node: NodeId, run: u64) {
        match self.gone().refused(node, run, self.now()) {
            Suspicion::New => {
                tracing::warn!(
                    peer = node,
                    "the process of a node is gone: its connection was lost, another is refused"
                );
                self.changed.notify_one();
            }
            Suspicion::Known => {}
            Suspicion::TooOften => {
                tracing::debug!(peer = node, "nobody listens at a node, which was found gone too often to be believed");
            }
        }
    }

    /// A peer said which processes are gone.
    pub(crate) fn heard(&self, peer: NodeId, said: &ProcessesGone) {
        let processes = said.processes.iter().take(LISTENED_TO).map(|process| (process.node, process.run));
        let logs = said.logs.iter().take(LISTENED_TO).map(|log| {
            let last = log.last_log_id.as_ref().map(|id| LogId { term: id.term, index: id.index });
            (PartitionId(log.partition), last)
        });
        let word = Word { processes: processes.collect(), logs: logs.collect() };
        if !word.processes.is_empty() {
            tracing::warn!(peer, gone = ?word.processes.keys(), "a peer says that processes are gone");
        }
        self.gone().said(peer, word);
        self.changed.notify_one();
    }

    /// What this node says. Empty where it suspects nobody.
    pub(crate) fn word(&self) -> ProcessesGone {
        self.word.lock().expect("a copy").clone()
    }

    /// Puts this node's word together. `Some`: it is another than before.
    pub(super) fn speak(&self, logs: impl Fn(NodeId) -> Vec<pb::LastLog>) -> Option<ProcessesGone> {
        let own = self.gone().own();
        let mut word = self.word.lock().expect("a copy");
        if word.processes.iter().map(|process| (process.node, process.run)).eq(own.iter().map(|(n, r)| (*n, *r))) {
            return None;
        }
        let processes = own.iter().map(|(node, run)| pb::ProcessGone { node: *node, run: *run }).collect();
        let logs = own.keys().flat_map(|node| logs(*node)).take(LISTENED_TO).collect();
        *word = ProcessesGone { processes, logs };
        Some(word.clone())
    }

    /// See [`Gone::witnesses`].
    pub(super) fn witnesses(
        &self,
        node: NodeId,
        voters: &[NodeId],
        partition: PartitionId,
    ) -> Option<(u64, Witnesses)> {
        self.gone().witnesses(node, self.me, voters, partition)
    }

    /// See [`Gone::is_back`].
    pub(super) fn is_back(&self, node: NodeId, run: u64) -> bool {
        self.gone().is_back(node, run)
    }

    /// Resolves when something changed since it resolved last. One task may wait.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
