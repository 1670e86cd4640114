//! Users and orders that were made many at once. They are no events of customers: the partition keeps them as ranges, and what they
//! say counts where nothing has happened to a customer since.
use crate::runtime::{At, partition_of};
use corduroy_proto::account::{self as pb, seed::What};

/// What a seed is of, and how many.
fn extent(seed: &pb::Seed) -> Option<(bool, u64)> {
    match seed.what.as_ref()? {
        What::Users(users) => Some((true, users.users)),
        What::Orders(orders) => Some((false, *orders)),
    }
}

/// Those that a later one of the same partition covers completely count nowhere any more.
pub(super) fn add(partition: &mut pb::Partition, seed: &pb::Seed, at: At) {
    let Some((of_users, n)) = extent(seed) else { return };
    let counts = |range: &pb::Range| {
        let before = range.seed.as_ref().filter(|before| before.partition == seed.partition);
        before.and_then(extent).is_none_or(|(users, before)| users != of_users || before > n)
    };
    partition.seeds.retain(counts);
    partition.seeds.push(pb::Range { end: at.offset.saturating_add(1), seed: Some(*seed) });
}

/// The account of a customer with what seeds have changed of it. `None`: they have not.
pub(super) fn seeded(partition: &pb::Partition, key: &str, stored: Option<&pb::Account>) -> Option<pb::Account> {
    let taken = stored.map_or(0, |account| account.seed);
    let end = partition.seeds.last().map(|range| range.end).filter(|end| *end > taken)?;
    let mut account = stored.cloned();
    for seed in partition.seeds.iter().filter(|range| range.end > taken).filter_map(|range| range.seed.as_ref()) {
        match &seed.what {
            Some(What::Users(users)) if is_one(key, users.users, seed) => {
                account.get_or_insert_default().balance = users.money;
            }
            Some(What::Orders(n)) => {
                // They are other orders now, and perhaps others'.
                if let Some(account) = &mut account {
                    account.orders.retain(|order| !is_one(&order.id, *n, seed));
                }
            }
            Some(What::Users(_)) | None => {}
        }
    }
    account.map(|account| pb::Account { seed: end, ..account })
}

/// Whether an id is one of those that a seed made in its partition.
fn is_one(id: &str, n: u64, seed: &pb::Seed) -> bool {
    let plain = id == "0" || !id.starts_with(['0', '+']);
    let number: Option<u64> = if plain { id.parse().ok() } else { None };
    number.is_some_and(|number| number < n) && partition_of(id, seed.partitions.max(1)) == seed.partition
}
