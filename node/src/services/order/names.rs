//! What orders are called beside their ids. An id never contains a slash, so no alias can be taken for one.

/// What the keys of orders begin with that are still to be delivered: the first of them is the next.
pub const DUE: &str = "due/";
/// What the keys begin with that lead from numbers to orders.
pub(super) const REF: &str = "ref/";

/// The orderRef of a number.
pub fn order_ref(number: u64) -> String {
    format!("OS{number:06}-ORD")
}

/// The number of an orderRef, in whatever case; `None`: it is none.
pub fn parse_ref(text: &str) -> Option<u64> {
    let digits = text.get(2..)?.get(..text.len().checked_sub(6)?)?;
    let number = digits.parse().ok()?;
    // Every number has one ref: no sign, no zeros more than six digits need.
    (number > 0 && order_ref(number).eq_ignore_ascii_case(text)).then_some(number)
}

/// The key that leads from a number to its order.
pub fn ref_key(number: u64) -> String {
    format!("{REF}{number}")
}

/// The partition an order with this number is in.
pub fn partition_of_ref(number: u64, partitions: u32) -> u32 {
    let partition = number.saturating_sub(1) % u64::from(partitions.max(1));
    u32::try_from(partition).unwrap_or_default()
}

/// The key of an order that is confirmed and not delivered: they are sorted by order date, and then by id.
pub fn due_key(order_date: u64, order: &str) -> String {
    format!("{DUE}{order_date:016x}/{order}")
}

/// The number of the next order of a partition that has counted so many. `None`: there are no more numbers.
pub(super) fn number(counter: u64, partition: u32, partitions: u32) -> Option<u64> {
    counter.checked_mul(u64::from(partitions.max(1)))?.checked_add(u64::from(partition))?.checked_add(1)
}

/// The other way round; `None`: no number of this partition.
pub(super) fn counter(number: u64, partition: u32, partitions: u32) -> Option<u64> {
    let (before, partitions) =
        (number.checked_sub(1)?.checked_sub(u64::from(partition))?, u64::from(partitions.max(1)));
    before.is_multiple_of(partitions).then_some(before / partitions)
}

/// The number a text is the only way to write.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let number = text.parse().ok()?;
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then_some(number)
}
