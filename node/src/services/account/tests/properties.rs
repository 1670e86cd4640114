//! Properties: whatever happens to orders and payments, and in whatever order it is read.
use super::{
    world::{WAYS, World},
    *,
};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Place(usize, usize, i64),
    Checkout(usize),
    Cancel(usize),
    Deliver(usize),
    Add(usize, i64),
    Read(usize),
    Wait,
}

const ORDERS: [&str; 5] = ["o1", "o2", "o3", "o4", "o5"];
const USERS: [&str; 3] = ["ann", "bob", "nobody"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..ORDERS.len(), 0..USERS.len(), 1..5_i64).prop_map(|(order, user, n)| Step::Place(order, user, n)),
        3 => (0..ORDERS.len()).prop_map(Step::Checkout),
        1 => (0..ORDERS.len()).prop_map(Step::Cancel),
        1 => (0..ORDERS.len()).prop_map(Step::Deliver),
        1 => (0..2_usize, 0..9_i64).prop_map(|(user, amount)| Step::Add(user, amount)),
        12 => (0..WAYS).prop_map(Step::Read),
        1 => Just(Step::Wait),
    ]
}

fn take(world: &mut World, step: &Step) {
    use order::command::Command;
    match *step {
        Step::Place(order, user, n) => world.place(ORDERS[order], USERS[user], "apple", n),
        Step::Checkout(order) => world.checkout(ORDERS[order]),
        Step::Cancel(order) => world.order(ORDERS[order], Command::Cancel(order::Cancel {})),
        Step::Deliver(order) => world.order(ORDERS[order], Command::MarkDelivered(order::MarkDelivered {})),
        Step::Add(user, amount) => {
            world.pay(USERS[user], payment::command::Command::AddFunds(payment::Amount { amount }));
        }
        Step::Read(way) => drop(world.read(way)),
        Step::Wait => world.wait(Duration::from_secs(11)),
    }
}

/// INV-20: gapless, and of each source in its order.
fn check_sequence(events: &[pb::CustomerEvent]) {
    assert!((1..).zip(events).all(|(seq, event)| event.seq == seq), "{events:?}");
    for topic in ["order", "payment"] {
        let sources = events.iter().filter_map(|event| event.source.as_ref()).filter(|source| source.topic == topic);
        let offsets: Vec<_> = sources.map(|source| source.offset).collect();
        assert!(offsets.is_sorted_by(|a, b| a < b), "{topic}: {offsets:?}");
    }
}

/// What the accounts must say once everything is read.
fn check_at_rest(world: &World) {
    for user in USERS {
        let paid = world.payment.rules.state(user).map(|account| account.available);
        let balance = balance(&world.account.rules, user);
        assert!(balance == paid || (paid.is_none() && balance.unwrap_or(0) == 0), "{user}: {balance:?}, {paid:?}");
    }
    for id in ORDERS {
        let Some(order::state::State::Order(order)) = world.order.rules.state(id).and_then(|state| state.state) else {
            continue;
        };
        let known = orders(&world.account.rules, &order.customer).into_iter().find(|(other, ..)| other == id);
        assert_eq!(known, Some((id.to_owned(), order.number, order.status(), order.gross)));
    }
}

proptest! {
    #[test]
    fn every_customer_has_one_sequence_without_gaps_and_the_truth_in_the_end(
        capacity in proptest::option::of(0..2_i64),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut world = World::open(capacity);
        for step in &steps {
            take(&mut world, step);
            USERS.iter().for_each(|user| check_sequence(&world.events(user)));
        }
        world.wait(Duration::from_secs(11));
        world.rest();
        USERS.iter().for_each(|user| check_sequence(&world.events(user)));
        check_at_rest(&world);
        // INV-21: the facts by themselves come to the same.
        let facts = world.account.log.iter();
        let replayed = facts.fold(Rules::new(Account), |rules, (key, fact)| rules.given(key, std::slice::from_ref(fact)));
        prop_assert_eq!(replayed.states(), world.account.rules.states());
        // Each is found where the state says.
        for user in USERS {
            let offsets = world.account.rules.state(user).unwrap_or_default().offsets;
            let found: Vec<_> = offsets.iter().map(|offset| world.account.log[*offset as usize].1.clone()).collect();
            let of_user = |event: pb::CustomerEvent| pb::Event { event: Some(Event::Customer(event)) };
            prop_assert_eq!(found, world.events(user).into_iter().map(of_user).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_restored_state_goes_on_like_the_one_that_was_stored(
        steps in proptest::collection::vec(step(), 1..60),
        at in any::<proptest::sample::Index>(),
    ) {
        let (mut straight, mut stored) = (World::open(None), World::open(None));
        for (number, step) in steps.iter().enumerate() {
            if number == at.index(steps.len()) {
                let rules = std::mem::replace(&mut stored.account.rules, Rules::new(Account));
                stored.account.rules = rules.restored();
            }
            take(&mut straight, step);
            take(&mut stored, step);
            prop_assert_eq!(straight.account.rules.hash(), stored.account.rules.hash());
        }
    }
}
