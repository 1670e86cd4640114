//! What happened in runs, so that runs in which nothing happened cannot pass for good ones.
use std::fmt;

macro_rules! tally {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// How often each thing happened.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Tally {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Tally {
            /// Adds another one.
            pub fn add(&mut self, other: &Tally) {
                $(self.$name += other.$name;)*
            }

            /// The names and numbers, in a fixed order.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

tally! {
    /// Runs.
    runs,
    /// Calls that wait for the disk.
    calls,
    /// Of these, acknowledged.
    acknowledged,
    /// Entries appended.
    entries,
    /// Truncations that removed something.
    truncations,
    /// Purges and installed snapshots.
    purges,
    /// Votes.
    votes,
    /// Entries read back and compared while the WAL was running.
    reads,
    /// Segments begun while the WAL was running.
    rotations,
    /// Times the WAL was closed and opened again.
    reopenings,
    /// Kills.
    kills,
    /// Power cuts.
    power_cuts,
    /// Deaths inside of a recovery.
    nested,
    /// Recoveries after a death that went through.
    recoveries,
    /// Recoveries that found calls nobody was told of.
    kept,
    /// Recoveries that lost calls nobody was told of.
    lost,
    /// Frames of a call found without the rest of the call.
    halves,
    /// Halts because a disk call failed.
    halts,
    /// Recoveries that failed because a disk call did, and were tried again.
    failed_recoveries,
    /// Times the disk had no space for something.
    full,
    /// Damage done.
    rot,
    /// Of that, refused at open.
    rot_refused,
    /// Of that, opened nevertheless.
    rot_opened,
    /// Segments of another past put between those of this one.
    forks,
    /// Reads that gave an error for what had rotted.
    rot_reads,
    /// Damage behind the last mark that took acknowledged calls with it.
    rot_unmarked,
    /// One of the copies of an identity was not as it should be, and was made good.
    identity_mended,
    /// Copies of an identity did not agree, and were refused.
    identity_refused,
    /// As of an identity, of the manifest.
    manifest_mended,
    /// As of an identity, of the manifest.
    manifest_refused,
    /// Copies put back to what they were before the last start.
    copies_stale,
    /// Copies of which a half was put back.
    copies_half,
    /// Reads with a disk that failed or gave old bytes, and that gave an error.
    read_errors,
}

impl Tally {
    /// What a batch of many seeds must have seen and this one has not.
    pub fn missing(&self) -> Vec<&'static str> {
        self.all().into_iter().filter(|&(_, count)| count == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, count)) in self.all().into_iter().enumerate() {
            let separator = if at % 5 == 4 { "\n" } else { "" };
            write!(f, "{name:>18} {count:>8}{separator}")?;
        }
        Ok(())
    }
}
