//! Notifications: what subscribers are told of orders, from the events of orders, or of a customer.
use crate::{
    gateway::shop::describe,
    services::order::subjects::{self, Subject},
};
use corduroy_log::Record;
use corduroy_proto::{account, order};
use prost::Message as _;
use serde::Serialize;
use serde_json::Value;

/// What is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope {
    /// Partition, offset, and which of what is told of that event.
    pub id: String,
    pub aggregate_id: String,
    resource: &'static str,
    operation: &'static str,
    r#type: &'static str,
    pub subject: &'static str,
    aliases: &'static [&'static str],
    pub customer_id: String,
    /// Of the customer's events; only where those are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    data: Value,
    /// How far a reader is that has got this: what it says when it comes back.
    pub position: String,
}

/// What is wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub customer: Option<String>,
    pub order: Option<String>,
    /// By name or alias; none: all.
    pub subjects: Vec<&'static str>,
    /// The four messages of a reservation alone.
    pub reservation: bool,
}

impl Wanted {
    fn keeps(&self, envelope: &Envelope) -> bool {
        let is = |wanted: &Option<String>, what: &str| wanted.as_ref().is_none_or(|wanted| wanted == what);
        is(&self.customer, &envelope.customer_id)
            && is(&self.order, &envelope.aggregate_id)
            && (self.subjects.is_empty() || self.subjects.contains(&envelope.subject))
    }

    /// What is told of a record, in order.
    pub(super) fn of(&self, topic: &str, partition: u32, record: &Record) -> Vec<Envelope> {
        let told = if topic == "account" { of_customer(record) } else { of_order(record) };
        let Some(Told { aggregate_id, customer_id, seq, subjects, data }) = told else { return Vec::new() };
        let shown = subjects
            .into_iter()
            .flat_map(|subject| if self.reservation { reserved(subject) } else { vec![plain(subject)] });
        let envelope =
            |(n, (subject, name, resource)): (usize, (&'static Subject, &'static str, &'static str))| Envelope {
                id: format!("{partition}-{}-{n}", record.offset),
                aggregate_id: aggregate_id.clone(),
                resource,
                operation: match name {
                    "ORDER_CREATE" => "CREATE",
                    "ORDER_PLACED_SUCCESS" | "ORDER_CREATED" => "CREATED",
                    _ => "UPDATED",
                },
                r#type: if subject.is_command { "COMMAND" } else { "EVENT" },
                subject: name,
                aliases: if self.reservation { &[] } else { subject.aliases },
                customer_id: customer_id.clone(),
                seq,
                data: data.clone(),
                position: String::new(),
            };
        shown.enumerate().map(envelope).filter(|envelope| self.keeps(envelope)).collect()
    }
}

/// A subject as it is told: itself, its name, and what it is about.
type Shown = (&'static Subject, &'static str, &'static str);

fn plain(subject: &'static Subject) -> Shown {
    (subject, subject.name, resource(subject.name))
}

/// The same for those who know the four messages of a reservation.
fn reserved(subject: &'static Subject) -> Vec<Shown> {
    match subject.name {
        "ORDER_CREATE" => vec![plain(subject)],
        "ORDER_PLACED_SUCCESS" => vec![(subject, "ORDER_CREATED", "ORDER")],
        "INVENTORY_UPDATE_SUCCESS" => {
            vec![(subject, "INVENTORY_RESERVED", "INVENTORY"), (subject, "INVENTORY_RESERVED", "ORDER")]
        }
        _ => Vec::new(),
    }
}

fn resource(name: &str) -> &'static str {
    match name.split('_').next() {
        Some("PAYMENT") => "PAYMENT",
        Some("INVENTORY") => "INVENTORY",
        Some("DELIVERY") => "DELIVERY",
        _ => "ORDER",
    }
}

/// What a record says.
struct Told {
    aggregate_id: String,
    customer_id: String,
    seq: Option<u64>,
    subjects: Vec<&'static Subject>,
    data: Value,
}

fn of_order(record: &Record) -> Option<Told> {
    let subjects = subjects::of(&order::Event::decode(record.value.clone()).ok()?.event?);
    if subjects.is_empty() {
        return None;
    }
    let data = describe::event("order", &record.value).data;
    let customer = data["customer"].as_str().or(data["attempt"]["customer"].as_str()).unwrap_or_default();
    let aggregate_id = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
    Some(Told { aggregate_id, customer_id: customer.to_owned(), seq: None, subjects, data })
}

fn of_customer(record: &Record) -> Option<Told> {
    use account::event::Event;
    let event = match account::Event::decode(record.value.clone()).ok()?.event? {
        Event::Customer(event) => event,
        Event::Seeded(_) => return None,
    };
    let subjects: Vec<_> = event.subjects.iter().filter_map(|name| subjects::find(name)).collect();
    let data = describe::event("account", &record.value).data;
    let aggregate_id = event.order.map(|order| order.id).unwrap_or_default();
    (!subjects.is_empty()).then_some(Told {
        aggregate_id,
        customer_id: event.customer,
        seq: Some(event.seq),
        subjects,
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use corduroy_log::world::Timestamp;
    use order::event::Event;

    fn record(event: Event) -> Record {
        let value = order::Event { event: Some(event) }.encode_to_vec().into();
        Record { offset: 17, time: Timestamp(0), key: Some("7".into()), value, headers: Vec::new() }
    }

    fn placed() -> Record {
        record(Event::Placed(order::OrderPlaced { order: "7".into(), customer: "ada".into(), ..Default::default() }))
    }

    fn stock(all: bool) -> Record {
        let attempt = Some(order::Attempt { order: "7".into(), customer: "ada".into(), ..Default::default() });
        record(Event::StockSecured(order::StockSecured { attempt, all, ..Default::default() }))
    }

    fn told(wanted: &Wanted, record: &Record) -> Vec<(String, &'static str, &'static str, &'static str, &'static str)> {
        let show = |envelope: Envelope| {
            (envelope.id, envelope.subject, envelope.resource, envelope.operation, envelope.r#type)
        };
        wanted.of("order", 2, record).into_iter().map(show).collect()
    }

    #[test]
    fn an_event_is_told_as_often_as_it_has_subjects() {
        let all = Wanted::default();
        assert_eq!(
            told(&all, &placed()),
            [
                ("2-17-0".into(), "ORDER_CREATE", "ORDER", "CREATE", "COMMAND"),
                ("2-17-1".into(), "ORDER_PLACED_SUCCESS", "ORDER", "CREATED", "EVENT"),
            ]
        );
        assert_eq!(told(&all, &stock(false)), []);
        assert_eq!(
            told(&all, &stock(true)),
            [("2-17-0".into(), "INVENTORY_UPDATE_SUCCESS", "INVENTORY", "UPDATED", "EVENT")]
        );
        let envelope = &all.of("order", 2, &stock(true))[0];
        assert_eq!((envelope.aggregate_id.as_str(), envelope.customer_id.as_str()), ("7", "ada"));
    }

    #[test]
    fn a_reservation_is_four_messages() {
        let wanted = Wanted { reservation: true, ..Wanted::default() };
        let all: Vec<_> =
            [placed(), stock(false), stock(true)].iter().flat_map(|record| told(&wanted, record)).collect();
        let subjects: Vec<_> = all.iter().map(|(_, subject, resource, ..)| (*subject, *resource)).collect();
        let expected = [
            ("ORDER_CREATE", "ORDER"),
            ("ORDER_CREATED", "ORDER"),
            ("INVENTORY_RESERVED", "INVENTORY"),
            ("INVENTORY_RESERVED", "ORDER"),
        ];
        assert_eq!(subjects, expected);
    }

    #[test]
    fn only_what_is_wanted_is_told() {
        let of = |customer: &str, order: &str, subjects: &[&'static str]| Wanted {
            customer: Some(customer.into()),
            order: Some(order.into()),
            subjects: subjects.into(),
            reservation: false,
        };
        assert_eq!(told(&of("ada", "7", &[]), &placed()).len(), 2);
        assert_eq!(told(&of("bob", "7", &[]), &placed()), []);
        assert_eq!(told(&of("ada", "8", &[]), &placed()), []);
        let second = told(&of("ada", "7", &["ORDER_PLACED_SUCCESS"]), &placed());
        assert_eq!(
            second,
            [("2-17-1".into(), "ORDER_PLACED_SUCCESS", "ORDER", "CREATED", "EVENT")],
            "its id is the same"
        );
    }
}
