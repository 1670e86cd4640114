mod properties;

use super::{Campaign, Command, Event, MAX_EVENTS, MAX_NAME, campaign_key, event_key, is_live, next_change, pb};
use crate::runtime::{
    At, Refusal, Service,
    rules::{Rules, Then},
};
use corduroy_log::world::Timestamp;
use pb::Phase;
use std::time::Duration;

/// When the rules begin, in microseconds.
const NOW: u64 = 1_000_000_000;
const SECOND: Duration = Duration::from_secs(1);

fn rules() -> Rules<Campaign> {
    let mut rules = Rules::new(Campaign);
    rules.set_now(Timestamp(NOW));
    rules
}

/// So many seconds from the beginning.
fn at(seconds: u64) -> u64 {
    NOW + seconds * 1_000_000
}

fn ask(rules: &mut Rules<Campaign>, key: &str, command: Command) -> Then<Campaign> {
    let then = rules.when(key, &pb::Command { command: Some(command) });
    assert_eq!((then.fault(), then.retry()), (None, None));
    then
}

/// What it came to: the entry as it is then, or why not.
fn asked(rules: &mut Rules<Campaign>, key: &str, command: Command) -> Result<Option<pb::Entry>, Refusal> {
    let then = ask(rules, key, command);
    match then.refusal() {
        Some(refusal) => {
            assert!(then.events().is_empty(), "{then:?}");
            Err(refusal)
        }
        None => Ok(then.reply().expect("an answer").entry),
    }
}

/// A campaign, or an event of one, from then to then in seconds.
fn made(campaign: Option<u64>, name: &str, start: u64, end: u64) -> Command {
    let (start, end) = (at(start), at(end));
    Command::Create(pb::Create { name: name.into(), start, end, tenant: None, campaign })
}

fn make(rules: &mut Rules<Campaign>, campaign: Option<u64>, start: u64, end: u64) -> pb::Entry {
    let made = asked(rules, "new", made(campaign, "a name", start, end));
    made.expect("nothing is against it").expect("it is there")
}

fn dates(start: u64, end: u64) -> pb::Change {
    pb::Change { start: Some(at(start)), end: Some(at(end)), ..pb::Change::default() }
}

fn patch(rules: &mut Rules<Campaign>, key: &str, change: pb::Change) -> Result<pb::Entry, Refusal> {
    Ok(asked(rules, key, Command::Patch(change))?.expect("it is there"))
}

fn only(version: u64) -> Option<pb::Condition> {
    Some(pb::Condition { any: false, versions: vec![version] })
}

/// The rule a refusal names, and its path.
fn rule(refused: Result<impl std::fmt::Debug, Refusal>) -> (String, String) {
    let refusal = refused.expect_err("it is against a rule");
    assert_eq!(refusal.name(), "rule-violated");
    let text = |value: &corduroy_proto::runtime::extra::Value| match value {
        corduroy_proto::runtime::extra::Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let path = refusal.extras().find_map(|(name, value)| (name == "path").then(|| text(value)));
    (path.expect("a path"), refusal.detail().to_owned())
}

fn path(refused: Result<impl std::fmt::Debug, Refusal>) -> String {
    rule(refused).0
}

/// The names of events, with the ids and versions of what they are about.
fn told(thens: &[Then<Campaign>]) -> Vec<(&'static str, u64, u64)> {
    let name = |event: Event| match event {
        Event::CampaignCreated(entry) => ("CampaignCreated", entry.id, entry.version),
        Event::CampaignReplaced(entry) => ("CampaignReplaced", entry.id, entry.version),
        Event::CampaignPatched(entry) => ("CampaignPatched", entry.id, entry.version),
        Event::CampaignDeleted(gone) => ("CampaignDeleted", gone.id, gone.version),
        Event::EventCreated(entry) => ("EventCreated", entry.id, entry.version),
        Event::EventReplaced(entry) => ("EventReplaced", entry.id, entry.version),
        Event::EventPatched(entry) => ("EventPatched", entry.id, entry.version),
        Event::EventDeleted(gone) => ("EventDeleted", gone.id, gone.version),
        Event::CampaignStarted(entry) => ("CampaignStarted", entry.id, entry.version),
        Event::CampaignEnded(entry) => ("CampaignEnded", entry.id, entry.version),
        Event::EventStarted(entry) => ("EventStarted", entry.id, entry.version),
        Event::EventEnded(entry) => ("EventEnded", entry.id, entry.version),
    };
    thens.iter().flat_map(Then::events).filter_map(|event| event.event).map(name).collect()
}

/// INV-31.
#[test]
fn ids_are_counted_from_0_and_never_given_twice() {
    let mut rules = rules();
    for id in 0..3 {
        assert_eq!(make(&mut rules, None, 0, 100).id, id);
        assert_eq!(make(&mut rules, Some(id), 1, 2).id, id, "events have numbers of their own");
    }
    asked(&mut rules, &campaign_key(2), Command::Delete(pb::Delete::default())).expect("it is there");
    asked(&mut rules, &event_key(1), Command::Delete(pb::Delete::default())).expect("it is there");
    assert!(asked(&mut rules, "new", made(None, "", 0, 1)).is_err(), "what is refused takes no number");
    assert_eq!(make(&mut rules, None, 0, 100).id, 3);
    assert_eq!(make(&mut rules, Some(3), 1, 2).id, 3);
    assert_eq!(rules.partition(), &pb::Partition { next_campaign: 4, next_event: 4 });
}

#[test]
fn what_is_made_is_as_was_asked() {
    let mut rules = rules();
    let tenant = Some("mall".to_owned());
    let create = pb::Create { name: "Sale".into(), start: at(5), end: at(9), tenant: tenant.clone(), campaign: None };
    let then = ask(&mut rules, "new", Command::Create(create));
    let entry = then.reply().and_then(|reply| reply.entry).expect("it is made");
    let expected = pb::Entry {
        id: 0,
        campaign: None,
        name: "Sale".into(),
        start: at(5),
        end: at(9),
        created: NOW,
        version: 1,
        tenant,
        phase: Phase::Upcoming.into(),
        timer: entry.timer,
    };
    assert_eq!(entry, expected);
    assert_eq!(then.events(), [pb::Event { event: Some(Event::CampaignCreated(expected.clone())) }]);
    assert_eq!(rules.state(&campaign_key(0)), Some(expected));
}

#[test]
fn a_name_has_1_to_500_characters() {
    let mut rules = rules();
    let longest = "\u{1f389}".repeat(MAX_NAME);
    for name in ["", " ", &format!("{longest}x"), &"x".repeat(10_000)] {
        assert_eq!(path(asked(&mut rules, "new", made(None, name, 0, 1))), "name");
    }
    assert!(asked(&mut rules, "new", made(None, &longest, 0, 1)).is_ok());
    let change = pb::Change { name: Some(String::new()), ..pb::Change::default() };
    assert_eq!(path(patch(&mut rules, &campaign_key(0), change)), "name");
}

#[test]
fn an_end_is_not_before_its_start() {
    let mut rules = rules();
    assert_eq!(path(asked(&mut rules, "new", made(None, "a", 2, 1))), "end");
    assert!(asked(&mut rules, "new", made(None, "a", 2, 2)).is_ok(), "a moment is enough");
    assert_eq!(path(patch(&mut rules, &campaign_key(0), dates(3, 2))), "end");
}

/// INV-30.
#[test]
fn an_event_is_in_a_campaign_that_is_there() {
    let mut rules = rules();
    let refused = asked(&mut rules, "new", made(Some(7), "a", 0, 1)).expect_err("there is none");
    assert_eq!((refused.name(), refused.detail()), ("unknown-campaign", "there is no campaign 7"));
    make(&mut rules, None, 0, 100);
    make(&mut rules, None, 0, 100);
    make(&mut rules, Some(0), 1, 2);
    let moved = pb::Change { campaign: Some(1), ..pb::Change::default() };
    assert_eq!(path(patch(&mut rules, &event_key(0), moved.clone())), "campaign");
    assert_eq!(path(asked(&mut rules, &event_key(0), Command::Replace(moved))), "campaign");
    let stays = pb::Change { campaign: Some(0), name: Some("b".into()), ..pb::Change::default() };
    assert_eq!(patch(&mut rules, &event_key(0), stays).expect("it does not move").campaign, Some(0));
}

/// INV-30.
#[test]
fn an_event_lies_inside_its_campaign() {
    let mut rules = rules();
    make(&mut rules, None, 10, 20);
    assert_eq!(path(asked(&mut rules, "new", made(Some(0), "a", 9, 15))), "start");
    assert_eq!(path(asked(&mut rules, "new", made(Some(0), "a", 15, 21))), "end");
    let event = make(&mut rules, Some(0), 10, 20);
    assert_eq!(path(patch(&mut rules, &event_key(event.id), dates(9, 20))), "start");
    assert_eq!(path(patch(&mut rules, &event_key(event.id), dates(10, 21))), "end");
    patch(&mut rules, &event_key(event.id), dates(12, 18)).expect("it is inside");
    assert_eq!(rule(patch(&mut rules, &campaign_key(0), dates(13, 20))).1, "event 0 would be outside of the campaign");
    assert_eq!(path(patch(&mut rules, &campaign_key(0), dates(13, 20))), "start");
    assert_eq!(path(patch(&mut rules, &campaign_key(0), dates(10, 17))), "end");
    patch(&mut rules, &campaign_key(0), dates(12, 18)).expect("it is inside, still");
}

#[test]
fn what_is_not_there_is_unknown() {
    let mut rules = rules();
    let commands = || {
        let (change, delete) = (pb::Change { condition: only(1), ..dates(0, 1) }, pb::Delete { condition: only(1) });
        [Command::Replace(change.clone()), Command::Patch(change), Command::Delete(delete)]
    };
    for command in commands() {
        let refused = asked(&mut rules, &campaign_key(3), command).expect_err("there is none");
        assert_eq!((refused.name(), refused.detail()), ("unknown-campaign", "there is no campaign 3"));
    }
    for command in commands() {
        let refused = asked(&mut rules, &event_key(4), command).expect_err("there is none");
        assert_eq!((refused.name(), refused.detail()), ("unknown-event", "there is no event 4"));
    }
}

#[test]
fn a_change_of_another_version_is_refused_and_changes_nothing() {
    let mut rules = rules();
    make(&mut rules, None, 0, 100);
    let key = campaign_key(0);
    let change = |condition| pb::Change { condition, name: Some("b".into()), ..pb::Change::default() };
    assert_eq!(patch(&mut rules, &key, change(only(1))).expect("it is").version, 2);
    let before = rules.hash();
    let delete = Command::Delete(pb::Delete { condition: only(1) });
    // Also where it breaks another rule.
    let empty = pb::Change { name: Some(String::new()), ..change(only(3)) };
    for command in [Command::Patch(change(only(1))), Command::Replace(empty), delete] {
        let refused = asked(&mut rules, &key, command).expect_err("it is version 2");
        assert_eq!(refused.name(), "precondition-failed");
        let etag = corduroy_proto::runtime::extra::Value::Text("\"2\"".into());
        assert_eq!(refused.extras().collect::<Vec<_>>(), [("etag", &etag)]);
    }
    assert_eq!(rules.hash(), before);
    let either = Some(pb::Condition { any: false, versions: vec![1, 2] });
    assert!(asked(&mut rules, &key, Command::Patch(change(either))).is_ok());
    let any = Some(pb::Condition { any: true, versions: Vec::new() });
    assert!(asked(&mut rules, &key, Command::Delete(pb::Delete { condition: any })).is_ok());
}

#[test]
fn a_change_says_everything_and_what_changes_nothing_is_none() {
    let mut rules = rules();
    make(&mut rules, None, 0, 100);
    make(&mut rules, Some(0), 1, 2);
    let mall = pb::Change { tenant: Some(pb::Tenant { name: Some("mall".into()) }), ..pb::Change::default() };
    let then = ask(&mut rules, &campaign_key(0), Command::Patch(mall.clone()));
    assert_eq!(told(&[then]), [("CampaignPatched", 0, 2)]);
    let again = ask(&mut rules, &campaign_key(0), Command::Patch(mall));
    assert_eq!(told(&[again]), []);
    let whole = |name: &str| pb::Change { name: Some(name.into()), ..dates(1, 3) };
    let nobody = Some(pb::Tenant::default());
    let then = ask(&mut rules, &campaign_key(0), Command::Replace(pb::Change { tenant: nobody, ..whole("b") }));
    let entry = rules.state(&campaign_key(0)).expect("it is there");
    assert_eq!((entry.version, entry.name.as_str(), entry.tenant.as_deref()), (3, "b", None));
    assert_eq!(then.events(), [pb::Event { event: Some(Event::CampaignReplaced(entry)) }]);
    for (command, event) in
        [(Command::Patch(whole("c")), "EventPatched"), (Command::Replace(whole("d")), "EventReplaced")]
    {
        let then = ask(&mut rules, &event_key(0), command);
        let version = rules.state(&event_key(0)).expect("it is there").version;
        assert_eq!(told(&[then]), [(event, 0, version)]);
    }
    assert_eq!(rules.state(&campaign_key(0)).map(|campaign| campaign.version), Some(3), "that is none of its own");
}

#[test]
fn a_campaign_goes_with_its_events_at_once() {
    let mut rules = rules();
    make(&mut rules, None, 0, 100);
    make(&mut rules, None, 0, 100);
    for campaign in [0, 1, 0] {
        make(&mut rules, Some(campaign), 1, 2);
    }
    let then = ask(&mut rules, &campaign_key(0), Command::Delete(pb::Delete::default()));
    assert_eq!(then.reply(), Some(pb::Reply::default()));
    assert_eq!(told(&[then]), [("EventDeleted", 0, 1), ("EventDeleted", 2, 1), ("CampaignDeleted", 0, 1)]);
    let left: Vec<String> = rules.states().into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, [campaign_key(1), event_key(1), format!("m/{:020}/{}", 1, event_key(1))]);
    assert_eq!(rules.timers(), 2, "those of what is left");
    let then = ask(&mut rules, &event_key(1), Command::Delete(pb::Delete::default()));
    assert_eq!(told(&[then]), [("EventDeleted", 1, 1)]);
    assert_eq!((rules.states().len(), rules.timers()), (1, 1));
}

#[test]
fn a_campaign_has_so_many_events_and_no_more() {
    let mut rules = rules();
    make(&mut rules, None, 0, 100);
    for _ in 0..MAX_EVENTS {
        make(&mut rules, Some(0), 1, 2);
    }
    assert_eq!(path(asked(&mut rules, "new", made(Some(0), "a", 1, 2))), "campaign");
    let then = ask(&mut rules, &campaign_key(0), Command::Delete(pb::Delete::default()));
    assert_eq!((then.events().len(), rules.timers(), rules.states().len()), (MAX_EVENTS + 1, 0, 0));
}

/// INV-29.
#[test]
fn both_ends_belong_to_what_is_live() {
    let entry = pb::Entry { start: 10, end: 20, ..pb::Entry::default() };
    let live = [9, 10, 15, 20, 21].map(|now| is_live(&entry, now));
    assert_eq!(live, [false, true, true, true, false]);
    let until = [9, 10, 15, 20, 21].map(|now| next_change(&entry, now));
    assert_eq!(until, [Some(10), Some(20), Some(20), Some(20), None]);
    let moment = pb::Entry { start: 10, end: 10, ..pb::Entry::default() };
    assert_eq!([9, 10, 11].map(|now| is_live(&moment, now)), [false, true, false]);
}

/// INV-29: the end is told when it is over.
#[test]
fn starts_and_ends_are_told_when_they_come() {
    let mut rules = rules();
    make(&mut rules, None, 10, 40);
    make(&mut rules, Some(0), 20, 30);
    let micro = Duration::from_micros(1);
    for (wait, events) in [
        (SECOND * 10 - micro, vec![]),
        (micro, vec![("CampaignStarted", 0, 1)]),
        (SECOND * 10, vec![("EventStarted", 0, 1)]),
        (SECOND * 10, vec![]),
        (micro, vec![("EventEnded", 0, 1)]),
        (SECOND * 100, vec![("CampaignEnded", 0, 1)]),
    ] {
        assert_eq!(told(&rules.wait(wait)), events, "{:?}", rules.now());
        for (key, phase) in [(campaign_key(0), Phase::Live), (event_key(0), Phase::Live)] {
            let entry = rules.state(&key).expect("it is there");
            assert_eq!(entry.phase() == phase, is_live(&entry, rules.now().0), "{key}");
        }
    }
    assert_eq!(rules.timers(), 0);
}

#[test]
fn what_has_begun_or_is_over_already_is_told_at_once() {
    let mut rules = rules();
    rules.wait(SECOND * 50);
    make(&mut rules, None, 0, 60);
    make(&mut rules, Some(0), 0, 10);
    let now = rules.wait(Duration::ZERO);
    assert_eq!(told(&now), [("CampaignStarted", 0, 1), ("EventStarted", 0, 1), ("EventEnded", 0, 1)]);
    assert_eq!(rules.timers(), 1);
}

#[test]
fn dates_that_are_moved_are_told_as_they_are_now() {
    let mut rules = rules();
    let key = campaign_key(0);
    make(&mut rules, None, 10, 20);
    let name = pb::Change { name: Some("b".into()), ..pb::Change::default() };
    patch(&mut rules, &key, name).expect("it is there");
    patch(&mut rules, &key, dates(12, 20)).expect("they are in order");
    assert_eq!(told(&rules.wait(SECOND * 11)), [], "not at the time it had");
    assert_eq!(told(&rules.wait(SECOND)), [("CampaignStarted", 0, 3)]);
    // It is live, and lasts longer: its start was told.
    patch(&mut rules, &key, dates(11, 30)).expect("they are in order");
    assert_eq!(told(&rules.wait(SECOND * 17)), []);
    assert_eq!(told(&rules.wait(SECOND * 2)), [("CampaignEnded", 0, 4)]);
    // It was over, and is live again; it was live, and is to come.
    patch(&mut rules, &key, dates(11, 60)).expect("they are in order");
    assert_eq!(told(&rules.wait(Duration::ZERO)), [("CampaignStarted", 0, 5)]);
    patch(&mut rules, &key, dates(50, 60)).expect("they are in order");
    assert_eq!(told(&rules.wait(Duration::ZERO)), []);
    assert_eq!(told(&rules.wait(SECOND * 40)), [("CampaignStarted", 0, 6), ("CampaignEnded", 0, 6)]);
    assert_eq!(rules.timers(), 0);
}

#[test]
fn a_timer_of_another_version_tells_nothing() {
    let mut rules = rules();
    make(&mut rules, None, 0, 20);
    for version in [0, 2] {
        assert_eq!(told(&[ask(&mut rules, &campaign_key(0), Command::Due(pb::Due { version }))]), []);
    }
    assert_eq!(told(&[ask(&mut rules, &campaign_key(1), Command::Due(pb::Due { version: 1 }))]), []);
    assert_eq!(told(&rules.wait(SECOND)), [("CampaignStarted", 0, 1)]);
    assert_eq!(told(&[ask(&mut rules, &campaign_key(0), Command::Due(pb::Due { version: 1 }))]), [], "that was told");
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_and_no_panic() {
    let mut rules = rules();
    assert!(rules.when("c", &pb::Command::default()).fault().is_some());
    let mut state = None;
    Campaign::evolve(&mut state, "c", &pb::Event::default(), At { offset: 0, time: rules.now() });
    assert_eq!((state, Campaign::knows(&pb::Event::default())), (None, false));
    let (start, end) = (u64::MAX, u64::MAX);
    let create = pb::Create { name: "a".into(), start, end, ..pb::Create::default() };
    assert!(asked(&mut rules, "new", Command::Create(create)).is_ok(), "however far away");
}
