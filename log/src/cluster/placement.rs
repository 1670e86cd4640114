//! Which nodes carry which partition, and who is meant to lead it. Pure.
//!
//! Every partition ranks the nodes by a hash of its own (rendezvous hashing), and its replicas are those that rank first. So
//! another node takes over its share of what is placed after it came, and nothing else changes. Of the replicas one is the
//! preferred leader: as many on each node as on any other, or one more. Where the ranks alone leave a node too few partitions to
//! lead, it takes the place of a lower rank in as few of them as that takes.
//!
//! The order of the others is that in which they are meant to succeed it. It is spread, too: what a node led is taken over by
//! all others alike.
use crate::{
    error::LogError,
    log::NewTopic,
    topic::{NodeId, check_name},
};
use corduroy_proto::v1::NodeRegistered;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};
use xxhash_rust::xxh3::xxh3_64;

/// Replicas of a topic that does not say how many it wants, where there are enough nodes.
const REPLICATION: u32 = 3;

/// Checks what a caller asks for. `partition_limit` is how many a topic may have.
pub(crate) fn check_topic(new: &NewTopic, partition_limit: u32) -> Result<(), LogError> {
    check_name(&new.name)?;
    if new.partitions == 0 || new.partitions > partition_limit {
        let text = format!(
            "topic {:?}: {} partitions asked for, 1 to {partition_limit} are possible",
            new.name, new.partitions
        );
        return Err(LogError::Invalid(text));
    }
    match &new.service {
        Some(service) => check_name(service),
        None => Ok(()),
    }
}

/// The nodes that may carry a topic, and how many replicas it gets. `nodes` are all that are configured, `known` those of
/// which the cluster map says what they carry.
pub(crate) fn candidates(
    new: &NewTopic,
    nodes: &[NodeId],
    known: &BTreeMap<NodeId, NodeRegistered>,
) -> Result<(Vec<NodeId>, u32), LogError> {
    let refuse = |wanted: u32, there: String| {
        let text = format!("topic {:?}: {wanted} replicas asked for, {there}", new.name);
        Err(LogError::Invalid(text))
    };
    if new.replication == Some(0) {
        return refuse(0, "at least one is needed".into());
    }
    let Some(service) = &new.service else {
        let wanted = new.replication.unwrap_or(REPLICATION.min(nodes.len() as u32));
        return match wanted as usize <= nodes.len() {
            true => Ok((nodes.to_vec(), wanted)),
            false => refuse(wanted, format!("the cluster has {} nodes", nodes.len())),
        };
    };
    let carries = |node: &&NodeId| {
        known.get(node).is_some_and(|known| known.services.is_empty() || known.services.contains(service))
    };
    let carriers: Vec<NodeId> = nodes.iter().filter(carries).copied().collect();
    let strangers: Vec<NodeId> = nodes.iter().filter(|node| !known.contains_key(node)).copied().collect();
    let there = carriers.len() as u32;
    let wanted = new.replication.unwrap_or(REPLICATION.min(there).max(1));
    if !strangers.is_empty() && (new.replication.is_none() || wanted > there) {
        let text = format!(
            "topic {:?}: nodes {strangers:?} were not started yet, and have not said whether they carry service {service:?}",
            new.name
        );
        return Err(LogError::Unavailable(text));
    }
    if wanted > there {
        return refuse(wanted, format!("service {service:?} is carried by {there} nodes ({carriers:?})"));
    }
    Ok((carriers, wanted))
}

/// Replicas of each partition, the preferred leader first, then in the order in which they are to succeed it.
/// `replication` is at most the number of nodes.
pub(crate) fn place(topic: &str, partitions: u32, replication: u32, nodes: &[NodeId]) -> Vec<Vec<NodeId>> {
    let ranked: Vec<Vec<NodeId>> = (0..partitions).map(|partition| ranked(topic, partition, nodes)).collect();
    let mut sets: Vec<Vec<NodeId>> = ranked.iter().map(|nodes| nodes[..replication as usize].to_vec()).collect();
    let leaders = Leaders::choose(nodes, &ranked, &mut sets);
    let mut order = Order::default();
    sets.into_iter().zip(leaders).map(|(set, leader)| order.of(leader, set)).collect()
}

/// The nodes as a partition ranks them.
fn ranked(topic: &str, partition: u32, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut ranked = nodes.to_vec();
    ranked.sort_by_key(|node| (Reverse(xxh3_64(format!("{topic}/{partition}/{node}").as_bytes())), *node));
    ranked
}

/// Preferred leaders while they are being spread.
struct Leaders<'a> {
    sets: &'a mut [Vec<NodeId>],
    /// By partition.
    leaders: Vec<NodeId>,
    /// How many partitions each node leads.
    led: BTreeMap<NodeId, usize>,
}

impl Leaders<'_> {
    /// A leader for each set, none of which leads two more than another. Changes sets where it must.
    fn choose(nodes: &[NodeId], ranked: &[Vec<NodeId>], sets: &mut [Vec<NodeId>]) -> Vec<NodeId> {
        let mut led: BTreeMap<NodeId, usize> = nodes.iter().map(|node| (*node, 0)).collect();
        let mut leaders = Vec::with_capacity(sets.len());
        for set in sets.iter() {
            // Of equals the first, which ranks highest.
            let leader = *set.iter().min_by_key(|node| led[node]).expect("a set has at least one replica");
            *led.get_mut(&leader).expect("one of the nodes") += 1;
            leaders.push(leader);
        }
        let mut spread = Leaders { sets, leaders, led };
        while let Some(idle) = spread.too_idle() {
            if !spread.shift(idle) {
                spread.replace(idle, ranked);
            }
        }
        spread.leaders
    }

    /// The node that leads least, where another one leads two more.
    fn too_idle(&self) -> Option<NodeId> {
        let (node, least) = self.led.iter().min_by_key(|(node, led)| (**led, **node))?;
        let most = self.led.values().max()?;
        (most - least > 1).then_some(*node)
    }

    fn is_busy(&self, node: NodeId, idle: NodeId) -> bool {
        self.led[&node] > self.led[&idle] + 1
    }

    /// Gives `idle` a partition to lead, by moving leads within the sets, and by as few moves as possible. `false`: there is
    /// no way.
    fn shift(&mut self, idle: NodeId) -> bool {
        // What each node that was found could give, and to whom: a way that ends at the idle one.
        let mut gives: BTreeMap<NodeId, (usize, NodeId)> = BTreeMap::new();
        let mut next = VecDeque::from([idle]);
        while let Some(taker) = next.pop_front() {
            for partition in (0..self.sets.len()).filter(|partition| self.sets[*partition].contains(&taker)) {
                let giver = self.leaders[partition];
                if giver == idle || gives.contains_key(&giver) {
                    continue;
                }
                gives.insert(giver, (partition, taker));
                if self.is_busy(giver, idle) {
                    self.pass_on(giver, &gives);
                    return true;
                }
                next.push_back(giver);
            }
        }
        false
    }

    /// Moves leads along the way from a busy node to the idle one.
    fn pass_on(&mut self, busy: NodeId, gives: &BTreeMap<NodeId, (usize, NodeId)>) {
        let mut giver = busy;
        while let Some((partition, taker)) = gives.get(&giver) {
            self.lead(*partition, *taker);
            giver = *taker;
        }
    }

    /// Puts `idle` into a set, and lets it lead there: into one that a busy node leads, and that ranks it highest.
    fn replace(&mut self, idle: NodeId, ranked: &[Vec<NodeId>]) {
        let rank = |partition: usize| ranked[partition].iter().position(|node| *node == idle);
        let led_by_busy = (0..self.sets.len()).filter(|partition| self.is_busy(self.leaders[*partition], idle));
        let partition = led_by_busy.min_by_key(|partition| (rank(*partition), *partition));
        let partition = partition.expect("a node leads two more than the idle one");
        *self.sets[partition].last_mut().expect("a set has at least one replica") = idle;
        self.lead(partition, idle);
    }

    fn lead(&mut self, partition: usize, node: NodeId) {
        let before = std::mem::replace(&mut self.leaders[partition], node);
        *self.led.get_mut(&before).expect("one of the nodes") -= 1;
        *self.led.get_mut(&node).expect("one of the nodes") += 1;
    }
}

/// Puts successors into an order that spreads what each node leads.
#[derive(Default)]
struct Order {
    /// How often a node comes at a place behind a leader.
    behind: BTreeMap<(NodeId, usize, NodeId), usize>,
}

impl Order {
    fn of(&mut self, leader: NodeId, mut set: Vec<NodeId>) -> Vec<NodeId> {
        set.retain(|node| *node != leader);
        let mut order = vec![leader];
        while !set.is_empty() {
            let place = order.len();
            let often = |node: &NodeId| self.behind.get(&(leader, place, *node)).copied().unwrap_or_default();
            // Of equals the first, which ranks highest.
            let next = (0..set.len()).min_by_key(|at| often(&set[*at])).expect("the set is not empty");
            let next = set.remove(next);
            *self.behind.entry((leader, place, next)).or_default() += 1;
            order.push(next);
        }
        order
    }
}

#[cfg(test)]
mod tests;
