//! What events are called in notifications.
use super::*;
use crate::services::order::subjects::{SUBJECTS, Subject, find, of};
use std::collections::BTreeSet;

fn names(event: &Event) -> Vec<&'static str> {
    of(event).into_iter().map(|subject: &Subject| subject.name).collect()
}

#[test]
fn every_name_and_every_alias_is_of_one_subject() {
    let all: Vec<&str> =
        SUBJECTS.iter().flat_map(|subject| [subject.name].into_iter().chain(subject.aliases.iter().copied())).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert!(all.iter().all(|name| find(name).is_some()));
    assert_eq!(find("INVENTORY_RESERVED").map(|subject| subject.name), Some("INVENTORY_UPDATE_SUCCESS"));
    assert_eq!(find("ORDER_CREATED").map(|subject| subject.name), Some("ORDER_PLACED_SUCCESS"));
    assert_eq!((find("ORDER_LOST"), find("")), (None, None));
    let commands: Vec<_> = SUBJECTS.iter().filter(|subject| subject.is_command).map(|subject| subject.name).collect();
    assert_eq!(commands, ["ORDER_CREATE"]);
}

#[test]
fn an_event_is_called_by_what_it_says() {
    let secured = |all| Event::StockSecured(pb::StockSecured { all, ..pb::StockSecured::default() });
    assert_eq!(names(&secured(true)), ["INVENTORY_UPDATE_SUCCESS"]);
    assert!(names(&secured(false)).is_empty(), "others are still to come");
    let confirmed = |delivery, slot_held| {
        names(&Event::Confirmed(pb::OrderConfirmed { delivery, slot_held, ..pb::OrderConfirmed::default() }))
    };
    assert_eq!(confirmed(true, false), ["DELIVERY_SCHEDULED_SUCCESS", "ORDER_FINALISED_SUCCESS"]);
    for (delivery, slot_held) in [(true, true), (false, false)] {
        assert_eq!(confirmed(delivery, slot_held), ["ORDER_FINALISED_SUCCESS"]);
    }
    let rejected = |released| {
        names(&Event::CheckoutRejected(pb::CheckoutRejected { released, ..pb::CheckoutRejected::default() }))
    };
    assert_eq!((rejected(false), rejected(true)), (vec!["ORDER_PLACED_ROLLBACK"], vec!["ORDER_CONFIRMATION_ROLLBACK"]));
    assert_eq!(names(&Event::Placed(pb::OrderPlaced::default())), ["ORDER_CREATE", "ORDER_PLACED_SUCCESS"]);
    for nothing in [
        Event::LineAdded(pb::LineChanged::default()),
        Event::Delivered(pb::OrderDelivered::default()),
        Event::Joined(pb::CallerJoined::default()),
    ] {
        assert!(names(&nothing).is_empty(), "{nothing:?}");
    }
}
