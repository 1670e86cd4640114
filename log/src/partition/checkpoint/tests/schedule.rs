use super::*;

const POLICY: Policy = Policy { bytes: 1000, interval: Duration::from_secs(60) };
const SINCE: Since = Since { changed: true, bytes: 0, elapsed: APART, sealed: false };

#[test]
fn a_checkpoint_is_due_after_bytes_after_time_and_after_a_seal() {
    assert!(!POLICY.is_due(&SINCE));
    assert!(POLICY.is_due(&Since { bytes: 1000, ..SINCE }));
    assert!(POLICY.is_due(&Since { elapsed: Duration::from_secs(60), ..SINCE }));
    assert!(POLICY.is_due(&Since { sealed: true, ..SINCE }));
}

#[test]
fn what_has_not_changed_is_never_due() {
    let since = Since { changed: false, bytes: 1 << 40, elapsed: Duration::from_secs(1 << 30), sealed: true };
    assert!(!POLICY.is_due(&since));
}

#[test]
fn one_partition_is_not_due_again_at_once() {
    let since = Since { bytes: 1 << 40, elapsed: APART - Duration::from_millis(1), sealed: true, ..SINCE };
    assert!(!POLICY.is_due(&since));
}
