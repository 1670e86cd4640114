//! What a run is made of besides its plan, drawn from the seed: sizes, times, which faults and operations there are.
use super::{draw::Draw, kind::Kind};
use corduroy_log::{
    Config,
    config::{Limits, Timing},
    testing::{PlantedBug, SimConfig},
};
use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

/// A bug planted in every node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// M01: a vote is answered before it is synced.
    M01,
    /// M02: an append is acknowledged before it is synced.
    M02,
    /// M04: directories are not synced, so a rotation may lose its segment.
    M04,
}

impl Bug {
    pub(super) fn planted(self) -> PlantedBug {
        match self {
            Bug::M01 => PlantedBug::VOTE_SYNC_LIES,
            Bug::M02 => PlantedBug::SyncDataLies(|_| true),
            Bug::M04 => PlantedBug::SyncDirLies,
        }
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "M01" => Ok(Bug::M01),
            "M02" => Ok(Bug::M02),
            "M04" => Ok(Bug::M04),
            _ => Err(format!("{text} is not planted here: M01, M02 and M04 are")),
        }
    }
}

/// Sizes and times of a run, and what may happen in it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it was drawn from.
    pub seed: u64,
    /// Nodes of the cluster; all of them are voters of `_cluster/0`.
    pub nodes: u64,
    /// Partitions of the topic under load.
    pub partitions: u32,
    /// Replicas of each.
    pub replication: u32,
    /// The log's bounds.
    pub limits: Limits,
    /// The log's times.
    pub timing: Timing,
    /// The world's times.
    pub world: SimConfig,
    /// Clients that append and read.
    pub clients: u32,
    /// A client's mean pause between two operations.
    pub pause: Duration,
    /// Faults that may occur.
    pub kinds: Vec<Kind>,
    /// Of 100 operations, how many are reads.
    pub reads: u64,
    /// Of 100 appends, how many are conditional.
    pub conditional: u64,
    /// Of 100 appends without condition, how many are numbered, and sent until there is an answer.
    pub numbered: u64,
    /// Of 100 operations, how many are of cursors.
    pub cursors: u64,
    /// Subscriptions opened over the run.
    pub subscriptions: u64,
    /// Topics created, and some of them deleted, over the run.
    pub topics: u64,
    /// Whether the topic under load has a key index, and its records have keys.
    pub key_index: bool,
    /// A bug of the simulated world, to see whether it is caught; never drawn.
    pub bug: Option<Bug>,
}

fn micros(range: RangeInclusive<u64>) -> RangeInclusive<Duration> {
    Duration::from_micros(*range.start())..=Duration::from_micros(*range.end())
}

impl Settings {
    /// Draws everything.
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw::named(seed, "settings");
        let nodes = draw.pick(&[1, 3, 3, 3, 3, 3, 3, 5, 5, 5]);
        let partitions = draw.pick(if nodes < 5 { &[1, 1, 2, 3, 4, 6, 8, 16][..] } else { &[1, 2, 3, 4, 6, 8] });
        let replication = if nodes == 5 && draw.percent(40) { 3 } else { nodes as u32 };
        let (limits, timing, world) = (limits(&mut draw), timing(&mut draw), world(&mut draw));
        let allowed: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.least_nodes() <= nodes).collect();
        // The one that only a few clusters can have is more frequent in these.
        let share = |kind| if kind == Kind::Ring { 60 } else { 30 };
        let mut kinds: Vec<Kind> = allowed.iter().copied().filter(|kind| draw.percent(share(*kind))).collect();
        if kinds.is_empty() {
            kinds.push(draw.pick(&allowed));
        }
        Settings {
            seed,
            nodes,
            partitions,
            replication,
            limits,
            timing,
            world,
            clients: draw.within(2..=8) as u32,
            pause: Duration::from_millis(draw.pick(&[40, 60, 100, 200])),
            kinds,
            reads: draw.pick(&[0, 20, 50]),
            conditional: draw.pick(&[0, 10, 40]),
            numbered: draw.pick(&[0, 50, 100]),
            cursors: draw.pick(&[0, 5, 20]),
            key_index: draw.percent(50),
            subscriptions: draw.pick(&[0, 2, 6]),
            topics: draw.pick(&[0, 0, 1, 4]),
            bug: None,
        }
    }

    /// Gives a node's configuration what was drawn.
    pub(super) fn apply(&self, config: &mut Config) {
        config.limits = self.limits.clone();
        config.timing = self.timing.clone();
    }
}

fn limits(draw: &mut Draw) -> Limits {
    let segment_bytes = (4 << 10) << draw.below(9);
    let batch_bytes = (segment_bytes / 2).min(64 << 10);
    Limits {
        record_bytes: batch_bytes / 2,
        batch_bytes,
        in_flight_bytes: draw.pick(&[8 << 10, 64 << 10, 16 << 20]),
        segment_bytes,
        commit_bytes: draw.pick(&[4 << 10, 64 << 10, 4 << 20]),
        hot_tail_bytes: draw.pick(&[1 << 10, 4 << 10, 64 << 10, 16 << 20]),
        checkpoint_bytes: draw.pick(&[4 << 10, 64 << 10, 256 << 20]),
        reserve_bytes: draw.pick(&[0, 64 << 10]),
        ..Limits::default()
    }
}

fn timing(draw: &mut Draw) -> Timing {
    let (heartbeat, min, max) = draw.pick(&[(50, 150, 300), (100, 250, 350), (100, 500, 1000)]);
    Timing {
        heartbeat: Duration::from_millis(heartbeat),
        election_min: Duration::from_millis(min),
        election_max: Duration::from_millis(max),
        append_timeout: Duration::from_millis(draw.pick(&[500, 2000, 5000])),
        read_timeout: Duration::from_millis(draw.pick(&[500, 2000])),
        checkpoint_interval: Duration::from_secs(draw.pick(&[1, 10, 600])),
        ..Timing::default()
    }
}

fn world(draw: &mut Draw) -> SimConfig {
    SimConfig {
        sync_delay: draw.pick(&[(50, 500), (200, 5_000), (1_000, 15_000)]).into_range(),
        latency: draw.pick(&[(50, 500), (50, 5_000), (1_000, 10_000)]).into_range(),
        connect_timeout: Duration::from_millis(draw.pick(&[200, 1000])),
        keepalive: Duration::from_millis(draw.pick(&[300, 1000, 5000])),
    }
}

trait IntoRange {
    fn into_range(self) -> RangeInclusive<Duration>;
}

impl IntoRange for (u64, u64) {
    fn into_range(self) -> RangeInclusive<Duration> {
        micros(self.0..=self.1)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { segment_bytes, batch_bytes, in_flight_bytes, commit_bytes, hot_tail_bytes, .. } = &self.limits;
        let Limits { checkpoint_bytes, reserve_bytes, .. } = &self.limits;
        let Timing { heartbeat, election_min, election_max, append_timeout, read_timeout, .. } = &self.timing;
        let checkpoint_interval = self.timing.checkpoint_interval;
        writeln!(
            f,
            "  {} nodes, {} partitions of {} replicas, {} clients with pauses of {:?}, {} % reads, {} % of appends conditional, {} % of others numbered, {} % cursors, key index {}, {} subscriptions, {} more topics",
            self.nodes,
            self.partitions,
            self.replication,
            self.clients,
            self.pause,
            self.reads,
            self.conditional,
            self.numbered,
            self.cursors,
            self.key_index,
            self.subscriptions,
            self.topics
        )?;
        writeln!(
            f,
            "  bytes: segment {segment_bytes}, batch {batch_bytes}, in flight {in_flight_bytes}, commit {commit_bytes}, hot tail {hot_tail_bytes}, checkpoint {checkpoint_bytes}, reserve {reserve_bytes}"
        )?;
        writeln!(
            f,
            "  heartbeat {heartbeat:?}, election {election_min:?} to {election_max:?}, append timeout {append_timeout:?}, read timeout {read_timeout:?}, checkpoint every {checkpoint_interval:?}"
        )?;
        writeln!(
            f,
            "  sync {:?}, latency {:?}, connect timeout {:?}, keepalive {:?}",
            self.world.sync_delay, self.world.latency, self.world.connect_timeout, self.world.keepalive
        )?;
        write!(f, "  faults of the kinds {:?}", self.kinds)
    }
}
