//! openraft's settings.
use super::RaftConfig;
use crate::config::Timing;
use openraft::SnapshotPolicy;
use std::{sync::Arc, time::Duration};

/// Entries in one append to a follower, at most.
pub(crate) const APPEND_ENTRIES: usize = 1024;

/// The settings of every partition's group.
pub(crate) fn config(cluster: String, timing: &Timing) -> Result<Arc<RaftConfig>, String> {
    let millis = |duration: Duration| duration.as_millis() as u64;
    let lease = millis(timing.election_max);
    let config = RaftConfig {
        cluster_name: cluster,
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: lease,
        // Clocks run where a leader is missed, see `health::pulse`.
        enable_tick: false,
        // A restarted leader must win an election: what it had not synced may be gone, and the log ids with it.
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        // A leader that no longer hears a majority gives up, even if some of its followers still hear it. The probe must
        // not run before a lease and an election could have passed.
        quorum_loss_probe_interval: Some(2 * lease),
        broadcast_submitted_on_append: Some(true),
        max_payload_entries: APPEND_ENTRIES as u64,
        max_append_entries: Some(4096),
        snapshot_policy: SnapshotPolicy::Never,
        // The Raft log is the event log: only retention may shorten it.
        max_in_snapshot_log_to_keep: u64::MAX,
        ..RaftConfig::default()
    };
    config.validate().map(Arc::new).map_err(|error| format!("timing: {error}"))
}
