//! Lists of orders: all, by key, or those that are found by their customer or their status.
//!
//! Orders that were seeded and never touched are stored nowhere: they are worked out here as they are there.
use super::{
    pages::{self, Chunk, Page},
    views::Summary,
};
use crate::{
    gateway::{answer::Answer, ask::Ask, problem::Problem},
    runtime::{Service, partition_of},
    services::order::{Order, of_customer as by_customer, of_status, status_name, status_text},
};
use corduroy_proto::order::{self as pb, Status, state::State};
use std::{collections::BTreeMap, sync::Arc};

/// Seeded orders that are worked out for one chunk.
const SEEDED: usize = 20_000;

pub(super) async fn all(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let undelivered = match ask.query("undelivered") {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(_) => return Err(Problem::malformed("undelivered", "it is true or false")),
    };
    let (customer, status) = (ask.query("customer"), ask.query("status"));
    list(&ask, &Wanted { customer, status, undelivered }).await
}

pub(super) async fn of_customer(ask: Arc<Ask>) -> Result<Answer, Problem> {
    list(&ask, &Wanted { customer: Some(ask.param("customer_ref")), status: None, undelivered: false }).await
}

pub(super) async fn one(ask: Arc<Ask>) -> Result<Answer, Problem> {
    Ok(Answer::json(&Summary::of(&super::lookup::order(&ask, "order_ref").await?)))
}

/// Which orders are asked for.
struct Wanted<'a> {
    customer: Option<&'a str>,
    /// By either of its names.
    status: Option<&'a str>,
    undelivered: bool,
}

impl Wanted<'_> {
    fn keeps(&self, order: &pb::Order) -> bool {
        let is_status = |status: &str| {
            [status_name(order), status_text(order)].iter().any(|name| name.eq_ignore_ascii_case(status))
        };
        self.customer.is_none_or(|customer| order.customer.eq_ignore_ascii_case(customer))
            && self.status.is_none_or(is_status)
            && (!self.undelivered || order.status() == Status::Confirmed)
    }

    /// How they are found. `None`: there are none, as no order has this status.
    fn way(&self) -> Option<Way> {
        if let Some(customer) = self.customer {
            return Some(Way::Customer(customer.to_owned()));
        }
        if self.status.is_none() && !self.undelivered {
            return Some(Way::All);
        }
        let all = (0..).map_while(|status| Status::try_from(status).ok());
        let mut orders = all.map(|status| pb::Order { status: status.into(), ..pb::Order::default() });
        orders.find(|order| self.keeps(order)).map(|order| Way::Status(status_name(&order)))
    }
}

/// How orders are found.
enum Way {
    All,
    Customer(String),
    /// By its name.
    Status(&'static str),
}

async fn list(ask: &Ask, wanted: &Wanted<'_>) -> Result<Answer, Problem> {
    let page = Page::of(ask)?;
    let partitions = ask.partitions::<Order>()?;
    let Some(way) = wanted.way() else { return Ok(Answer::json(&[(); 0])) };
    let fetch = |partition, after, size| chunk(ask, &way, partition, partitions, after, size);
    let (orders, more) = page.collect(partitions, fetch, |order| wanted.keeps(order)).await?;
    let shown: Vec<_> = orders.iter().map(Summary::of).collect();
    Ok(pages::answer(ask, &(shown, more)))
}

/// Orders of a partition, stored or seeded.
async fn chunk(
    ask: &Ask,
    way: &Way,
    partition: u32,
    partitions: u32,
    after: String,
    size: usize,
) -> Result<Chunk<pb::Order>, Problem> {
    // What is seeded first: an order that is touched meanwhile is stored, and that counts.
    let kept = ask.partition_state::<Order>(partition).await?;
    let limit = u32::try_from(size).unwrap_or(u32::MAX);
    let by = match way {
        Way::Customer(customer) => Some(by_customer(customer)),
        // Of seeded orders it is only known who has been touched: by their keys.
        Way::Status(name) if *name != status_name(&pb::Order::default()) || kept.seeds.is_empty() => {
            Some(of_status(name))
        }
        Way::Status(_) | Way::All => None,
    };
    let (stored, mut horizon) = match &by {
        Some(by) => {
            let found = ask.find::<Order>(partition, by, &after, limit).await?;
            (found.aggregates, found.behind)
        }
        None => {
            let (stored, more) = ask.scan::<Order>(partition, "", &after, limit).await?;
            let behind = stored.last().map(|(key, _)| behind_aliases(key)).filter(|_| more);
            (stored, behind)
        }
    };
    let customer = match way {
        Way::Customer(customer) => Some(customer.as_str()),
        Way::Status(_) | Way::All => None,
    };
    let seeded = if customer.is_none() && by.is_some() { 0 } else { seeded(&kept, customer) };
    let own = Decimals::new(seeded, after).filter(|key| partition_of(key, partitions) == partition);
    let mut rows: BTreeMap<String, pb::Order> = BTreeMap::new();
    let mut last = None;
    for (looked, key) in own.enumerate() {
        if horizon.as_ref().is_some_and(|horizon| key > *horizon) {
            break;
        }
        if rows.len() == size || looked == SEEDED {
            horizon = last;
            break;
        }
        if let Some(State::Order(order)) = Order::seeded(&kept, &key, None).and_then(|state| state.state)
            && customer.is_none_or(|customer| order.customer == customer)
        {
            rows.insert(key.clone(), order);
        }
        last = Some(key);
    }
    for (key, state) in stored {
        if let Some(State::Order(order)) = state.state {
            rows.insert(key, order);
        }
    }
    Ok(Chunk { rows: rows.into_iter().collect(), horizon })
}

/// How many orders were seeded; none where none of them is this customer's.
fn seeded(kept: &pb::Partition, customer: Option<&str>) -> u64 {
    let has = |range: &pb::Range| {
        let number = |customer: &str| customer.parse().ok().filter(|number: &u64| number.to_string() == customer);
        customer.is_none_or(|customer| number(customer).is_some_and(|number| number < range.users))
    };
    kept.seeds.iter().filter(|range| has(range)).map(|range| range.orders).max().unwrap_or_default()
}

/// Aliases are many, no orders, and next to each other: the next chunk begins behind all of their kind.
fn behind_aliases(key: &str) -> String {
    match key.split_once('/') {
        // The character behind the slash.
        Some((kind, _)) => format!("{kind}0"),
        None => key.to_owned(),
    }
}

/// "0" to n-1 as texts are sorted, behind one.
struct Decimals {
    count: u64,
    after: String,
    /// To be visited, the next one last.
    open: Vec<u64>,
}

impl Decimals {
    fn new(count: u64, after: String) -> Self {
        Decimals { count, after, open: (0..10.min(count)).rev().collect() }
    }
}

impl Iterator for Decimals {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        while let Some(number) = self.open.pop() {
            let text = number.to_string();
            let is_behind = text > self.after;
            // All that begin so are before it, unless it begins so too.
            if !is_behind && !self.after.starts_with(&text) {
                continue;
            }
            if number > 0 {
                let longer = (0..10).rev().filter_map(|digit| number.checked_mul(10)?.checked_add(digit));
                self.open.extend(longer.filter(|longer| *longer < self.count));
            }
            if is_behind {
                return Some(text);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_come_as_texts_are_sorted() {
        for count in [0, 1, 9, 10, 11, 123, 1000] {
            let mut sorted: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            sorted.sort();
            for after in ["", "0", "1", "10", "12x", "5", "99", "9a", "zz", "due0"] {
                let found: Vec<_> = Decimals::new(count, after.into()).collect();
                let expected: Vec<_> = sorted.iter().filter(|text| text.as_str() > after).cloned().collect();
                assert_eq!(found, expected, "{count} behind {after:?}");
            }
        }
    }

    #[test]
    fn aliases_are_passed_over() {
        assert_eq!(behind_aliases("17"), "17");
        for (alias, behind) in [("due/0005/17", "due0"), ("ref/12", "ref0")] {
            assert_eq!(behind_aliases(alias), behind);
            assert!(*alias < *behind && behind < "refa");
        }
    }
}
