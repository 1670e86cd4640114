//! Properties: whatever is asked, in whatever order.
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Step {
    Create(Option<u64>, u64, u64),
    Change(bool, bool, u64, pb::Change),
    Delete(bool, u64, Option<u64>),
    Wait(u64),
}

/// Ids that are there, more often than not.
const IDS: u64 = 5;
const DAYS: u64 = 12;

fn condition(version: Option<u64>) -> Option<pb::Condition> {
    version.map(|version| pb::Condition { any: version == 0, versions: vec![version] })
}

fn change() -> impl Strategy<Value = pb::Change> {
    use proptest::option::{of, weighted};
    let name = weighted(0.3, "[a-c]{0,2}");
    let tenant = weighted(0.2, of("[x-z]"));
    (name, of(0..DAYS), of(0..DAYS), tenant, weighted(0.1, 0..IDS), weighted(0.2, 0..4_u64)).prop_map(
        |(name, start, end, tenant, campaign, version)| pb::Change {
            condition: condition(version),
            name,
            start: start.map(at),
            end: end.map(at),
            tenant: tenant.map(|name| pb::Tenant { name }),
            campaign,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let version = || proptest::option::weighted(0.2, 0..4_u64);
    prop_oneof![
        4 => (proptest::option::weighted(0.7, 0..IDS), 0..DAYS, 0..DAYS)
            .prop_map(|(campaign, one, other)| Step::Create(campaign, one.min(other), one.max(other))),
        4 => (any::<bool>(), any::<bool>(), 0..2 * IDS, change())
            .prop_map(|(event, patch, id, change)| Step::Change(event, patch, id, change)),
        2 => (any::<bool>(), 0..2 * IDS, version()).prop_map(|(event, id, version)| Step::Delete(event, id, version)),
        1 => (0..4_u64).prop_map(Step::Wait),
    ]
}

/// What must hold, step by step.
struct Checked {
    rules: Rules<Campaign>,
    /// Everything that has happened, with its keys.
    log: Vec<(String, pb::Event)>,
    /// How many campaigns and events were made.
    made: (u64, u64),
    /// Of campaigns and events (true) those that were deleted.
    gone: BTreeSet<(bool, u64)>,
}

impl Checked {
    fn new() -> Self {
        Checked { rules: rules(), log: Vec::new(), made: (0, 0), gone: BTreeSet::new() }
    }

    fn take(&mut self, step: &Step) {
        let key = |event: bool, id| if event { event_key(id) } else { campaign_key(id) };
        let thens = match step.clone() {
            Step::Create(campaign, start, end) => vec![ask(&mut self.rules, "new", made(campaign, "a", start, end))],
            Step::Change(event, true, id, change) => {
                vec![ask(&mut self.rules, &key(event, id), Command::Patch(change))]
            }
            Step::Change(event, false, id, change) => {
                vec![ask(&mut self.rules, &key(event, id), Command::Replace(change))]
            }
            Step::Delete(event, id, version) => {
                let delete = pb::Delete { condition: condition(version) };
                vec![ask(&mut self.rules, &key(event, id), Command::Delete(delete))]
            }
            Step::Wait(seconds) => self.rules.wait(SECOND * seconds as u32),
        };
        for then in &thens {
            assert!(then.fault().is_none() && then.retry().is_none(), "{then:?}");
            self.log.extend(then.keyed_events());
        }
        self.see(&thens);
        self.check();
        if let Step::Wait(_) = step {
            self.is_told();
        }
    }

    /// INV-31: whatever is made has the next number, and nothing is heard any more of what is gone.
    fn see(&mut self, thens: &[Then<Campaign>]) {
        for (name, id, version) in told(thens) {
            let is_event = name.starts_with("Event");
            let made = if is_event { &mut self.made.1 } else { &mut self.made.0 };
            if name.ends_with("Created") {
                assert_eq!((id, version), (*made, 1), "{name}");
                *made += 1;
            }
            assert!(id < *made && !self.gone.contains(&(is_event, id)), "{name} of {id}");
            if name.ends_with("Deleted") {
                self.gone.insert((is_event, id));
            }
        }
    }

    fn check(&self) {
        let states = self.rules.states();
        let entries = |prefix: &str| states.iter().filter(|(key, _)| key.starts_with(prefix)).collect::<Vec<_>>();
        let (campaigns, events, members) = (entries("c/"), entries("e/"), entries("m/"));
        assert_eq!(campaigns.len() as u64 + self.gone.iter().filter(|gone| !gone.0).count() as u64, self.made.0);
        assert_eq!(events.len() as u64 + self.gone.iter().filter(|gone| gone.0).count() as u64, self.made.1);
        assert_eq!(events.len(), members.len(), "each event is there twice");
        for (key, event) in &events {
            // INV-30.
            let campaign = event.campaign.expect("an event is in a campaign");
            let within = self.rules.state(&campaign_key(campaign)).expect("and it is there");
            assert!(within.start <= event.start && event.end <= within.end, "{event:?} in {within:?}");
            let member = self.rules.state(&format!("m/{campaign:020}/{key}"));
            assert_eq!(member.as_ref(), Some(event));
        }
        for (_, entry) in campaigns.iter().chain(&events) {
            assert!(entry.start <= entry.end && !entry.name.is_empty(), "{entry:?}");
            assert!(entry.timer != 0 || entry.phase() == Phase::Ended, "{entry:?}");
        }
        let armed = campaigns.iter().chain(&events).filter(|(_, entry)| entry.timer != 0).count();
        assert_eq!(self.rules.timers(), armed, "no timer is lost, and none is left");
    }

    /// After a while everything has been told that there is to tell.
    fn is_told(&self) {
        for (_, entry) in self.rules.states() {
            let now = self.rules.now().0;
            assert_eq!(entry.phase() == Phase::Live, is_live(&entry, now), "{entry:?} at {now}");
            assert_eq!(entry.phase() == Phase::Ended, next_change(&entry, now).is_none(), "{entry:?} at {now}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_events_lie_inside_of_campaigns_that_are_there(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut checked = Checked::new();
        steps.iter().for_each(|step| checked.take(step));
        // Once all dates are past, all has been told, and no timer is left.
        checked.take(&Step::Wait(2 * DAYS));
        prop_assert_eq!(checked.rules.timers(), 0);
    }

    #[test]
    fn what_has_happened_makes_the_same_state_again(steps in proptest::collection::vec(step(), 1..80)) {
        let mut checked = Checked::new();
        steps.iter().for_each(|step| checked.take(step));
        let mut replayed = rules();
        for (key, event) in &checked.log {
            replayed = replayed.given(key, std::slice::from_ref(event));
        }
        prop_assert_eq!(replayed.states(), checked.rules.states());
        prop_assert_eq!(replayed.partition(), checked.rules.partition());
    }

    #[test]
    fn a_restored_state_goes_on_like_the_one_that_was_stored(
        steps in proptest::collection::vec(step(), 1..80),
        at in any::<proptest::sample::Index>(),
    ) {
        let (mut straight, mut stored) = (Checked::new(), Checked::new());
        for (number, step) in steps.iter().enumerate() {
            if number == at.index(steps.len()) {
                stored.rules = stored.rules.restored();
            }
            straight.take(step);
            stored.take(step);
            prop_assert_eq!(straight.rules.hash(), stored.rules.hash());
        }
    }
}
