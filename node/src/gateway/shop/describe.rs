//! What services keep and say, as JSON: by the descriptions of the messages that this build was made with.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value as Field};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// `None` cannot be: the descriptions are part of the build, and a test reads them.
static MESSAGES: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(corduroy_proto::FILE_DESCRIPTOR_SET).ok());

/// A message: what kind it is, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gateway) struct Described {
    /// The name of an event or a command: `OrderPlaced`. Empty: nobody knows.
    pub name: String,
    /// What it says; of what nobody can read, its bytes in base64.
    pub data: Value,
}

/// An event of a topic.
pub(in crate::gateway) fn event(topic: &str, bytes: &[u8]) -> Described {
    described(topic, "Event", bytes)
}

/// A command of a service.
pub(in crate::gateway) fn command(service: &str, bytes: &[u8]) -> Described {
    described(service, "Command", bytes)
}

fn described(service: &str, kind: &str, bytes: &[u8]) -> Described {
    let message = MESSAGES.as_ref().and_then(|pool| pool.get_message_by_name(&format!("corduroy.{service}.v1.{kind}")));
    let read = message.and_then(|message| DynamicMessage::decode(message, bytes).ok());
    read.and_then(|message| chosen(&message))
        .unwrap_or_else(|| Described { name: String::new(), data: json!(STANDARD.encode(bytes)) })
}

/// The one of its kinds that a message is.
fn chosen(message: &DynamicMessage) -> Option<Described> {
    let (field, value) = message.fields().next()?;
    let data = match value {
        Field::Message(data) => serde_json::to_value(data).ok()?,
        other => json!(other.as_str()),
    };
    let kind = camel(field.name());
    let of = field.kind().as_message().map(MessageDescriptor::name).map(str::to_owned);
    Some(Described { name: of.filter(|of| of.ends_with(&kind)).unwrap_or(kind), data })
}

/// `line_added` as `LineAdded`.
fn camel(name: &str) -> String {
    let word =
        |word: &str| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>();
    name.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use corduroy_proto::{order, stock};
    use prost::Message as _;

    fn of_order(event: order::event::Event) -> Described {
        super::event("order", &order::Event { event: Some(event) }.encode_to_vec())
    }

    #[test]
    fn events_have_the_names_they_are_known_by() {
        use order::event::Event;
        let delivered = order::OrderDelivered { order: "7".into(), gross: 17_850, ..Default::default() };
        let told = of_order(Event::Delivered(delivered));
        assert_eq!(
            (told.name.as_str(), &told.data["order"], &told.data["gross"]),
            ("OrderDelivered", &json!("7"), &json!("17850"))
        );
        assert_eq!(of_order(Event::LineAdded(order::LineChanged::default())).name, "LineAdded");
        assert_eq!(of_order(Event::StockReleased(order::Released::default())).name, "StockReleased");
        let seeded = stock::event::Event::Seeded(stock::ItemsSeeded::default());
        assert_eq!(super::event("stock", &stock::Event { event: Some(seeded) }.encode_to_vec()).name, "ItemsSeeded");
        let removed = order::Command { command: Some(order::command::Command::RemoveLine("3".into())) };
        let told = super::command("order", &removed.encode_to_vec());
        assert_eq!((told.name.as_str(), told.data), ("RemoveLine", json!("3")));
    }

    #[test]
    fn what_nobody_can_read_is_shown_as_it_is() {
        for (topic, bytes) in [("points", &b"\x08\x01"[..]), ("order", b"\xff\xff"), ("order", b"")] {
            let told = super::event(topic, bytes);
            assert_eq!((told.name.as_str(), told.data), ("", json!(STANDARD.encode(bytes))));
        }
    }
}
