//! Checkouts, at a rate or as fast as they can be.
use crate::cli::{
    bench::{latencies::Latencies, pace::Pace},
    http::{Ask, Http},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Bound on a checkout, asking again included.
const PATIENCE: Duration = Duration::from_secs(60);

/// What callers were told, over all runs.
#[derive(Debug, Default, Clone)]
pub(super) struct Told {
    pub(super) confirmed: u64,
    pub(super) refused: u64,
    pub(super) failures: Vec<String>,
}

impl Told {
    pub(super) fn add(&mut self, other: &Told) {
        self.confirmed += other.confirmed;
        self.refused += other.refused;
        self.failures.extend(other.failures.iter().cloned());
    }
}

/// One measurement.
pub(super) struct Run {
    pub(super) told: Told,
    pub(super) latencies: Latencies,
    pub(super) asked_again: u64,
    /// When each checkout was answered, in order.
    pub(super) answered: Vec<Instant>,
    pub(super) began: Instant,
    pub(super) took: Duration,
}

/// Checks out one order after the other.
pub(super) struct Load {
    http: Http,
    next: Arc<AtomicU64>,
    orders: u64,
}

/// What one checkout came to.
struct Done {
    told: Result<bool, String>,
    took: Duration,
    at: Instant,
    again: u32,
}

async fn check_out(http: Http, order: u64, due: Instant) -> Done {
    let (path, key) = (format!("/orders/checkout/{order}"), format!("bench-{order}"));
    let answered = http.insist(order as usize, &Ask::post(&path, &key), PATIENCE).await;
    let at = Instant::now();
    let (told, again) = match answered {
        Ok((answer, again)) if answer.status == 200 => (Ok(true), again),
        Ok((answer, again)) if answer.status == 409 => (Ok(false), again),
        Ok((answer, again)) => (Err(format!("{path}: {} {}", answer.status, answer.body)), again),
        Err(why) => (Err(why), 0),
    };
    Done { told, took: at - due, at, again }
}

impl Load {
    pub(super) fn new(http: Http, orders: u64) -> Self {
        Load { http, next: Arc::default(), orders }
    }

    /// Begins so many in a second, whatever became of those before.
    pub(super) async fn open(&mut self, per_second: f64, duration: Duration) -> Run {
        let began = Instant::now();
        let until = began + duration;
        let mut due = Pace { begin: began, per_second }.keep(move |due| due.at < until);
        let mut running = JoinSet::new();
        let mut run = Run::new(began);
        while let Some(next) = due.recv().await {
            let order = self.next.fetch_add(1, Ordering::Relaxed);
            running.spawn(check_out(self.http.clone(), order, next.at));
            while let Some(done) = running.try_join_next() {
                run.take(done.expect("a checkout does not panic"));
            }
        }
        while let Some(done) = running.join_next().await {
            run.take(done.expect("a checkout does not panic"));
        }
        run.end()
    }

    /// Has so many callers ask again as soon as they are answered.
    pub(super) async fn closed(&mut self, callers: usize, duration: Duration) -> Run {
        let began = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..callers {
            let (http, next, orders) = (self.http.clone(), self.next.clone(), self.orders);
            running.spawn(async move {
                let mut all = Vec::new();
                while began.elapsed() < duration {
                    let order = next.fetch_add(1, Ordering::Relaxed);
                    if order >= orders {
                        break;
                    }
                    all.push(check_out(http.clone(), order, Instant::now()).await);
                }
                all
            });
        }
        let mut run = Run::new(began);
        while let Some(all) = running.join_next().await {
            all.expect("a checkout does not panic").into_iter().for_each(|done| run.take(done));
        }
        run.end()
    }
}

impl Run {
    fn new(began: Instant) -> Self {
        Run {
            told: Told::default(),
            latencies: Latencies::new(),
            asked_again: 0,
            answered: Vec::new(),
            began,
            took: Duration::ZERO,
        }
    }

    fn take(&mut self, done: Done) {
        match done.told {
            Ok(true) => self.told.confirmed += 1,
            Ok(false) => self.told.refused += 1,
            Err(why) => self.told.failures.push(why),
        }
        self.latencies.record(done.took);
        self.asked_again += u64::from(done.again > 0);
        self.answered.push(done.at);
    }

    fn end(mut self) -> Self {
        self.answered.sort_unstable();
        self.took = self.began.elapsed();
        self
    }
}
