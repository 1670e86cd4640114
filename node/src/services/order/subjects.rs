//! What events of orders are called in notifications. One table, for whoever tells of them.
use corduroy_proto::order::event::Event;

/// A name of an event, and others it is read and asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: &'static str,
    /// Its other names.
    pub aliases: &'static [&'static str],
    /// It tells of what was asked, and not of what happened.
    pub is_command: bool,
}

const fn told(name: &'static str) -> Subject {
    Subject { name, aliases: &[], is_command: false }
}

/// All of them.
pub const SUBJECTS: [Subject; 16] = [
    Subject { is_command: true, ..told("ORDER_CREATE") },
    Subject { aliases: &["ORDER_CREATED"], ..told("ORDER_PLACED_SUCCESS") },
    told("ORDER_CONFIRMATION_SUCCESS"),
    Subject { aliases: &["PAYMENT_PROCESSED_SUCCESS"], ..told("PAYMENT_CHARGE_SUCCESS") },
    told("PAYMENT_PROCESSED_ERROR"),
    Subject { aliases: &["INVENTORY_UPDATED_SUCCESS", "INVENTORY_RESERVED"], ..told("INVENTORY_UPDATE_SUCCESS") },
    told("INVENTORY_UPDATE_ERROR"),
    told("DELIVERY_SCHEDULED_SUCCESS"),
    told("DELIVERY_SCHEDULED_ERROR"),
    told("ORDER_FINALISED_SUCCESS"),
    told("DELIVERY_SCHEDULED_ROLLBACK"),
    told("INVENTORY_UPDATE_ROLLBACK"),
    told("PAYMENT_CHARGE_ROLLBACK"),
    told("ORDER_PLACED_ROLLBACK"),
    told("ORDER_CONFIRMATION_ROLLBACK"),
    // Of a command that was refused: no event tells of it, but the node that refused.
    told("ORDER_CONFIRMATION_ERROR"),
];

/// By its name, or by another one it has.
pub fn find(name: &str) -> Option<&'static Subject> {
    SUBJECTS.iter().find(|subject| subject.name == name || subject.aliases.contains(&name))
}

/// What is told of an event, one after the other; nothing of most.
pub fn of(event: &Event) -> Vec<&'static Subject> {
    let names: &[&str] = match event {
        Event::Placed(_) => &["ORDER_CREATE", "ORDER_PLACED_SUCCESS"],
        Event::CheckoutStarted(_) => &["ORDER_CONFIRMATION_SUCCESS"],
        Event::PaymentSecured(_) => &["PAYMENT_CHARGE_SUCCESS"],
        Event::PaymentDeclined(_) => &["PAYMENT_PROCESSED_ERROR"],
        Event::StockSecured(secured) if secured.all => &["INVENTORY_UPDATE_SUCCESS"],
        Event::StockDeclined(_) => &["INVENTORY_UPDATE_ERROR"],
        Event::DeliverySecured(_) => &["DELIVERY_SCHEDULED_SUCCESS"],
        Event::DeliveryDeclined(_) => &["DELIVERY_SCHEDULED_ERROR"],
        // Where no slot had to be held there is one: every day has room.
        Event::Confirmed(confirmed) if confirmed.delivery && !confirmed.slot_held => {
            &["DELIVERY_SCHEDULED_SUCCESS", "ORDER_FINALISED_SUCCESS"]
        }
        Event::Confirmed(_) => &["ORDER_FINALISED_SUCCESS"],
        Event::DeliveryReleased(_) => &["DELIVERY_SCHEDULED_ROLLBACK"],
        Event::StockReleased(_) => &["INVENTORY_UPDATE_ROLLBACK"],
        Event::PaymentReleased(_) => &["PAYMENT_CHARGE_ROLLBACK"],
        Event::CheckoutRejected(rejected) if rejected.released => &["ORDER_CONFIRMATION_ROLLBACK"],
        Event::CheckoutRejected(_) => &["ORDER_PLACED_ROLLBACK"],
        _ => &[],
    };
    names.iter().filter_map(|name| find(name)).collect()
}
