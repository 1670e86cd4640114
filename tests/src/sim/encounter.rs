//! What a fault met: counters of the simulated world before it and after it, not what it was meant to do.
use super::{kind::Kind, plan::Fault, run::Run};
use corduroy_log::{
    partition::Role,
    testing::{LinkStats, NodeStats},
    topic::NodeId,
};
use std::time::Duration;

/// Whom and what a fault is done to.
pub(super) struct Scene {
    pub(super) nodes: Vec<NodeId>,
    /// Directions of links.
    pub(super) links: Vec<(NodeId, NodeId)>,
}

impl Scene {
    /// What a fault is done to, when it is done to these nodes.
    pub(super) fn of(run: &Run, fault: &Fault, nodes: &[NodeId]) -> Self {
        let all = run.cluster.nodes();
        let node = nodes[0];
        let others: Vec<NodeId> = all.iter().copied().filter(|other| *other != node).collect();
        let links = match fault.kind {
            Kind::OneWay => vec![(node, fault.detail)],
            Kind::Cut | Kind::Flap | Kind::HalfOpen => both_ways([(node, fault.detail)]),
            Kind::Ring => {
                let n = all.len() as u64;
                let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
                both_ways(pairs.filter(|(a, b)| a < b && b - a != 1 && b - a != n - 1))
            }
            Kind::Bridge => {
                // The victim sees both halves, the halves do not see each other.
                let (left, right) = others.split_at(others.len() / 2);
                both_ways(left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))))
            }
            kind if kind.is_of_links() => both_ways(others.iter().map(|other| (node, *other))),
            _ => Vec::new(),
        };
        Scene { nodes: nodes.to_vec(), links }
    }

    /// How often the world has felt faults of this kind here so far.
    pub(super) fn felt(&self, run: &Run, kind: Kind) -> u64 {
        use Kind::*;
        let nodes = |count: fn(NodeStats) -> u64| -> u64 {
            self.nodes.iter().map(|node| count(run.sim().node_stats(*node))).sum()
        };
        let links = |count: fn(LinkStats) -> u64| -> u64 {
            self.links.iter().map(|(from, to)| count(run.sim().link_stats(*from, *to))).sum()
        };
        match kind {
            Kill | PowerCut | PowerCutAll => nodes(|node| node.deaths),
            PowerCutAtOperation | CutInRecovery => nodes(|node| node.deaths_at_operations),
            Pause => nodes(|node| node.held_back),
            SlowDisk => nodes(|node| node.slow_syncs),
            // A call failed, and the node took the consequence.
            FailSync | FailWrite | ReadOnly => nodes(|node| node.failed_calls.min(node.halts)),
            DiskFull => {
                nodes(|node| node.failed_calls) + self.nodes.iter().map(|node| run.seen().full(*node)).sum::<u64>()
            }
            ClockJump => nodes(|node| node.wrong_times),
            Drift => nodes(|node| node.drifted_times),
            Rot | RotInUse => nodes(|node| node.damages),
            OneWay | Cut | Isolate | Ring | Bridge | Flap => links(|link| link.held + link.unanswered),
            SlowLinks => links(|link| link.slowed),
            LossyLinks => links(|link| link.resent),
            LateRequests => links(|link| link.late),
            NarrowLinks => links(|link| link.narrowed),
            Resets => links(|link| link.reset),
            HalfOpen => links(|link| link.swallowed),
        }
    }

    /// Whether everybody it is done to runs, nothing else that takes a whole node is done to them, and where it is done to
    /// links, nothing else is done to those, and something crosses them: followers have nothing to say to each other.
    pub(super) fn is_lively(&self, run: &Run) -> bool {
        let ends = self.links.iter().flat_map(|(from, to)| [*from, *to]);
        let nodes: Vec<NodeId> = if self.links.is_empty() { self.nodes.clone() } else { ends.collect() };
        let alive = {
            let seen = run.seen();
            let well = |node: &NodeId| self.links.is_empty() || !seen.busy.contains(node);
            !self.links.iter().any(|link| seen.links.contains(link))
                && nodes.iter().all(|node| run.cluster.log(*node).is_some() && well(node))
        };
        alive && (self.links.is_empty() || self.links.iter().any(|(from, to)| leads_over(run, *from, *to)))
    }
}

/// Whether a node leads a partition that another one follows.
fn leads_over(run: &Run, leader: NodeId, follower: NodeId) -> bool {
    let partitions = run.cluster.log(leader).map(|log| log.partitions()).unwrap_or_default();
    let led = partitions.into_iter().map(|partition| partition.info()).filter(|info| info.role == Role::Leader);
    led.map(|info| info.replicas).any(|replicas| replicas.contains(&follower))
}

/// Whether a fault of this kind that lasts so long cannot fail to meet something, where everybody is lively: heartbeats cross the
/// links, and clients keep every disk busy. What takes luck, or a leader, is asked of many seeds together.
pub(super) fn must_meet(kind: Kind, lasts: Duration) -> bool {
    use Kind::*;
    let long = lasts >= Duration::from_secs(1);
    match kind {
        Kill | PowerCut | PowerCutAll | CutInRecovery | FailSync | FailWrite | ReadOnly | Resets | Rot | RotInUse => {
            true
        }
        Pause | Drift | SlowDisk | SlowLinks | NarrowLinks => long,
        OneWay | Cut | Isolate | Ring | Bridge => long,
        Flap | HalfOpen | PowerCutAtOperation | ClockJump | LossyLinks | LateRequests | DiskFull => false,
    }
}

fn both_ways(pairs: impl IntoIterator<Item = (NodeId, NodeId)>) -> Vec<(NodeId, NodeId)> {
    pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}
