//! Who is at the other end: the first packet in each direction of every connection.
//!
//! A node is known by its id and the random incarnation its data directory was given when it was made. The first
//! incarnation seen of an id is written to the WAL before it is welcomed, and stays: a node that comes back with another
//! one has lost its disk, and with it votes and entries it once confirmed. It is refused, and told so.
//!
//! A directory that is an older copy of itself is as bad as a lost one. Two numbers never decrease over a node's life: its
//! boot epoch, and the sequence number of the last frame of its WAL that is on disk. Every greeting and every packet
//! carries the latter, in both directions: a leader counts its own disk for a majority just as it counts a follower's.
//! A node that greets with less of either than its peers were told is refused like one without disk. Peers remember both
//! in memory, and on disk with every boot and every [`REMEMBER_EVERY`] frames.
//!
//! A process that was let in is compared no more: its connections overtake each other, and an earlier number may arrive
//! after a later one. Greetings therefore carry the random number of the process. Another process with the same boot
//! epoch is a copy: an epoch is on disk before it is used, and used once.
//!
//! **Invariant**: what is learned in a greeting is on disk before the peer is welcomed.
use crate::{
    topic::{ClusterId, NodeId},
    wal::{Identity, PeerIdentity, Wal},
    world::World,
};
use corduroy_proto::v1::{Greeting, Hello, Refusal, Refused};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

/// Version of what is said on connections between nodes.
pub(crate) const PROTOCOL: u32 = 1;

/// Frames a peer may confirm before that is written down again. Writing it is a frame, too, of which the peer takes note:
/// a small number would keep idle nodes writing.
const REMEMBER_EVERY: u64 = 1024;

/// What this node is, for greetings.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    pub cluster: ClusterId,
    pub identity: PeerIdentity,
    /// This process.
    pub run: u64,
}

/// A peer as this node knows it.
#[derive(Clone, Copy, Debug)]
struct Known {
    identity: PeerIdentity,
    /// The process that was let in last; `None` since this node was started.
    run: Option<u64>,
}

/// What this node knows of the others' identities. Durable in the WAL.
pub(crate) struct Directory<W: World> {
    me: Me,
    members: Vec<NodeId>,
    known: Mutex<BTreeMap<NodeId, Known>>,
    /// Held from a verdict until what it learned is on disk, so that no second greeting rests on the first too early.
    learning: tokio::sync::Mutex<()>,
    wal: Wal<W>,
}

/// A greeting that was not accepted.
#[derive(Debug)]
pub(crate) enum Rejected {
    /// The other end is not who it should be.
    Refused(Refused),
    /// What was learned could not be written; the WAL halts the node.
    Disk(io::Error),
}

impl<W: World> Directory<W> {
    pub(crate) fn new(identity: &Identity, run: u64, members: Vec<NodeId>, wal: Wal<W>) -> Arc<Self> {
        let known = wal.peers().into_iter().map(|peer| (peer.node, Known { identity: peer, run: None })).collect();
        let Identity { cluster, node, incarnation, boot_epoch, .. } = *identity;
        let me = Me { cluster, identity: PeerIdentity { node, incarnation, boot_epoch, confirmed: 0 }, run };
        Arc::new(Directory { me, members, known: Mutex::new(known), learning: tokio::sync::Mutex::default(), wal })
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me.identity.node
    }

    pub(crate) fn hello(&self, to: NodeId) -> Hello {
        Hello { greeting: Some(self.greeting()), to }
    }

    /// What this node says of itself.
    pub(crate) fn greeting(&self) -> Greeting {
        let Me { cluster, identity, run } = &self.me;
        Greeting {
            protocol: PROTOCOL,
            cluster_id: cluster.0.to_vec().into(),
            node: identity.node,
            incarnation: identity.incarnation.to_vec().into(),
            boot_epoch: identity.boot_epoch,
            confirmed: self.confirmed(),
            run: *run,
        }
    }

    /// Sequence number of the last frame of this node that is on disk.
    pub(crate) fn confirmed(&self) -> u64 {
        self.wal.stats().durable_sequence
    }

    /// This node's data is lost or older than what it confirmed: so that no later start tries it again.
    pub(crate) fn mark_lost(&self, why: &str) {
        if let Err(error) = self.wal.mark_lost(why) {
            tracing::error!(%error, "could not write down that this directory must not be used again");
        }
    }

    /// Takes note of what a peer says it has on disk.
    pub(crate) fn note(&self, peer: NodeId, confirmed: u64) {
        let mut known = self.known.lock().expect("judging does not panic");
        let Some(Known { identity: known, .. }) = known.get_mut(&peer) else { return };
        let remembered = known.confirmed / REMEMBER_EVERY;
        known.confirmed = known.confirmed.max(confirmed);
        if known.confirmed / REMEMBER_EVERY > remembered {
            // Nobody waits for it: until it is written, this process knows.
            drop(self.wal.save_peer(*known));
        }
    }

    /// Checks who calls. What it learned is durable when this returns `Ok`.
    pub(crate) async fn check_hello(&self, hello: &Hello) -> Result<NodeId, Rejected> {
        if hello.to != self.me() {
            let detail = format!("this is node {}, not node {}", self.me(), hello.to);
            return refuse(Refusal::WrongNode, detail);
        }
        let Some(greeting) = &hello.greeting else {
            return refuse(Refusal::WrongProtocol, "the caller says nothing of itself".into());
        };
        self.check(greeting).await?;
        Ok(greeting.node)
    }

    /// Checks who answered a call to node `to`.
    pub(crate) async fn check_welcome(&self, to: NodeId, welcome: &Greeting) -> Result<(), Rejected> {
        if welcome.node != to {
            let detail = format!("node {} answered where node {to} was called", welcome.node);
            return refuse(Refusal::WrongNode, detail);
        }
        self.check(welcome).await
    }

    async fn check(&self, greeting: &Greeting) -> Result<(), Rejected> {
        let _learning = self.learning.lock().await;
        match judge(&self.me, &self.members, &self.known, greeting).map_err(Rejected::Refused)? {
            None => Ok(()),
            Some(learned) => self.wal.save_peer(learned).await.map_err(Rejected::Disk),
        }
    }
}

fn refuse<T>(refusal: Refusal, detail: String) -> Result<T, Rejected> {
    Err(Rejected::Refused(refused(refusal, detail)))
}

fn refused(refusal: Refusal, detail: String) -> Refused {
    Refused { refusal: refusal.into(), detail }
}

/// The rule. Remembers what is new and returns it, to be made durable before the peer is welcomed.
fn judge(
    me: &Me,
    members: &[NodeId],
    known: &Mutex<BTreeMap<NodeId, Known>>,
    greeting: &Greeting,
) -> Result<Option<PeerIdentity>, Refused> {
    let Greeting { protocol, ref cluster_id, node: from, ref incarnation, boot_epoch, confirmed, run } = *greeting;
    if protocol != PROTOCOL {
        let detail = format!("protocol {protocol} is spoken there, {PROTOCOL} here");
        return Err(refused(Refusal::WrongProtocol, detail));
    }
    if cluster_id[..] != me.cluster.0 {
        let id = <[u8; 16]>::try_from(&cluster_id[..]);
        let theirs = id.map_or_else(|_| format!("{:02x?}", &cluster_id[..]), |id| ClusterId(id).to_string());
        let detail = format!("node {from} belongs to cluster {theirs}, this is cluster {}", me.cluster);
        return Err(refused(Refusal::WrongCluster, detail));
    }
    if !members.contains(&from) || from == me.identity.node {
        return Err(refused(Refusal::UnknownNode, format!("node {from} is not one of this node's peers")));
    }
    let Ok(incarnation) = <[u8; 16]>::try_from(&incarnation[..]) else {
        let detail = format!("node {from} gave an incarnation of {} bytes", incarnation.len());
        return Err(refused(Refusal::WrongIncarnation, detail));
    };
    let mut known = known.lock().expect("judging does not panic");
    let met = PeerIdentity { node: from, incarnation, boot_epoch, confirmed };
    let Some(Known { identity: before, run: let_in }) = known.get_mut(&from) else {
        known.insert(from, Known { identity: met, run: Some(run) });
        return Ok(Some(met));
    };
    if before.incarnation != incarnation {
        let detail = format!(
            "node {from} is known with another data directory: its disk was lost or replaced; \
             a lost node comes back under a new id"
        );
        return Err(refused(Refusal::WrongIncarnation, detail));
    }
    if *let_in == Some(run) {
        return Ok(None);
    }
    let rolled_back = |what: &str, before: u64, now: u64| {
        let detail = format!("node {from} once had {what} {before}, its directory says {now}: it is an older copy");
        Err(refused(Refusal::RolledBack, detail))
    };
    if boot_epoch < before.boot_epoch {
        return rolled_back("boot epoch", before.boot_epoch, boot_epoch);
    }
    if confirmed < before.confirmed {
        return rolled_back("confirmed frame", before.confirmed, confirmed);
    }
    if boot_epoch == before.boot_epoch && let_in.is_some() {
        let detail =
            format!("node {from} had boot epoch {boot_epoch} as another process: its directory is an older copy");
        return Err(refused(Refusal::RolledBack, detail));
    }
    *let_in = Some(run);
    let news = boot_epoch > before.boot_epoch;
    *before = met;
    Ok(news.then_some(met))
}

#[cfg(test)]
mod tests;
