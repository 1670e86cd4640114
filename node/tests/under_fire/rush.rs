//! Many callers, each with orders to check out, as fast as they are let.
use super::harness::{Callers, Cluster};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};

/// Bound on the time until something is told.
const TELLING: Duration = Duration::from_secs(60);

/// What came of a checkout in the end.
#[derive(Clone, Debug)]
pub struct Told {
    /// Of HTTP: 200 or 409.
    pub status: u16,
    /// Why not, of a 409.
    pub problem: String,
    /// When it was first asked for.
    pub begun: Instant,
}

type Outcomes = Arc<Mutex<BTreeMap<String, Told>>>;

/// Orders that are checked out by many at once, through all nodes, each under a key of its own until there is an
/// answer that stays. They are let go in portions, so that there is work before, during and after every fault.
pub struct Rush {
    open: watch::Sender<usize>,
    begun: Arc<AtomicUsize>,
    told: Outcomes,
    callers: JoinSet<()>,
}

impl Rush {
    /// So many callers for these orders; none of them is let go yet.
    pub fn of(callers: &Callers, orders: &[String], at_once: usize) -> Self {
        let (open, gate) = watch::channel(0);
        let (told, next, started) = (Outcomes::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (orders, mut tasks) = (Arc::new(orders.to_vec()), JoinSet::new());
        for _ in 0..at_once {
            let (callers, orders, next) = (callers.clone(), orders.clone(), next.clone());
            let (told, mut gate, started) = (told.clone(), gate.clone(), started.clone());
            tasks.spawn(async move {
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    let Some(order) = orders.get(turn) else { return };
                    if gate.wait_for(|open| turn < *open).await.is_err() {
                        return;
                    }
                    let begun = Instant::now();
                    started.fetch_add(1, Ordering::Relaxed);
                    let path = format!("/orders/checkout/{order}");
                    let answer = callers.insist(turn, "POST", &path, &format!("checkout-{order}"), None).await;
                    let problem = answer.problem().to_owned();
                    assert!(matches!(answer.status, 200 | 409), "{path}: {answer:?}");
                    let all = &mut told.lock().expect("no caller fails holding it");
                    all.insert(order.clone(), Told { status: answer.status, problem, begun });
                }
            });
        }
        Rush { open, begun: started, told, callers: tasks }
    }

    /// Lets so many more go.
    pub fn let_go(&self, more: usize) {
        self.open.send_modify(|open| *open += more);
    }

    /// Lets so many more go, and waits until some are under way; says how many. However fast they are answered: whoever is
    /// late to look lets more go.
    pub async fn amid(&mut self, count: usize, cluster: &Cluster) -> usize {
        let deadline = Instant::now() + TELLING;
        loop {
            self.let_go(count);
            for _ in 0..100 {
                match self.under_way() {
                    0 => tokio::time::sleep(Duration::from_millis(1)).await,
                    under_way => return under_way,
                }
            }
            assert!(Instant::now() < deadline, "nothing is under way\n{}", cluster.logs());
        }
    }

    /// How many have been asked for and not been told.
    pub fn under_way(&self) -> usize {
        let told = self.told().len();
        self.begun.load(Ordering::Relaxed) - told
    }

    /// What was told so far.
    pub fn told(&self) -> BTreeMap<String, Told> {
        self.told.lock().expect("no caller fails holding it").clone()
    }

    /// Waits until so many were told 200 whose checkouts began after this moment.
    pub async fn paid_since(&mut self, since: Instant, count: usize, cluster: &Cluster) {
        self.until(cluster, |told| {
            told.values().filter(|told| told.status == 200 && told.begun > since).count() >= count
        })
        .await;
    }

    /// Waits until so many were told anything.
    pub async fn told_at_least(&mut self, count: usize, cluster: &Cluster) {
        self.until(cluster, |told| told.len() >= count).await;
    }

    async fn until(&mut self, cluster: &Cluster, enough: impl Fn(&BTreeMap<String, Told>) -> bool) {
        let deadline = Instant::now() + TELLING;
        while !enough(&self.told()) {
            while let Some(ended) = self.callers.try_join_next() {
                ended.unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
            }
            let told = self.told().len();
            assert!(Instant::now() < deadline, "{told} told, {} under way\n{}", self.under_way(), cluster.logs());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets all go, and waits until all are told.
    pub async fn end(mut self, cluster: &Cluster) -> BTreeMap<String, Told> {
        self.open.send_replace(usize::MAX);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
        }
        self.told()
    }
}
