//! One planted violation of each rule, and of each side a rule has: the checker finds it, names the place and the
//! records, and accuses no other rule unless the damage truly breaks two.
use super::sample::*;
use crate::checker::*;

/// Damages the sample and returns the rules found broken, with the report.
#[track_caller]
fn broken(rules: &[Rule], damage: impl FnOnce(&mut History)) -> Report {
    let mut history = history();
    damage(&mut history);
    let report = judge(&history);
    let found: Vec<Rule> = report.counts.keys().copied().collect();
    assert_eq!(found, rules, "{report}");
    report
}

/// The first violation of a rule, by place and records.
fn place(report: &Report, rule: Rule) -> (Option<u32>, Option<u64>, Vec<RecordId>) {
    let violation = report.violations.iter().find(|violation| violation.rule == rule).expect("found above");
    (violation.partition, violation.offset, violation.ids.clone())
}

/// The replica of partition `partition` on node `node`.
fn replica_of(history: &mut History, node: u64, partition: u32) -> &mut Replica {
    let wanted = |replica: &&mut Replica| replica.node == node && replica.partition == partition;
    history.replicas.iter_mut().find(wanted).expect("three nodes, two partitions")
}

fn partition_0(history: &mut History) -> impl Iterator<Item = &mut Replica> {
    history.replicas.iter_mut().filter(|replica| replica.partition == 0)
}

#[test]
fn rule_1_two_replicas_hold_two_values_at_one_offset() {
    // 9 was sent, so that it may be in a log; but not where the others have 5.
    let report = broken(&[Rule::TwoValues], |history| replica_of(history, 2, 0).records[3] = entry(3, 9));
    assert_eq!(place(&report, Rule::TwoValues), (Some(0), Some(3), vec![id(5), id(9)]));
}

#[test]
fn rule_1_two_records_are_acknowledged_at_one_offset() {
    let report = broken(&[Rule::TwoValues, Rule::Lost], |history| {
        history.appends[5] = append(5, 240, 290, acked(0, 3));
        history.appends[6] = append(9, 240, 290, acked(0, 3));
    });
    assert!(report.violations.iter().any(|v| v.ids == [id(5), id(9)] && v.offset == Some(3)), "{report}");
}

#[test]
fn rule_1_a_read_shows_another_value_than_the_logs() {
    let report = broken(&[Rule::TwoValues], |history| history.reads[0].records[1] = entry(1, 9));
    assert_eq!(place(&report, Rule::TwoValues), (Some(0), Some(1), vec![id(2), id(9)]));
}

#[test]
fn rule_2_a_record_is_in_its_partition_twice() {
    let report = broken(&[Rule::Doubled], |history| {
        partition_0(history).for_each(|replica| replica.records.push(entry(4, 5)));
    });
    assert_eq!(place(&report, Rule::Doubled), (Some(0), Some(4), vec![id(5)]));
}

#[test]
fn rule_2_a_record_is_in_two_partitions() {
    let report = broken(&[Rule::Doubled], |history| {
        partition_0(history).for_each(|replica| replica.records.push(entry(4, 8)));
    });
    assert_eq!(report.counts[&Rule::Doubled], 1, "once, not once for each replica");
}

#[test]
fn rule_3_an_offset_is_skipped_in_every_log() {
    let report = broken(&[Rule::Hole], |history| {
        partition_0(history).for_each(|replica| replica.records[3].offset = 4);
        history.reads[4].records.pop();
    });
    assert_eq!(place(&report, Rule::Hole), (Some(0), Some(3), vec![id(5)]));
}

#[test]
fn rule_3_a_read_skips_an_offset() {
    let report = broken(&[Rule::Hole], |history| {
        history.reads[4].records.remove(1);
    });
    assert_eq!(place(&report, Rule::Hole), (Some(0), Some(1), vec![id(3)]));
}

#[test]
fn rule_4_an_acknowledged_record_is_missing_everywhere() {
    let report = broken(&[Rule::Lost], |history| history.appends[6] = append(9, 290, 300, acked(0, 4)));
    assert_eq!(place(&report, Rule::Lost), (Some(0), Some(4), vec![id(9)]));
}

#[test]
fn rule_4_an_acknowledged_record_is_missing_on_one_replica() {
    let report = broken(&[Rule::Lost, Rule::ReplicasDiffer], |history| {
        replica_of(history, 3, 1).records.pop();
    });
    assert_eq!(place(&report, Rule::Lost), (Some(1), Some(2), vec![id(8)]));
    assert!(report.to_string().contains("missing on nodes [3]"), "{report}");
}

#[test]
fn rule_5_a_refused_record_is_in_the_log() {
    let report = broken(&[Rule::RefusedButPresent], |history| {
        partition_0(history).for_each(|replica| replica.records.push(entry(4, 4)));
    });
    assert_eq!(place(&report, Rule::RefusedButPresent), (Some(0), Some(4), vec![id(4)]));
}

#[test]
fn rule_6_a_record_nobody_sent_is_in_the_log() {
    let report = broken(&[Rule::Phantom], |history| {
        partition_0(history).for_each(|replica| replica.records.push(entry(4, 77)));
    });
    assert_eq!(place(&report, Rule::Phantom), (Some(0), Some(4), vec![id(77)]));
}

#[test]
fn rule_6_a_record_has_another_value_than_was_sent() {
    let report = broken(&[Rule::Phantom], |history| {
        partition_0(history).for_each(|replica| replica.records[3].value = value(78));
        history.reads[4].records[3].value = value(78);
    });
    assert_eq!(place(&report, Rule::Phantom), (Some(0), Some(3), vec![id(5)]));
}

#[test]
fn rule_6_a_record_without_an_id_is_in_the_log() {
    let report = broken(&[Rule::Phantom], |history| {
        partition_0(history).for_each(|replica| replica.records.push(Entry { id: None, ..entry(4, 9) }));
    });
    assert_eq!(place(&report, Rule::Phantom), (Some(0), Some(4), vec![]));
}

#[test]
fn rule_7_a_later_append_lands_before_an_acknowledged_one() {
    let report = broken(&[Rule::Reordered], |history| {
        // 2 is acknowledged before 1 is sent.
        (history.appends[0].start, history.appends[0].end) = (Moment(41), Moment(44));
    });
    assert_eq!(place(&report, Rule::Reordered), (Some(0), Some(0), vec![id(2), id(1)]));
}

#[test]
fn rule_7_an_append_of_unknown_outcome_lands_before_an_acknowledged_one() {
    let report = broken(&[Rule::Reordered], |history| {
        // 3 is acknowledged at offset 3 before 5 is sent, which is then found at offset 2.
        history.appends[7] = append(3, 110, 120, acked(0, 3));
        partition_0(history).for_each(|replica| replica.records = replica_with(&[1, 2, 5, 3]));
        history.reads[4] = read(0, 250, 0, Consistency::Linearizable, &[(0, 1), (1, 2), (2, 5), (3, 3)]);
    });
    assert_eq!(place(&report, Rule::Reordered), (Some(0), Some(2), vec![id(3), id(5)]));
}

fn replica_with(numbers: &[u64]) -> Vec<Entry> {
    replica(1, 0, numbers).records
}

#[test]
fn rule_8_a_linearizable_read_misses_an_acknowledged_record() {
    let report = broken(&[Rule::StaleRead], |history| {
        // A session of its own: what it had seen itself plays no part.
        history.reads.push(read(7, 50, 0, Consistency::Linearizable, &[(0, 1)]));
    });
    assert_eq!(place(&report, Rule::StaleRead), (Some(0), Some(1), vec![id(2)]));
}

#[test]
fn rule_9_a_session_forgets_what_it_read() {
    let report = broken(&[Rule::SessionBackwards], |history| {
        history.reads.push(read(1, 270, 1, Consistency::Session, &[(0, 6), (1, 7)]));
    });
    assert_eq!(place(&report, Rule::SessionBackwards), (Some(1), Some(2), vec![]));
}

#[test]
fn rule_9_a_session_does_not_see_what_it_appended() {
    let report = broken(&[Rule::SessionBackwards], |history| {
        // 3 belongs to session 1 and was acknowledged at offset 2 of partition 0.
        history.reads.push(read(1, 225, 0, Consistency::Session, &[(0, 1), (1, 2)]));
    });
    assert_eq!(place(&report, Rule::SessionBackwards), (Some(0), Some(2), vec![]));
}

#[test]
fn rule_10_a_replica_stops_short_of_the_others() {
    let report = broken(&[Rule::ReplicasDiffer], |history| {
        replica_of(history, 2, 0).records.pop();
    });
    assert_eq!(place(&report, Rule::ReplicasDiffer), (Some(0), Some(3), vec![]));
}

#[test]
fn rule_10_a_replica_has_another_log_time() {
    let report = broken(&[Rule::ReplicasDiffer], |history| replica_of(history, 2, 0).records[1].time += 1);
    assert_eq!(place(&report, Rule::ReplicasDiffer), (Some(0), Some(1), vec![id(2)]));
}

#[test]
fn rule_11_a_read_returned_what_no_log_kept() {
    let report = broken(&[Rule::PhantomRead], |history| {
        history.reads.push(read(5, 150, 0, Consistency::Stale, &[(4, 9)]));
    });
    assert_eq!(place(&report, Rule::PhantomRead), (Some(0), Some(4), vec![id(9)]));
}

#[test]
fn rule_12_a_fault_that_never_fired_makes_the_run_worthless() {
    vacuous("the fault \"the leader is killed\" never fired", |_, expected| expected.faults[0].fired = false);
}

#[test]
fn rule_12_nothing_was_acknowledged_during_the_fault() {
    vacuous("no append was acknowledged during", |_, expected| {
        (expected.faults[0].start, expected.faults[0].end) = (Moment(131), Moment(205));
    });
    // But where nobody was left to acknowledge anything, that is as it should be.
    let mut expected = expectation();
    (expected.faults[0].start, expected.faults[0].end) = (Moment(131), Moment(205));
    expected.faults[0].progress = Progress::BeforeAndAfter;
    check(&history(), expected).expect("sound").assert_clean();
}

#[test]
fn rule_12_nothing_was_acknowledged_before_or_after_the_fault() {
    vacuous("no append was acknowledged before", |_, expected| expected.faults[0].start = Moment(15));
    vacuous("no append was acknowledged after", |_, expected| expected.faults[0].end = Moment(235));
}

#[test]
fn rule_12_too_little_happened() {
    vacuous("6 appends were acknowledged, at least 7", |_, expected| expected.acked = 7);
    vacuous("6 reads were answered, at least 7", |_, expected| expected.reads = 7);
    vacuous("outside of faults only 4 of 5", |_, expected| expected.percent_acked_outside_faults = 90);
}

#[test]
fn rule_12_a_dump_is_missing() {
    vacuous("partition 1: 2 healthy replicas were dumped, 3 were expected", |history, _| {
        history.replicas.pop();
    });
    vacuous("2 partitions were dumped, 3 were expected", |_, expected| expected.partitions = 3);
    vacuous("0 partitions were dumped, 2 were expected", |history, expected| {
        *history = History::default();
        (expected.acked, expected.reads, expected.faults) = (0, 0, Vec::new());
    });
}

#[track_caller]
fn vacuous(sentence: &str, change: impl FnOnce(&mut History, &mut Expectation)) {
    let (mut history, mut expected) = (history(), expectation());
    change(&mut history, &mut expected);
    let report = check(&history, expected).expect("sound");
    let rules: Vec<Rule> = report.counts.keys().copied().collect();
    assert_eq!(rules, [Rule::Vacuous], "{report}");
    assert!(report.to_string().contains(sentence), "{report}");
}

#[test]
fn every_rule_has_a_plant_in_this_file() {
    let source = include_str!("planted.rs");
    for rule in Rule::ALL {
        let name = format!("fn rule_{}_", rule as u8);
        assert!(source.contains(&name), "{rule:?} has no planted violation");
    }
}

#[test]
fn a_thousand_violations_are_counted_and_a_hundred_kept() {
    let report = broken(&[Rule::Phantom], |history| {
        partition_0(history).for_each(|replica| replica.records.extend((4..1004).map(|at| entry(at, 1000 + at))));
    });
    assert_eq!(report.counts[&Rule::Phantom], 1000);
    assert_eq!(report.violations.len() as u64, Report::KEPT);
    assert!(report.to_string().contains("1000 times in all"), "{report}");
}
