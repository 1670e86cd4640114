//! Users, items and orders, and what is left of them.
use super::load::Told;
use crate::cli::{
    bench::cluster::Cluster,
    exit::Failure,
    http::{Ask, Http},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::time::Duration;

const MONEY: i64 = 1_000_000_000;
const PIECES: i64 = 1_000_000_000;
const PRICE: i64 = 3;
/// Bound on one request to set up or to count.
const PATIENCE: Duration = Duration::from_secs(120);
/// Questions at a time.
const AT_ONCE: usize = 32;

/// A shop with as many items as users.
pub(super) struct Shop {
    pub(super) http: Http,
    users: u64,
}

impl Shop {
    pub(super) async fn open(cluster: &Cluster, users: u64, orders: u64) -> Result<Self, Failure> {
        let http = Http::new(cluster.http());
        let shop = Shop { http, users };
        let init = [
            format!("/payment/batch_init/{users}/{MONEY}"),
            format!("/stock/batch_init/{users}/{PIECES}/{PRICE}"),
            format!("/orders/batch_init/{orders}/{users}/{users}/{PRICE}"),
        ];
        for (number, path) in init.iter().enumerate() {
            let key = format!("bench-init-{number}");
            let answered = shop.http.insist(number, &Ask::post(path, &key), PATIENCE).await;
            let (answer, _) = answered.map_err(Failure::refused)?;
            if answer.status != 200 {
                return Err(Failure::refused(format!("{path}: {} {}", answer.status, answer.body)));
            }
        }
        Ok(shop)
    }

    /// Money and pieces that are not where they should be.
    pub(super) async fn count(&self, told: &Told) -> Result<(i64, i64), Failure> {
        let confirmed = told.confirmed as i64;
        let credits = self.sum("/payment/find_user", "credit").await?;
        let pieces = self.sum("/stock/find", "stock").await?;
        let users = self.users as i64;
        Ok((users * MONEY - 2 * PRICE * confirmed - credits, users * PIECES - 2 * confirmed - pieces))
    }

    async fn sum(&self, path: &str, field: &str) -> Result<i64, Failure> {
        let asked = stream::iter(0..self.users).map(async |id| {
            let path = format!("{path}/{id}");
            let (answer, _) =
                self.http.insist(id as usize, &Ask::get(&path), PATIENCE).await.map_err(Failure::refused)?;
            let wrong = || Failure::refused(format!("{path}: {} {}", answer.status, answer.body));
            answer.body[field].as_i64().ok_or_else(wrong)
        });
        asked.buffer_unordered(AT_ONCE).try_fold(0, async |sum, one| Ok(sum + one)).await
    }
}
