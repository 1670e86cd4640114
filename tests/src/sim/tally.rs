//! What happened in runs, in numbers, and whether that was enough: a run in which nothing happened proves nothing.
//!
//! A fault *fires* when it begins. It *meets* something when the simulated world says so: a packet that waited, a call that
//! failed, a process that ended ([`super::encounter`]). What is planned must fire or have nobody to meet; what cannot fire in vain
//! must meet something each time; everything else must meet something once in many seeds.
use super::{
    kind::Kind,
    violation::{Invariant, Verdict, Violation},
};
use std::{collections::BTreeMap, fmt};

/// So many seeds must have seen everything.
pub const MANY: u64 = 50;

/// What became of the faults of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Planned.
    pub planned: u64,
    /// Of these, not begun, because there was nobody to meet.
    pub skipped: u64,
    /// Of these, begun.
    pub fired: u64,
    /// Of these, those that met something.
    pub met: u64,
    /// How many things they met in all: packets, syncs, deaths, as the kind has it.
    pub encounters: u64,
    /// Of those begun, the ones that must have met something and did not.
    pub vain: u64,
}

impl Fate {
    fn add(&mut self, other: &Fate) {
        self.planned += other.planned;
        self.skipped += other.skipped;
        self.fired += other.fired;
        self.met += other.met;
        self.encounters += other.encounters;
        self.vain += other.vain;
    }
}

/// Something that happens beside faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Appends that were acknowledged.
    Acknowledged,
    /// Appends that were refused.
    Refused,
    /// Appends with an unknown outcome.
    Unknown,
    /// Reads that were answered.
    Read,
    /// Records that subscribers got.
    Subscribed,
    /// Entries seen committed.
    Committed,
    /// Times a partition got a leader.
    Leadership,
    /// Partitions that were led by more than one node over time.
    Moved,
    /// Leaders that were taken away for long, with nothing else going on.
    Deposed,
    /// Segments begun while a WAL was in use.
    Rotation,
    /// Boots in which a WAL wrote two segments' worth.
    Outgrown,
    /// Checkpoints on the disks before the last power cut.
    Checkpoint,
    /// Replicas that were restored from a checkpoint.
    Restored,
    /// Sectors that were not synced when the power went.
    Unsynced,
    /// Appends refused for want of space.
    Full,
    /// Starts refused because of damage.
    RotRefused,
    /// Starts in spite of damage, with all that was there.
    RotOpened,
    /// Times the disks were read as a power cut would leave them.
    DisksRead,
    /// Answers by key and by time that were compared with the logs.
    LookedUp,
    /// Views that were built anew by the last start of their node.
    Rebuilt,
    /// Operations outside of the time around faults.
    Quiet,
    /// Of these, those that did what was asked.
    QuietDone,
    /// Numbered appends that were acknowledged.
    Produced,
    /// Of these, those that were sent more than once.
    ProducedAgain,
    /// Appends on a condition about a key that were acknowledged.
    Keyed,
    /// Commits of cursors that were acknowledged.
    CursorCommitted,
    /// Cursors that were fetched.
    CursorFetched,
    /// Reads of what a session has seen.
    SessionRead,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 28] = [
        Event::Acknowledged,
        Event::Refused,
        Event::Unknown,
        Event::Read,
        Event::Subscribed,
        Event::Committed,
        Event::Leadership,
        Event::Moved,
        Event::Deposed,
        Event::Rotation,
        Event::Outgrown,
        Event::Checkpoint,
        Event::Restored,
        Event::Unsynced,
        Event::Full,
        Event::RotRefused,
        Event::RotOpened,
        Event::DisksRead,
        Event::LookedUp,
        Event::Rebuilt,
        Event::Quiet,
        Event::QuietDone,
        Event::Produced,
        Event::ProducedAgain,
        Event::Keyed,
        Event::CursorCommitted,
        Event::CursorFetched,
        Event::SessionRead,
    ];
}

/// What happened in one run or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub runs: u64,
    pub(super) faults: BTreeMap<Kind, Fate>,
    pub(super) events: BTreeMap<Event, u64>,
}

/// What the settings of a run call for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// There is time for a checkpoint.
    pub(super) checkpoints: bool,
}

impl Tally {
    /// The faults of one kind.
    pub fn fate(&self, kind: Kind) -> Fate {
        self.faults.get(&kind).copied().unwrap_or_default()
    }

    /// Faults of all kinds that began.
    pub fn fired(&self) -> u64 {
        self.faults.values().map(|fate| fate.fired).sum()
    }

    /// How often something happened.
    pub fn of(&self, event: Event) -> u64 {
        self.events.get(&event).copied().unwrap_or_default()
    }

    pub(super) fn fate_mut(&mut self, kind: Kind) -> &mut Fate {
        self.faults.entry(kind).or_default()
    }

    pub(super) fn note(&mut self, event: Event, times: u64) {
        *self.events.entry(event).or_default() += times;
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Tally) {
        self.runs += other.runs;
        for (kind, fate) in &other.faults {
            self.fate_mut(*kind).add(fate);
        }
        for (event, times) in &other.events {
            self.note(*event, *times);
        }
    }

    /// Whether one run was worth anything.
    pub(super) fn judge(&self, expected: Expected) -> Verdict {
        let fail = |detail: String| Err(Violation::new(Invariant::Vacuous, detail));
        for (kind, fate) in &self.faults {
            if fate.fired + fate.skipped != fate.planned {
                return fail(format!("{kind:?}: of {} planned {} fired", fate.planned, fate.fired));
            }
            if fate.vain > 0 {
                return fail(format!("{kind:?}: {} of {} met nothing, and had to", fate.vain, fate.fired));
            }
        }
        let (done, quiet) = (self.of(Event::QuietDone), self.of(Event::Quiet));
        if done * 10 < quiet * 9 {
            return fail(format!("outside of faults only {done} of {quiet} operations succeeded"));
        }
        let implied = [
            (Event::Committed, true, "nothing was committed"),
            (Event::DisksRead, true, "no disk was read"),
            (Event::LookedUp, true, "nothing was looked up"),
            (Event::Moved, self.of(Event::Deposed) > 0, "a leader was away for long, and no other led"),
            (
                Event::Rotation,
                self.of(Event::Outgrown) > 0,
                "more was written than a segment holds, and none was begun",
            ),
            (Event::Checkpoint, expected.checkpoints, "there was time for a checkpoint, and there is none"),
            (Event::Restored, self.of(Event::Checkpoint) > 0, "there were checkpoints, and no start used one"),
        ];
        let missing = implied.into_iter().find(|(event, implied, _)| *implied && self.of(*event) == 0);
        missing.map_or(Ok(()), |(_, _, what)| fail(what.into()))
    }

    /// What many runs together must have seen and these have not. Nothing for fewer than [`MANY`].
    pub fn missing(&self) -> Vec<String> {
        if self.runs < MANY {
            return Vec::new();
        }
        let unmet = Kind::ALL.into_iter().filter(|kind| self.fate(*kind).met == 0).map(|kind| format!("{kind:?}"));
        // Nothing else may go on where a leader is deposed, which is rare.
        let demanded = Event::ALL.into_iter().filter(|event| *event != Event::Deposed);
        let unseen = demanded.filter(|event| self.of(*event) == 0).map(|event| format!("{event:?}"));
        unmet.chain(unseen).collect()
    }
}

/// A row for each kind of fault and each event.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "in {} runs", self.runs)?;
        writeln!(
            f,
            "{:>20} {:>8} {:>8} {:>8} {:>8} {:>12}",
            "fault", "planned", "skipped", "fired", "met", "encounters"
        )?;
        for kind in Kind::ALL {
            let Fate { planned, skipped, fired, met, encounters, .. } = self.fate(kind);
            writeln!(f, "{:>20} {planned:>8} {skipped:>8} {fired:>8} {met:>8} {encounters:>12}", format!("{kind:?}"))?;
        }
        for (at, event) in Event::ALL.into_iter().enumerate() {
            let separator = if at % 4 == 3 { "\n" } else { "" };
            write!(f, "{:>15} {:>9}{separator}", format!("{event:?}"), self.of(event))?;
        }
        Ok(())
    }
}
