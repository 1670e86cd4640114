//! Lists that are too long for one reply: by key, over all partitions of a service, a page at a time.
use crate::{
    gateway::{answer::Answer, ask::Ask, problem::Problem},
    runtime::{IndexKey, Service},
};
use axum::http::header;
use futures::future;
use serde::Serialize;

const USUAL: usize = 1000;
const MAX: usize = 10_000;
/// Rows of a partition that are looked at in one go.
const CHUNK: usize = 1000;
/// How often, for one reply.
const CHUNKS: usize = 1000;

/// Which page is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    limit: usize,
    after: String,
}

/// Rows of one partition by key, behind some key.
#[derive(Debug)]
pub(super) struct Chunk<T> {
    pub rows: Vec<(String, T)>,
    /// There may be more behind this key; `None`: there are none.
    pub horizon: Option<String>,
}

/// How many rows are wanted.
pub(super) fn limit(ask: &Ask) -> Result<usize, Problem> {
    let limit = ask.query("limit").map_or(Some(USUAL), |text| text.parse().ok()).filter(|limit| *limit > 0);
    let limit: usize = limit.ok_or_else(|| Problem::malformed("limit", "it is a number from 1 to 10000"))?;
    Ok(limit.min(MAX))
}

impl Page {
    pub(super) fn of(ask: &Ask) -> Result<Self, Problem> {
        Ok(Page { limit: limit(ask)?, after: ask.query("after").unwrap_or_default().to_owned() })
    }

    /// Rows of the page, at most.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The rows that `keep` keeps, and the key behind which there may be more.
    pub(super) async fn collect<T, F>(
        &self,
        partitions: u32,
        fetch: impl Fn(u32, String, usize) -> F,
        keep: impl Fn(&T) -> bool,
    ) -> Result<(Vec<T>, Option<String>), Problem>
    where
        F: Future<Output = Result<Chunk<T>, Problem>>,
    {
        let (mut kept, mut after) = (Vec::new(), self.after.clone());
        for _ in 0..CHUNKS {
            let size = (self.limit + 1).min(CHUNK);
            let chunks = (0..partitions).map(|partition| fetch(partition, after.clone(), size));
            let (rows, horizon) = merged(future::try_join_all(chunks).await?);
            for (key, row) in rows.into_iter().filter(|(_, row)| keep(row)) {
                if kept.len() == self.limit {
                    return Ok((kept, Some(after)));
                }
                kept.push(row);
                after = key;
            }
            match horizon {
                Some(horizon) => after = horizon,
                None => return Ok((kept, None)),
            }
        }
        Ok((kept, Some(after)))
    }
}

/// Aggregates of a partition behind a key, with the key behind which there may be more: those that are found by something, or all.
pub(super) async fn stored<S: Service>(
    ask: &Ask,
    by: Option<&IndexKey>,
    partition: u32,
    after: &str,
    size: usize,
) -> Result<(Vec<(String, S::State)>, Option<String>), Problem> {
    let limit = u32::try_from(size).unwrap_or(u32::MAX);
    match by {
        Some(by) => {
            let found = ask.find::<S>(partition, by, after, limit).await?;
            Ok((found.aggregates, found.behind))
        }
        None => {
            let (stored, more) = ask.scan::<S>(partition, "", after, limit).await?;
            let last = stored.last().map(|(key, _)| key.clone()).filter(|_| more);
            Ok((stored, last))
        }
    }
}

/// The page as it is answered: with a link to the next one, if there may be one.
pub(super) fn answer<T: Serialize>(ask: &Ask, (rows, more): &(Vec<T>, Option<String>)) -> Answer {
    let answer = Answer::json(rows);
    match more {
        Some(after) => answer.header(header::LINK, &next(ask, after)),
        None => answer,
    }
}

/// All rows up to the first horizon: behind it some partition may have others.
fn merged<T>(chunks: Vec<Chunk<T>>) -> (Vec<(String, T)>, Option<String>) {
    let horizon = chunks.iter().filter_map(|chunk| chunk.horizon.clone()).min();
    let rows = chunks.into_iter().flat_map(|chunk| chunk.rows);
    let mut rows: Vec<_> = rows.filter(|(key, _)| horizon.as_ref().is_none_or(|horizon| key <= horizon)).collect();
    rows.sort_by(|(key, _), (other, _)| key.cmp(other));
    (rows, horizon)
}

/// The link to the page behind a key.
pub(super) fn next(ask: &Ask, after: &str) -> String {
    let others = ask.queries().iter().filter(|(name, _)| name != "after");
    let others = others.map(|(name, value)| format!("{}={}&", escaped(name), escaped(value)));
    format!("<{}?{}after={}>; rel=\"next\"", ask.path(), others.collect::<String>(), escaped(after))
}

fn escaped(text: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'~' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Partitions of rows; each gives as many as it is asked for, or a few less.
    async fn page(partitions: &[BTreeSet<u32>], page: &Page, keep: impl Fn(u32) -> bool) -> (Vec<u32>, Option<String>) {
        let fetch = |partition: u32, after: String, size: usize| {
            let behind = partitions[partition as usize].iter().filter(|row| format!("{row:04}") > after);
            let behind: Vec<_> = behind.map(|row| (format!("{row:04}"), *row)).collect();
            let rows: Vec<_> = behind.iter().take(size).cloned().collect();
            let horizon = (rows.len() < behind.len()).then(|| rows[rows.len() - 1].0.clone());
            future::ready(Ok(Chunk { rows, horizon }))
        };
        let count = u32::try_from(partitions.len()).expect("a few");
        page.collect(count, fetch, |row| keep(*row)).await.expect("nobody refuses")
    }

    #[tokio::test]
    async fn pages_have_every_row_once_and_in_order() {
        let partitions: Vec<BTreeSet<u32>> = vec![(0..300).collect(), (300..2500).collect(), [5000].into(), [].into()];
        for limit in [1, 7, 999, 3000] {
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let (rows, next) = page(&partitions, &Page { limit, after }, |row| row % 2 == 0).await;
                assert!(rows.len() <= limit);
                seen.extend(rows);
                match next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            let expected: Vec<u32> = (0..2500).chain([5000]).filter(|row| row % 2 == 0).collect();
            assert_eq!(seen, expected, "{limit} at a time");
        }
    }

    #[test]
    fn what_is_in_a_link_is_escaped() {
        assert_eq!(escaped("a b&c=\u{e4}~-"), "a%20b%26c%3D%C3%A4~-");
    }
}
