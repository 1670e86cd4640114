//! Lists of orders.
//!
//! Orders that were seeded and never touched are stored nowhere: they are worked out here as they are there.
use super::{
    pages::{self, Chunk, Page},
    views::Summary,
};
use crate::{
    gateway::{answer::Answer, ask::Ask, problem::Problem},
    runtime::{Service, partition_of},
    services::order::{Order, status_name, status_text},
};
use axum::http::header;
use corduroy_proto::order::{self as pb, state::State};
use std::{collections::BTreeMap, sync::Arc};

pub(super) async fn all(ask: Arc<Ask>) -> Result<Answer, Problem> {
    let undelivered = match ask.query("undelivered") {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(_) => return Err(Problem::malformed("undelivered", "it is true or false")),
    };
    list(&ask, ask.query("customer"), ask.query("status"), undelivered).await
}

pub(super) async fn of_customer(ask: Arc<Ask>) -> Result<Answer, Problem> {
    list(&ask, Some(ask.param("customer_ref")), None, false).await
}

pub(super) async fn one(ask: Arc<Ask>) -> Result<Answer, Problem> {
    Ok(Answer::json(&Summary::of(&super::lookup::order(&ask, "order_ref").await?)))
}

async fn list(ask: &Ask, customer: Option<&str>, status: Option<&str>, undelivered: bool) -> Result<Answer, Problem> {
    let page = Page::of(ask)?;
    let keep = |order: &pb::Order| {
        let is_status = |status: &str| {
            [status_name(order), status_text(order)].iter().any(|name| name.eq_ignore_ascii_case(status))
        };
        customer.is_none_or(|customer| order.customer.eq_ignore_ascii_case(customer))
            && status.is_none_or(is_status)
            && (!undelivered || order.status() == pb::Status::Confirmed)
    };
    let partitions = ask.partitions::<Order>()?;
    let fetch = |partition, after, size| chunk(ask, partition, partitions, after, size);
    let (orders, more) = page.collect(partitions, fetch, keep).await?;
    let answer = Answer::json(&orders.iter().map(Summary::of).collect::<Vec<_>>());
    Ok(match more {
        Some(after) => answer.header(header::LINK, &pages::next(ask, &after)),
        None => answer,
    })
}

/// Orders of a partition, stored or seeded.
async fn chunk(
    ask: &Ask,
    partition: u32,
    partitions: u32,
    after: String,
    size: usize,
) -> Result<Chunk<pb::Order>, Problem> {
    // What is seeded first: an order that is touched meanwhile is stored, and that counts.
    let kept = ask.partition_state::<Order>(partition).await?;
    let limit = u32::try_from(size).unwrap_or(u32::MAX);
    let (stored, more) = ask.scan::<Order>(partition, "", &after, limit).await?;
    let mut horizon = if more { stored.last().map(|(key, _)| behind_aliases(key)) } else { None };
    let mut rows: BTreeMap<String, pb::Order> = BTreeMap::new();
    let seeded = kept.seeds.iter().map(|range| range.orders).max().unwrap_or_default();
    let own = Decimals::new(seeded, after).filter(|key| partition_of(key, partitions) == partition);
    for key in own {
        if horizon.as_ref().is_some_and(|horizon| key > *horizon) {
            break;
        }
        if rows.len() == size {
            horizon = rows.last_key_value().map(|(key, _)| key.clone());
            break;
        }
        if let Some(State::Order(order)) = Order::seeded(&kept, &key, None).and_then(|state| state.state) {
            rows.insert(key, order);
        }
    }
    for (key, state) in stored {
        if let Some(State::Order(order)) = state.state {
            rows.insert(key, order);
        }
    }
    Ok(Chunk { rows: rows.into_iter().collect(), horizon })
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
