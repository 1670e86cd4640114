//! Payment, stock and delivery, as far as an order can tell.
use super::*;
use std::collections::VecDeque;

/// A hold: of an order, an incarnation and an attempt.
pub type Id = (String, u64, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Aside,
    Refused,
    Voided,
    Posted,
}

/// A partition of payment, stock or delivery.
pub struct Participant {
    pub topic: &'static str,
    pub partition: u32,
    pub read: usize,
    pub holds: BTreeMap<Id, Held>,
    pub says: VecDeque<(Id, Held)>,
    pub said: u64,
}

impl Participant {
    pub fn new(topic: &'static str, partition: u32) -> Self {
        Participant { topic, partition, read: 0, holds: BTreeMap::new(), says: VecDeque::new(), said: 0 }
    }

    fn hold(&mut self, id: Id, mood: u8) {
        let held = if mood.is_multiple_of(3) || self.holds.contains_key(&id) { Held::Refused } else { Held::Aside };
        self.holds.entry(id.clone()).or_insert(held);
        self.says.push_back((id, held));
    }

    fn void(&mut self, id: Id, mood: u8) {
        let before = self.holds.insert(id.clone(), Held::Voided);
        assert_ne!(before, Some(Held::Posted), "{} {}: {id:?} is taken for good", self.topic, self.partition);
        // What holds nothing may be given back in silence.
        if before != Some(Held::Voided) && (before != Some(Held::Refused) || mood.is_multiple_of(2)) {
            self.says.push_back((id, Held::Voided));
        }
    }

    fn post(&mut self, id: Id) {
        let before = self.holds.insert(id.clone(), Held::Posted);
        assert_eq!(before, Some(Held::Aside), "{} {}: {id:?}", self.topic, self.partition);
    }

    /// Whether a list of partitions of stock, or what is asked of others, means this one.
    pub fn is_meant(&self, topic: &str, stock: &[u32]) -> bool {
        self.topic == topic && (topic != "stock" || stock.contains(&self.partition))
    }

    pub fn reads(&mut self, event: &Event, capacity: bool, mood: u8) {
        match event {
            Event::CheckoutStarted(e) if !e.lines.is_empty() && self.topic == "payment" => {
                self.hold(id(&e.attempt), mood)
            }
            Event::StockRequested(e)
                if self.topic == "stock" && e.parts.iter().any(|part| part.partition == self.partition) =>
            {
                self.hold(id(&e.attempt), mood);
            }
            Event::DeliveryRequested(e) if self.topic == "delivery" => self.hold(id(&e.attempt), mood),
            Event::Confirmed(e) => {
                let payment = self.topic == "payment" && e.payment;
                let delivery = self.topic == "delivery" && e.delivery && capacity;
                if payment || delivery || self.is_meant("stock", &e.stock_partitions) {
                    self.post(id(&e.attempt));
                }
            }
            Event::PaymentReleaseRequested(e) if self.topic == "payment" => self.void(id(&e.attempt), mood),
            Event::DeliveryReleaseRequested(e) if self.topic == "delivery" => self.void(id(&e.attempt), mood),
            Event::StockReleaseRequested(e) if self.is_meant("stock", &e.stock_partitions) => {
                self.void(id(&e.attempt), mood)
            }
            Event::Seeded(e) => {
                for ended in &e.ended {
                    let delivery = self.topic == "delivery" && ended.delivery;
                    if self.topic == "payment" || delivery || self.is_meant("stock", &ended.stock_partitions) {
                        self.void(id(&ended.attempt), mood);
                    }
                }
            }
            _ => {}
        }
    }
}

pub fn id(attempt: &Option<pb::Attempt>) -> Id {
    let attempt = attempt.clone().expect("it says which");
    (attempt.order, attempt.incarnation, attempt.attempt)
}

/// A participant says what has become of a hold.
pub fn tell(rules: &mut Rules<Order>, at: (&str, u32, u64), id: Id, held: Held) -> Vec<Then<Order>> {
    let ((topic, partition, offset), (order, incarnation, attempt)) = (at, id);
    let thens = match topic {
        "payment" => {
            let hold = Some(payment::HoldId { order, incarnation, attempt });
            let event = match held {
                Held::Aside => payment::event::Event::Held(payment::PaymentHeld { hold, ..Default::default() }),
                Held::Refused => {
                    let reason = "out-of-credit".to_owned();
                    payment::event::Event::Refused(payment::PaymentHoldRefused { hold, reason, ..Default::default() })
                }
                _ => payment::event::Event::Voided(payment::PaymentSettled { hold, ..Default::default() }),
            };
            rules.tell(topic, partition, offset, "", &payment::Event { event: Some(event) })
        }
        "stock" => {
            let hold = Some(stock::HoldId { order, incarnation, attempt });
            let event = match held {
                Held::Aside => stock::event::Event::Held(stock::StockHeld { hold, ..Default::default() }),
                Held::Refused => {
                    let reason = "out-of-stock".to_owned();
                    stock::event::Event::Refused(stock::StockHoldRefused { hold, reason, ..Default::default() })
                }
                _ => stock::event::Event::Voided(stock::StockSettled { hold, ..Default::default() }),
            };
            rules.tell(topic, partition, offset, "", &stock::Event { event: Some(event) })
        }
        _ => {
            let hold = Some(delivery::HoldId { order, incarnation, attempt });
            let event = match held {
                Held::Aside => delivery::event::Event::Held(delivery::Slot { hold, ..Default::default() }),
                Held::Refused => {
                    let reason = "no-delivery-slot".to_owned();
                    delivery::event::Event::Refused(delivery::SlotRefused { hold, reason, ..Default::default() })
                }
                _ => delivery::event::Event::Voided(delivery::Slot { hold, ..Default::default() }),
            };
            rules.tell(topic, partition, offset, "", &delivery::Event { event: Some(event) })
        }
    };
    thens.expect("it can be read")
}
