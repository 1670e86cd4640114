//! What is done to a cluster, as a function of the seed.
use super::Load;
use crate::sim::draw::Draw;
use std::{fmt, time::Duration};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A leader's process ends, and is started again.
    Kill,
    /// The same in the middle of a write, as the batches in flight are.
    KillAtWrite,
    /// A leader's machine loses its power, in the middle of a write.
    PowerCut,
    /// All machines lose their power at once.
    PowerCutOfAll,
    /// A leader is cut off from the others.
    Cut,
    /// A leader is heard by nobody, and hears everybody.
    Mute,
    /// A leader stands still.
    Pause,
    /// A leader's wall clock is wrong, and so it is after a restart.
    WrongClock,
    /// A leader's wall clock jumps to and fro while it leads.
    JumpingClock,
    /// A leader's clocks run too fast, or too slow.
    Drift,
    /// A leader's disk takes its time.
    SlowDisk,
    /// What was decided before is proposed again, as by a leader that does not know that it is none any more.
    Late,
    /// A follower has entries that are not committed, and loses them: its leader was cut off from the third node, and it from
    /// its power.
    Unsynced,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 13] = [
        Kind::Kill,
        Kind::KillAtWrite,
        Kind::PowerCut,
        Kind::PowerCutOfAll,
        Kind::Cut,
        Kind::Mute,
        Kind::Pause,
        Kind::WrongClock,
        Kind::JumpingClock,
        Kind::Drift,
        Kind::SlowDisk,
        Kind::Late,
        Kind::Unsynced,
    ];
}

/// A fault: when, what, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// So long after the one before it was over.
    pub after: Duration,
    /// What.
    pub kind: Kind,
    /// To whom: the leader of this partition of this topic.
    pub leads: (&'static str, u32),
    /// How long it takes.
    pub lasts: Duration,
    /// What else it needs to know: how far a clock is off, which write it is.
    pub measure: u64,
}

/// All faults of a run, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(pub Vec<Trouble>);

impl Plan {
    /// The plan of a seed. Each has faults of a few kinds, and of these several.
    pub fn draw(seed: u64, loads: &[Load]) -> Self {
        let mut draw = Draw::named(seed, "shop");
        let mut kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|_| draw.percent(60)).collect();
        if kinds.len() < 2 {
            kinds = Kind::ALL.into();
        }
        let topics: Vec<&str> = loads.iter().flat_map(|load| load.topics()).copied().collect();
        let trouble = |draw: &mut Draw| Trouble {
            after: draw.millis(200..=700),
            kind: draw.pick(&kinds),
            leads: (draw.pick(&topics), draw.below(2) as u32),
            lasts: draw.millis(500..=2000),
            measure: draw.below(1 << 20),
        };
        let many = draw.within(4..=7);
        Plan((0..many).map(|_| trouble(&mut draw)).collect())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Trouble { after, kind, leads: (topic, partition), lasts, measure } in &self.0 {
            writeln!(f, "  {after:?} later: {kind:?} of who leads {topic}/{partition}, for {lasts:?} ({measure})")?;
        }
        Ok(())
    }
}
