//! A thousand users with one credit each, and a hundred pieces of one item.
use super::{all, orders_of};
use crate::harness::{Answer, Callers, Cluster};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

const USERS: usize = 1000;
const PIECES: usize = 100;
/// How many requests prepare at once.
const AT_ONCE: usize = 64;

/// A21: all of them want one, at once.
pub async fn nobody_fails(callers: &Callers) {
    let crowd = Crowd::gather(callers).await;
    let asked = crowd
        .orders
        .iter()
        .enumerate()
        .map(|(turn, order)| async move { callers.post(turn, &format!("/orders/checkout/{order}")).await });
    let answers = all(USERS, asked).await;
    crowd.judge(callers, &answers).await;
}

/// A21: the same while a leader of orders is killed; callers that get 503, 504 or nothing ask again.
pub async fn a_leader_is_killed_half_way(cluster: &mut Cluster, callers: &Callers) {
    let crowd = Crowd::gather(callers).await;
    let leader = cluster.leads("order").await.into_iter().flatten().next().expect("somebody leads");
    let (answered, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let asked = crowd.orders.iter().enumerate().map(|(turn, order)| {
        let (answered, failed) = (&answered, &failed);
        async move {
            let (path, key) = (format!("/orders/checkout/{order}"), format!("crowd-{order}"));
            let header = [("idempotency-key", &*key)];
            let first = callers.ask(turn, "POST", &path, &header, None).await;
            let answer = match first {
                Ok(answer) if answer.status < 500 => answer,
                _ => {
                    failed.fetch_add(1, Relaxed);
                    callers.insist(turn + 1, "POST", &path, &key, None).await
                }
            };
            answered.fetch_add(1, Relaxed);
            answer
        }
    });
    let kill = async {
        while answered.load(Relaxed) < USERS / 10 {
            tokio::task::yield_now().await;
        }
        cluster.node(leader).kill();
        answered.load(Relaxed)
    };
    // Not all of them at once: some have to be under way, and some to come, when the leader is gone.
    let (answers, before) = tokio::join!(all(AT_ONCE, asked), kill);
    assert!(before < USERS, "the leader was killed after everything was over");
    assert!(failed.load(Relaxed) > 0, "nobody noticed that node {leader} was gone");
    cluster.node(leader).start();
    cluster.node(leader).wait_ready();
    crowd.judge(callers, &answers).await;
}

struct Crowd {
    item: String,
    users: Vec<String>,
    orders: Vec<String>,
}

impl Crowd {
    async fn gather(callers: &Callers) -> Self {
        let item = callers.item(1, i64::try_from(PIECES).unwrap()).await;
        let users = all(AT_ONCE, (0..USERS).map(|_| callers.user(1))).await;
        let orders = orders_of(callers, AT_ONCE, &users, &item).await;
        assert_eq!(orders.iter().collect::<BTreeSet<_>>().len(), USERS);
        Crowd { item, users, orders }
    }

    /// As many as there are pieces have got one, and nobody else has paid.
    async fn judge(&self, callers: &Callers, answers: &[Answer]) {
        assert_eq!(answers.len(), USERS);
        let paid = |answer: &Answer| match (answer.status, answer.problem()) {
            (200, _) => true,
            (409, "out-of-stock") => false,
            _ => panic!("{answer:?}"),
        };
        let paid: Vec<bool> = answers.iter().map(paid).collect();
        assert_eq!(paid.iter().filter(|paid| **paid).count(), PIECES);
        for node in 0..callers.nodes() {
            assert_eq!(callers.stock(node, &self.item).await, 0);
        }
        let reads = self.users.iter().enumerate().map(|(turn, user)| callers.credit(turn, user));
        let credits = all(AT_ONCE, reads).await;
        assert_eq!(credits.iter().sum::<i64>(), i64::try_from(USERS - PIECES).unwrap());
        for ((user, credit), paid) in self.users.iter().zip(credits).zip(paid) {
            assert_eq!(credit, i64::from(!paid), "user {user}, paid: {paid}");
        }
    }
}
