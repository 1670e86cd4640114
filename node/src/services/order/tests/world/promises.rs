//! What is promised, step by step.
use super::{participants::id, *};

impl World {
    pub fn judge(&mut self, key: &str, event: &Event) {
        match event {
            Event::Placed(placed) => assert!(self.numbers.insert(placed.number), "INV-6"),
            Event::Seeded(seeded) => {
                let numbers = (0..seeded.orders).map(|index| seeded.first + index + 1);
                numbers.for_each(|number| assert!(self.numbers.insert(number), "INV-6"));
            }
            Event::CheckoutStarted(started) => {
                let before = self.totals.insert(id(&started.attempt), started.total);
                assert_eq!(before, None, "an attempt is begun once");
                let lines = started.lines.iter().map(|line| line.quantity * line.price.expect("it has one"));
                assert_eq!(lines.sum::<i64>(), started.total);
            }
            Event::Confirmed(confirmed) => {
                let attempt = id(&confirmed.attempt);
                assert_eq!(self.totals[&attempt], confirmed.total, "INV-5");
                for participant in &self.participants {
                    let asked = participant.holds.get(&attempt);
                    let payment = participant.topic == "payment" && confirmed.payment;
                    if payment || participant.is_meant("stock", &confirmed.stock_partitions) {
                        assert_eq!(asked, Some(&Held::Aside), "INV-1: {attempt:?}");
                    } else {
                        assert!(asked.is_none_or(|held| *held == Held::Aside), "INV-1: {attempt:?}");
                    }
                }
                let charged = (attempt.0.clone(), attempt.1);
                assert_eq!(self.confirmed.insert(charged, attempt), None, "INV-3");
            }
            Event::StockReleaseRequested(asked) => self.holds_nothing(&["delivery"], &id(&asked.attempt)),
            Event::PaymentReleaseRequested(asked) => self.holds_nothing(&["delivery", "stock"], &id(&asked.attempt)),
            Event::CheckoutRejected(rejected) => {
                self.holds_nothing(&["delivery", "stock", "payment"], &id(&rejected.attempt));
            }
            Event::Delivered(_) => self.only_once("delivered", key),
            Event::Completed(_) => self.only_once("completed", key),
            Event::Cancelled(_) => self.only_once("cancelled", key),
            _ => {}
        }
    }

    /// INV-7.
    fn only_once(&mut self, what: &'static str, key: &str) {
        let incarnation = self.order(key).expect("it is there").incarnation;
        assert!(self.once.insert((what, key.to_owned(), incarnation)), "{key} is {what} twice");
        let is = |what| self.once.contains(&(what, key.to_owned(), incarnation));
        assert!(!is("cancelled") || !(is("delivered") || is("completed")), "{key} is {what}");
    }

    fn holds_nothing(&self, topics: &[&str], attempt: &Id) {
        for participant in self.participants.iter().filter(|participant| topics.contains(&participant.topic)) {
            assert_ne!(participant.holds.get(attempt), Some(&Held::Aside), "{}: {attempt:?}", participant.topic);
        }
    }

    pub fn check(&self) {
        let mut due = BTreeSet::new();
        for key in KEYS {
            let Some(order) = self.order(key) else { continue };
            let lines: i64 = order.lines.iter().map(|line| line.quantity * line.price.unwrap_or(0)).sum();
            if order.kind() == Kind::Items {
                assert_eq!(total(&order), lines, "INV-5");
            }
            let attempt = (order.id.clone(), order.incarnation, order.attempt);
            if matches!(order.status(), Status::Reserving | Status::Releasing) {
                assert_eq!(self.totals.get(&attempt), Some(&total(&order)), "INV-5");
            }
            if order.status() == Status::Confirmed {
                due.insert(due_key(order.order_date, key));
            }
            let alias = pb::State { state: Some(pb::state::State::Alias(key.to_owned())) };
            assert_eq!(self.rules.state(&ref_key(order.number)), Some(alias));
        }
        let stored = self.rules.states().into_iter().map(|(key, _)| key).filter(|key| key.starts_with(DUE));
        assert_eq!(stored.collect::<BTreeSet<_>>(), due);
        // INV-4.
        assert!(self.confirmed.values().all(|attempt| !self.refused.contains(attempt)));
    }
}

/// INV-4.
pub fn is_paid(reply: &pb::Reply) {
    let status = reply.order.as_ref().map(pb::Order::status);
    assert!(matches!(status, Some(Status::Confirmed | Status::Delivered)), "{reply:?}");
}
