//! Bugs of the world that the simulator must notice: the switches among the planted bugs of `docs/wal-simulation.md`.
use corduroy_log::testing::PlantedBug;

/// The number, what is wrong, and the switch.
pub const SWITCHES: [(&str, &str, PlantedBug); 3] = [
    ("M01", "a vote is answered before its frame is synced", PlantedBug::VOTE_SYNC_LIES),
    ("M02", "a write is acknowledged before it is synced", PlantedBug::SyncDataLies(|_| true)),
    ("M04", "the directory is not synced when a segment is made", PlantedBug::SyncDirLies),
];

/// The switch of a number.
pub fn switch(id: &str) -> Option<PlantedBug> {
    SWITCHES.into_iter().find(|(known, ..)| *known == id).map(|(.., bug)| bug)
}
