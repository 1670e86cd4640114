//! What is counted: one table, open for more.

/// A type of activity. Its number is for good: it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityType {
    /// What facts call it.
    pub number: u32,
    /// What it is called outside, and in settings.
    pub code: &'static str,
    /// For people.
    pub name: &'static str,
}

pub(super) const CREATED: ActivityType = ActivityType { number: 1, code: "ORDER_CREATED", name: "Order Created" };
pub(super) const COMPLETED: ActivityType = ActivityType { number: 2, code: "ORDER_COMPLETED", name: "Order Completed" };
pub(super) const CANCELLED: ActivityType = ActivityType { number: 3, code: "ORDER_CANCELLED", name: "Order Cancelled" };

/// All of them.
pub const TYPES: [ActivityType; 3] = [CREATED, COMPLETED, CANCELLED];

/// The type with this number.
pub fn with_number(number: u32) -> Option<ActivityType> {
    TYPES.into_iter().find(|known| known.number == number)
}

/// The type with this code.
pub fn with_code(code: &str) -> Option<ActivityType> {
    TYPES.into_iter().find(|known| known.code == code)
}

/// For messages.
pub(super) fn shown(number: u32) -> String {
    with_number(number).map_or_else(|| number.to_string(), |known| known.code.to_owned())
}
