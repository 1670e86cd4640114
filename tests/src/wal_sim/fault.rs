//! What goes wrong, as part of a plan.
use corduroy_log::testing::{DiskCall, DiskError};

/// How a node dies, and how its next starts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The power fails, and with it goes what was not synced; else the process ends alone.
    pub power: bool,
    /// Deaths inside of the recoveries that follow: at which disk operation, and whether the power fails.
    pub nested: Vec<(u64, bool)>,
    /// A call that fails in the first recovery that is not cut short: which of its kind, from 1.
    pub failing: Option<(DiskCall, u64, DiskError)>,
}

impl Crash {
    /// The plain one.
    pub fn plain(power: bool) -> Self {
        Crash { power, nested: Vec::new(), failing: None }
    }
}

/// A kind of damage; where it hits is a [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotKind {
    /// One bit.
    Flip,
    /// A sector of zeros.
    Zero,
    /// A sector of noise.
    Garble,
    /// The last write of a sector was never made.
    LostWrite,
    /// The last write of a sector went to another one.
    Misdirected,
    /// The file ends early.
    Cut,
    /// The file is gone.
    Lost,
    /// A segment file has the content of another one.
    Swapped,
}

impl RotKind {
    /// All of them.
    pub const ALL: [RotKind; 8] = [
        RotKind::Flip,
        RotKind::Zero,
        RotKind::Garble,
        RotKind::LostWrite,
        RotKind::Misdirected,
        RotKind::Cut,
        RotKind::Lost,
        RotKind::Swapped,
    ];
}

/// A place among the segments, so that it means something for any length of the log. Numbers are reduced to what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which file: 0 the newest segment, 1 the one before, and so on.
    pub back: u64,
    /// Which byte of what was written in it, in thousandths.
    pub thousandth: u64,
    /// Noise: a bit, another sector.
    pub noise: u64,
}
