//! What happens in a run, as a list from which any part can be left out.
use super::{draw::Draw, kind::Kind, producers::KEYS, settings::Settings};
use corduroy_log::topic::NodeId;
use std::{fmt, time::Duration};

/// How long faults may occur.
pub const SAFETY: Duration = Duration::from_secs(40);
/// No fault before that: a run shows first that it works.
const QUIET: Duration = Duration::from_secs(3);
/// A fault's longest time.
const LONGEST_MILLIS: u64 = 8_000;

/// Faults, operations, and what is left broken in the end. Times count from the moment the cluster was ready.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of their times.
    pub faults: Vec<Fault>,
    /// In the order of their times; those of one client are done one after the other.
    pub operations: Vec<Operation>,
    /// Nodes that must make progress once the faults are over: a majority of the replicas of every partition.
    pub core: Vec<NodeId>,
    /// What the others are left with.
    pub outside: Outside,
}

/// What becomes of the nodes that are not in the core while it must make progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// They work.
    Healed,
    /// They stay dead.
    Dead,
    /// They run and reach nobody.
    CutOff,
    /// They stand still.
    Paused,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its place in the plan as it was drawn; stays when others are left out.
    pub number: usize,
    /// When it begins.
    pub at: Duration,
    /// How long it lasts; a node that died in it is started again then.
    pub lasts: Duration,
    /// What it does.
    pub kind: Kind,
    /// To whom.
    pub victim: Victim,
    /// What else it needs: the second node of a link, a count of operations, microseconds. Its meaning is the kind's.
    pub detail: u64,
}

/// Whom a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// This node.
    Node(NodeId),
    /// Whoever leads this partition when the fault begins.
    LeaderOf(u32),
}

/// Something a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its place in the plan as it was drawn.
    pub number: usize,
    /// Not before this.
    pub at: Duration,
    /// Which client.
    pub client: u32,
    /// What.
    pub what: What,
}

/// The operations there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Append records of so many bytes to a partition.
    Append {
        /// The partition.
        partition: u32,
        /// How many records.
        records: u32,
        /// Bytes of each.
        bytes: u32,
    },
    /// Append a record if the partition ends where the client thinks it does.
    AppendIf {
        /// The partition.
        partition: u32,
    },
    /// Append a record with a key if its last record is where the client thinks it is.
    AppendIfKey {
        /// The partition.
        partition: u32,
        /// Number of the key.
        key: u64,
    },
    /// Append numbered records, and send them again until there is an answer.
    Produce {
        /// The partition.
        partition: u32,
        /// How many records.
        records: u32,
        /// Bytes of each.
        bytes: u32,
        /// Send each attempt to two nodes at once.
        twice: bool,
    },
    /// Commit the client's cursor in a partition, or fetch it.
    Cursor {
        /// The partition.
        partition: u32,
        /// Fetch at this node.
        node: NodeId,
        /// Commit instead.
        commits: bool,
    },
    /// Read what the client has seen, at a node.
    ReadSession {
        /// The partition.
        partition: u32,
        /// At this node.
        node: NodeId,
    },
    /// Read from a partition at a node.
    Read {
        /// The partition.
        partition: u32,
        /// At this node.
        node: NodeId,
        /// Confirmed by a majority.
        linearizable: bool,
        /// Begin so many records before the end the client knows.
        back: u64,
    },
    /// Follow a partition for some time, from the beginning.
    Subscribe {
        /// The partition.
        partition: u32,
        /// Milliseconds.
        millis: u64,
    },
    /// Create a topic with so many partitions and append to it.
    CreateTopic {
        /// How many.
        partitions: u32,
    },
    /// Create a topic, append to it and delete it.
    DeleteTopic,
}

impl Plan {
    /// Draws a plan for these settings.
    pub fn draw(settings: &Settings) -> Self {
        let seed = settings.seed;
        let outside =
            Draw::named(seed, "outside").pick(&[Outside::Healed, Outside::Dead, Outside::CutOff, Outside::Paused]);
        let faults = faults(settings);
        let core = core(settings, &faults);
        Plan { faults, operations: operations(settings), core, outside }
    }
}

fn core(settings: &Settings, faults: &[Fault]) -> Vec<NodeId> {
    let mut draw = Draw::named(settings.seed, "core");
    // With fewer replicas than nodes, a majority of the nodes may hold a minority of a partition.
    let whole = u64::from(settings.replication) == settings.nodes;
    let leave = if whole { (settings.nodes - 1) / 2 } else { 1 };
    let mut core: Vec<NodeId> = (1..=settings.nodes).collect();
    // What was damaged need not work again.
    if faults.iter().any(|fault| fault.kind.rots()) {
        core.retain(|node| *node != rotting(settings));
    }
    while core.len() as u64 > settings.nodes - leave {
        core.remove(draw.below(core.len() as u64) as usize);
    }
    core
}

/// The node whose disk rots, if one does.
fn rotting(settings: &Settings) -> NodeId {
    Draw::named(settings.seed, "rot").within(1..=settings.nodes)
}

fn faults(settings: &Settings) -> Vec<Fault> {
    let mut draw = Draw::named(settings.seed, "faults");
    let count = draw.within(3..=14);
    let safety = SAFETY.as_millis() as u64;
    let mut faults: Vec<Fault> = (0..count)
        .map(|_| {
            let kind = draw.pick(&settings.kinds);
            let lasts = draw.scaled_millis(100..=LONGEST_MILLIS);
            let at = draw.millis(QUIET.as_millis() as u64..=safety - LONGEST_MILLIS);
            let victim = match draw.percent(50) {
                _ if kind.rots() => Victim::Node(rotting(settings)),
                true => Victim::LeaderOf(draw.below(u64::from(settings.partitions)) as u32),
                false => Victim::Node(draw.within(1..=settings.nodes)),
            };
            let detail = match kind {
                Kind::OneWay | Kind::Cut | Kind::Flap | Kind::HalfOpen => draw.within(1..=settings.nodes),
                Kind::PowerCutAtOperation => draw.within(1..=60),
                Kind::CutInRecovery => draw.within(1..=12),
                Kind::SlowDisk => draw.pick(&[50, 500, 3_000, 15_000]),
                // Up to 30 days in either direction.
                Kind::ClockJump => draw.below(60 * 86_400_000),
                Kind::Drift => draw.pick(&[500, 900, 1100, 2000]),
                Kind::SlowLinks => draw.pick(&[20, 100, 400]),
                Kind::LossyLinks => draw.pick(&[1, 10, 30]),
                Kind::LateRequests => draw.pick(&[10, 100]),
                Kind::NarrowLinks => draw.pick(&[8_000, 100_000]),
                Kind::DiskFull => draw.below(3) * 8192,
                Kind::Rot | Kind::RotInUse => draw.below(u64::MAX),
                _ => 0,
            };
            Fault { number: 0, at, lasts, kind, victim, detail }
        })
        .collect();
    faults.sort_by_key(|fault| fault.at);
    for (number, fault) in faults.iter_mut().enumerate() {
        fault.number = number;
    }
    faults
}

fn operations(settings: &Settings) -> Vec<Operation> {
    let mut draw = Draw::named(settings.seed, "operations");
    let mut operations = Vec::new();
    let pause = settings.pause.as_millis() as u64;
    let largest = (settings.limits.record_bytes / 2).min(2_000);
    for client in 0..settings.clients {
        let mut at = draw.millis(0..=pause);
        while at < SAFETY {
            let partition = draw.below(u64::from(settings.partitions)) as u32;
            let what = if draw.percent(settings.cursors) {
                What::Cursor { partition, node: draw.within(1..=settings.nodes), commits: draw.percent(60) }
            } else if draw.percent(settings.reads) && draw.percent(30) {
                What::ReadSession { partition, node: draw.within(1..=settings.nodes) }
            } else if draw.percent(settings.reads) {
                What::Read {
                    partition,
                    node: draw.within(1..=settings.nodes),
                    linearizable: draw.percent(60),
                    back: draw.pick(&[0, 1, 10, 100]),
                }
            } else if draw.percent(settings.conditional) {
                match settings.key_index && draw.percent(50) {
                    true => What::AppendIfKey { partition, key: draw.below(KEYS) },
                    false => What::AppendIf { partition },
                }
            } else {
                let records = draw.pick(&[1, 1, 1, 1, 2, 5]);
                let bytes = draw.within(16..=largest.max(16) / records) as u32;
                match draw.percent(settings.numbered) {
                    true => What::Produce { partition, records: records as u32, bytes, twice: draw.percent(20) },
                    false => What::Append { partition, records: records as u32, bytes },
                }
            };
            operations.push(Operation { number: 0, at, client, what });
            at += draw.millis(pause / 2..=pause * 3 / 2);
        }
    }
    // Each of these has a client of its own: they take long.
    let mut client = settings.clients;
    for _ in 0..settings.subscriptions {
        let at = draw.millis(0..=SAFETY.as_millis() as u64 / 2);
        let partition = draw.below(u64::from(settings.partitions)) as u32;
        let what = What::Subscribe { partition, millis: draw.within(5_000..=30_000) };
        operations.push(Operation { number: 0, at, client, what });
        client += 1;
    }
    for _ in 0..settings.topics {
        let at = draw.millis(0..=SAFETY.as_millis() as u64 - 5_000);
        let what = match draw.percent(50) {
            true => What::CreateTopic { partitions: draw.within(1..=2) as u32 },
            false => What::DeleteTopic,
        };
        operations.push(Operation { number: 0, at, client, what });
        client += 1;
    }
    operations.sort_by_key(|operation| (operation.at, operation.client));
    for (number, operation) in operations.iter_mut().enumerate() {
        operation.number = number;
    }
    operations
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "fault {}: {:?} of ", self.number, self.kind)?;
        match self.victim {
            Victim::Node(node) => write!(f, "node {node}")?,
            Victim::LeaderOf(partition) => write!(f, "the leader of partition {partition}")?,
        }
        write!(f, " at {at:.3} s for {lasts:.3} s ({})", self.detail)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        write!(f, "  {} operations; core {:?}, the others {:?}", self.operations.len(), self.core, self.outside)
    }
}
