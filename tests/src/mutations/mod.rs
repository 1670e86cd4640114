//! Planted bugs: the simulators are only worth what they catch, so the product is broken on purpose and they must notice.
//!
//! A planted bug is a *patch* in `tests/mutations`, applied to a scratch copy of the tree, or a *switch* of the simulated
//! world (a disk that lies, say). The product itself holds no switch for any of it.
//!
//! ```text
//!   tests/mutations/*.patch ─▶ Patch ─┐
//!                                     ├─▶ Tree: scratch copy, patched, built ─▶ run the catcher ─▶ Catch ─▶ report
//!   SWITCHES ─────────────────────────┘
//! ```
//!
//! A patch that no longer applies fails: a planted bug nobody can plant any more proves nothing.
mod catcher;
mod patch;
mod report;
mod tree;

pub use catcher::{Catch, Catcher, Simulator, Test};
pub use patch::Patch;
pub use report::{Row, table, write_between_markers};
pub use tree::Tree;

/// A bug that is a switch of the simulated world.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    /// Its number, also the value of the catcher's `--bug`.
    pub id: &'static str,
    /// What is wrong.
    pub title: &'static str,
    /// Who must notice.
    pub simulator: Simulator,
}

/// All switches.
pub const SWITCHES: [Switch; 3] = [
    Switch { id: "M01", title: "vote reply before the vote frame is synced", simulator: Simulator::Wal },
    Switch { id: "M02", title: "acknowledgement after the write, before the sync", simulator: Simulator::Wal },
    Switch { id: "M04", title: "no directory sync at rotation", simulator: Simulator::Wal },
];
