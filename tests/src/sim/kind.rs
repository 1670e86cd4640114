//! The kinds of faults, and what is to be said of each.
/// A kind of fault a run may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The process ends, the machine stays.
    Kill,
    /// The machine of one node loses its power.
    PowerCut,
    /// All machines lose their power at once.
    PowerCutAll,
    /// The power goes in the middle of a disk operation.
    PowerCutAtOperation,
    /// The power goes while the node recovers from the last cut.
    CutInRecovery,
    /// The process stands still.
    Pause,
    /// One direction of a link is cut.
    OneWay,
    /// A link is cut.
    Cut,
    /// A node is cut off from all others.
    Isolate,
    /// Every node is cut off from all but its neighbours.
    Ring,
    /// Two halves that only one node connects.
    Bridge,
    /// A link goes and comes.
    Flap,
    /// Syncs take long.
    SlowDisk,
    /// A sync fails.
    FailSync,
    /// A write fails.
    FailWrite,
    /// The wall clock jumps.
    ClockJump,
    /// A node's clocks run up to twice as fast, or half.
    Drift,
    /// All links of a node are slow and uneven.
    SlowLinks,
    /// All links of a node lose packets, so that connections stall.
    LossyLinks,
    /// Requests from a node arrive twice, the second time late.
    LateRequests,
    /// All links of a node pass few bytes.
    NarrowLinks,
    /// All connections of a node are reset, several times.
    Resets,
    /// A link accepts connections and passes nothing on.
    HalfOpen,
    /// The file system is full.
    DiskFull,
    /// The file system turns read-only.
    ReadOnly,
    /// A node dies, and what was durable in its WAL is damaged before it starts again.
    Rot,
    /// What is durable in the WAL of a running node is damaged.
    RotInUse,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 27] = [
        Kind::Kill,
        Kind::PowerCut,
        Kind::PowerCutAll,
        Kind::PowerCutAtOperation,
        Kind::CutInRecovery,
        Kind::Pause,
        Kind::OneWay,
        Kind::Cut,
        Kind::Isolate,
        Kind::Ring,
        Kind::Bridge,
        Kind::Flap,
        Kind::SlowDisk,
        Kind::FailSync,
        Kind::FailWrite,
        Kind::ClockJump,
        Kind::Drift,
        Kind::SlowLinks,
        Kind::LossyLinks,
        Kind::LateRequests,
        Kind::NarrowLinks,
        Kind::Resets,
        Kind::HalfOpen,
        Kind::DiskFull,
        Kind::ReadOnly,
        Kind::Rot,
        Kind::RotInUse,
    ];

    /// Whether a node can have only one such fault at a time. Links and wall clocks are nobody's: any number may have them.
    pub(super) fn seizes(self) -> bool {
        use Kind::*;
        match self {
            OneWay | Cut | Isolate | Ring | Bridge | Flap | ClockJump | RotInUse => false,
            SlowLinks | LossyLinks | LateRequests | NarrowLinks | Resets | HalfOpen => false,
            Kill | PowerCut | PowerCutAll | PowerCutAtOperation | CutInRecovery | Pause => true,
            SlowDisk | FailSync | FailWrite | Drift | DiskFull | ReadOnly | Rot => true,
        }
    }

    /// Whether it is done to all links of a node, or to one.
    pub(super) fn is_of_links(self) -> bool {
        use Kind::*;
        matches!(self, OneWay | Cut | Isolate | Ring | Bridge | Flap)
            || matches!(self, SlowLinks | LossyLinks | LateRequests | NarrowLinks | Resets | HalfOpen)
    }

    /// Whether whoever leads loses the lead by it, where it lasts and the others are well.
    pub(super) fn takes_the_lead(self) -> bool {
        matches!(self, Kind::Kill | Kind::PowerCut | Kind::Pause | Kind::Isolate)
    }

    /// Whether it takes a write to notice it. (An idle node looks whether it may write.)
    pub(super) fn needs_writes(self) -> bool {
        matches!(self, Kind::SlowDisk | Kind::FailSync | Kind::FailWrite)
    }

    /// Whether it damages what was durable. All of a run are done to the same node.
    pub(super) fn rots(self) -> bool {
        matches!(self, Kind::Rot | Kind::RotInUse)
    }

    /// How many nodes there must be for it to mean anything.
    pub(super) fn least_nodes(self) -> u64 {
        match self {
            Kind::OneWay | Kind::Cut | Kind::Isolate | Kind::Flap | Kind::Bridge | Kind::HalfOpen => 3,
            Kind::SlowLinks | Kind::LossyLinks | Kind::LateRequests | Kind::NarrowLinks | Kind::Resets => 3,
            Kind::Rot | Kind::RotInUse => 3,
            Kind::Ring => 5,
            _ => 1,
        }
    }
}
