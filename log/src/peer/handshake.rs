//! Who is at the other end: the first packet in each direction of every connection.
//!
//! A node is known by its id and the random incarnation its data directory was given when it was made. The first
//! incarnation seen of an id is written to the WAL before it is welcomed, and stays: a node that comes back with another
//! one has lost its disk, and with it votes and entries it once confirmed. It is refused, and told so. The same holds
//! for a boot epoch lower than one already seen: that directory is an older copy of itself.
use crate::{
    topic::{ClusterId, NodeId},
    wal::{Identity, PeerIdentity, Wal},
    world::World,
};
use corduroy_proto::v1::{Hello, Refusal, Refused, Welcome};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

/// Version of what is said on connections between nodes.
pub(crate) const PROTOCOL: u32 = 1;

/// What this node is, for greetings.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    pub cluster: ClusterId,
    pub identity: PeerIdentity,
}

/// What this node knows of the others' identities. Durable in the WAL.
pub(crate) struct Directory<W: World> {
    me: Me,
    members: Vec<NodeId>,
    known: Mutex<BTreeMap<NodeId, PeerIdentity>>,
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
    pub(crate) fn new(identity: &Identity, members: Vec<NodeId>, wal: Wal<W>) -> Arc<Self> {
        let known = wal.peers().into_iter().map(|peer| (peer.node, peer)).collect();
        let Identity { cluster, node, incarnation, boot_epoch, .. } = *identity;
        let me = Me { cluster, identity: PeerIdentity { node, incarnation, boot_epoch } };
        Arc::new(Directory { me, members, known: Mutex::new(known), wal })
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me.identity.node
    }

    pub(crate) fn hello(&self, to: NodeId, fresh: bool) -> Hello {
        Hello {
            protocol: PROTOCOL,
            cluster_id: self.me.cluster.0.to_vec().into(),
            from: self.me.identity.node,
            incarnation: self.me.identity.incarnation.to_vec().into(),
            boot_epoch: self.me.identity.boot_epoch,
            to,
            fresh,
        }
    }

    pub(crate) fn welcome(&self) -> Welcome {
        Welcome {
            protocol: PROTOCOL,
            cluster_id: self.me.cluster.0.to_vec().into(),
            from: self.me.identity.node,
            incarnation: self.me.identity.incarnation.to_vec().into(),
            boot_epoch: self.me.identity.boot_epoch,
        }
    }

    /// Checks who calls. What it learned is durable when this returns `Ok`.
    pub(crate) async fn check_hello(&self, hello: &Hello) -> Result<NodeId, Rejected> {
        if hello.to != self.me() {
            let detail = format!("this is node {}, not node {}", self.me(), hello.to);
            return refuse(Refusal::WrongNode, detail);
        }
        self.check(hello.protocol, &hello.cluster_id, hello.from, &hello.incarnation, hello.boot_epoch).await?;
        Ok(hello.from)
    }

    /// Checks who answered a call to node `to`.
    pub(crate) async fn check_welcome(&self, to: NodeId, welcome: &Welcome) -> Result<(), Rejected> {
        if welcome.from != to {
            let detail = format!("node {} answered where node {to} was called", welcome.from);
            return refuse(Refusal::WrongNode, detail);
        }
        self.check(welcome.protocol, &welcome.cluster_id, welcome.from, &welcome.incarnation, welcome.boot_epoch).await
    }

    async fn check(&self, protocol: u32, cluster: &[u8], from: NodeId, incarnation: &[u8], epoch: u64) -> Result<(), Rejected> {
        let met = judge(&self.me, &self.members, &self.known, protocol, cluster, from, incarnation, epoch);
        match met.map_err(Rejected::Refused)? {
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
#[allow(clippy::too_many_arguments)]
fn judge(
    me: &Me,
    members: &[NodeId],
    known: &Mutex<BTreeMap<NodeId, PeerIdentity>>,
    protocol: u32,
    cluster: &[u8],
    from: NodeId,
    incarnation: &[u8],
    epoch: u64,
) -> Result<Option<PeerIdentity>, Refused> {
    if protocol != PROTOCOL {
        return Err(refused(Refusal::WrongProtocol, format!("protocol {protocol} is spoken there, {PROTOCOL} here")));
    }
    if cluster != me.cluster.0 {
        let theirs = <[u8; 16]>::try_from(cluster).map_or_else(|_| format!("{cluster:02x?}"), |id| ClusterId(id).to_string());
        return Err(refused(Refusal::WrongCluster, format!("node {from} belongs to cluster {theirs}, this is cluster {}", me.cluster)));
    }
    if !members.contains(&from) || from == me.identity.node {
        return Err(refused(Refusal::UnknownNode, format!("node {from} is not one of this node's peers")));
    }
    let Ok(incarnation) = <[u8; 16]>::try_from(incarnation) else {
        return Err(refused(Refusal::WrongIncarnation, format!("node {from} gave an incarnation of {} bytes", incarnation.len())));
    };
    let mut known = known.lock().expect("judging does not panic");
    let met = PeerIdentity { node: from, incarnation, boot_epoch: epoch };
    if let Some(before) = known.get(&from) {
        if before.incarnation != incarnation {
            let detail = format!("node {from} is known with another data directory: its disk was lost or replaced; a lost node comes back under a new id");
            return Err(refused(Refusal::WrongIncarnation, detail));
        }
        if epoch < before.boot_epoch {
            let detail = format!("node {from} was started {} times before, its directory says {epoch}: it is an older copy", before.boot_epoch);
            return Err(refused(Refusal::OldEpoch, detail));
        }
        if epoch == before.boot_epoch {
            return Ok(None);
        }
    }
    known.insert(from, met);
    Ok(Some(met))
}

#[cfg(test)]
mod tests;
