//! Histories without a violation pass, however they are handed in.
use super::sample::*;
use crate::checker::*;

#[test]
fn a_clean_history_passes_and_is_counted() {
    let report = judge(&history());
    report.assert_clean();
    assert_eq!((report.acked, report.refused, report.unknown, report.unknown_present), (6, 1, 2, 1));
    assert_eq!((report.records, report.reads, report.records_read), (7, 6, 14));
}

#[test]
fn the_order_of_handing_in_does_not_matter() {
    let mut reversed = history();
    reversed.appends.reverse();
    reversed.reads.reverse();
    assert_eq!(judge(&history()), judge(&reversed));
    reversed.replicas[4].records.remove(1);
    let mut forward = history();
    forward.replicas[4].records.remove(1);
    assert_eq!(judge(&forward), judge(&reversed));
}

#[test]
fn an_unknown_outcome_may_be_in_the_log_or_not() {
    let mut without = history();
    for replica in without.replicas.iter_mut().filter(|replica| replica.partition == 0) {
        replica.records.truncate(3);
    }
    without.reads[4].records.truncate(3);
    without.reads[4].end_offset = 3;
    judge(&without).assert_clean();
}

#[test]
fn records_below_the_first_kept_offset_are_not_judged() {
    let mut trimmed = history();
    for replica in &mut trimmed.replicas {
        replica.records.remove(0);
        replica.start_offset = 1;
    }
    judge(&trimmed).assert_clean();
}

#[test]
fn a_replica_that_was_damaged_on_purpose_may_lack_records_but_not_invent_any() {
    let mut damaged = history();
    let lossy = &mut damaged.replicas[0];
    (lossy.healthy, lossy.records) = (false, lossy.records[..1].to_vec());
    let mut expected = expectation();
    expected.replicas = 2;
    check(&damaged, expected.clone()).expect("sound").assert_clean();
    damaged.replicas[0].records.push(entry(1, 77));
    let report = check(&damaged, expected).expect("sound");
    assert!(report.counts.contains_key(&Rule::TwoValues) && report.counts.contains_key(&Rule::Phantom), "{report}");
}

#[test]
fn a_stale_read_may_go_back_in_its_session() {
    let mut stale = history();
    stale.reads.push(read(0, 300, 0, Consistency::Stale, &[]));
    judge(&stale).assert_clean();
}

#[test]
fn overlapping_appends_may_land_in_any_order() {
    let mut overlapping = history();
    let (first, second) = (3, 4);
    overlapping.appends[first].outcome = acked(1, 1);
    overlapping.appends[second].outcome = acked(1, 0);
    for replica in overlapping.replicas.iter_mut().filter(|replica| replica.partition == 1) {
        replica.records[0] = entry(0, 7);
        replica.records[1] = entry(1, 6);
    }
    for read in overlapping.reads.iter_mut().filter(|read| read.partition == 1) {
        let numbers: Vec<(u64, u64)> = [(0, 7), (1, 6), (2, 8)][..read.records.len()].to_vec();
        read.records = numbers.into_iter().map(|(offset, number)| entry(offset, number)).collect();
    }
    judge(&overlapping).assert_clean();
}

#[test]
fn a_history_survives_json() {
    let text = serde_json::to_string(&history()).expect("plain data");
    let back: History = serde_json::from_str(&text).expect("what was written");
    assert_eq!(back, history());
}

#[test]
fn fingerprints_tell_apart_what_concatenation_does_not() {
    let plain = ValueHash::of(None, [], b"ab");
    assert_ne!(plain, ValueHash::of(Some(b""), [], b"ab"));
    assert_ne!(ValueHash::of(Some(b"a"), [], b"b"), ValueHash::of(Some(b""), [], b"ab"));
    assert_ne!(ValueHash::of(None, [("a", &b"b"[..])], b""), ValueHash::of(None, [("ab", &b""[..])], b""),);
}

#[test]
fn a_test_that_contradicts_itself_is_told_so() {
    // 1 is in the logs, 9 is not.
    for number in [1, 9] {
        let mut twice = history();
        twice.appends.push(append(number, 300, 310, Outcome::Unknown));
        assert_eq!(check(&twice, expectation()), Err(MalformedHistory::IdSentTwice(id(number))));
    }
    let mut backwards = history();
    backwards.reads[0].end = Moment(1);
    let expected = MalformedHistory::EndsBeforeStart { session: 0, start: 45, end: 1 };
    assert_eq!(check(&backwards, expectation()), Err(expected));
}
