//! The load: appends at a fixed rate, whatever becomes of those before.
use super::{
    super::{
        cluster::Cluster,
        lanes::Lane,
        numbered::value_of,
        pace::{Due, Pace},
    },
    ledger::{Ledger, Outcome},
};
use crate::cli::exit::Failure;
use corduroy_client::{Client, Error, Record};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

/// Requests in flight, of all lanes: more than any outage of the length of a request's deadline leaves at usual rates.
const IN_FLIGHT: usize = 60_000;

/// How much, in what form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Records a second, over all lanes.
    pub(super) rate: u32,
    /// Records per request.
    pub(super) batch: u32,
    /// Size of a record's value.
    pub(super) record_bytes: u32,
}

/// A load that runs until it is stopped, or dropped.
pub(super) struct Load {
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    /// One task, the dispatcher; it ends with this.
    dispatcher: JoinSet<()>,
}

/// Who sends.
struct Sender {
    /// By lane: each has connections of its own, so that what is stuck in one holds up no other.
    lanes: Vec<(Lane, Client)>,
    shape: Shape,
    ledger: Arc<Ledger>,
    room: Arc<Semaphore>,
}

impl Load {
    pub(super) async fn start(cluster: &Cluster, lanes: &[Lane], shape: Shape) -> Result<Self, Failure> {
        let mut clients = Vec::new();
        for lane in lanes {
            clients.push((lane.clone(), cluster.client(8 << 20).await?));
        }
        let ledger = Arc::new(Ledger::new(u32::try_from(lanes.len()).expect("made from a u32"), shape.batch));
        let room = Arc::new(Semaphore::new(IN_FLIGHT));
        let sender = Arc::new(Sender { lanes: clients, shape, ledger: ledger.clone(), room });
        let stop = Arc::new(AtomicBool::new(false));
        let pace = Pace { begin: Instant::now(), per_second: f64::from(shape.rate) / f64::from(shape.batch) };
        let stopped = stop.clone();
        let due = pace.keep(move |_| !stopped.load(Ordering::Relaxed));
        let mut dispatcher = JoinSet::new();
        dispatcher.spawn(dispatch(due, sender));
        Ok(Load { ledger, stop, dispatcher })
    }

    /// Sends nothing more, and resolves when everything is answered.
    pub(super) async fn stop(mut self) -> Result<Arc<Ledger>, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        match self.dispatcher.join_next().await {
            Some(Err(error)) => Err(Failure::refused(format!("the load failed: {error}"))),
            _ => Ok(self.ledger),
        }
    }
}

async fn dispatch(mut due: mpsc::Receiver<Due>, sender: Arc<Sender>) {
    let mut flying = JoinSet::new();
    while let Some(next) = due.recv().await {
        let (number, lane, first) = sender.ledger.begin(next.at);
        match sender.room.clone().try_acquire_owned() {
            Ok(room) => drop(flying.spawn(sender.clone().send(number, lane, first, room))),
            Err(_) => sender.ledger.settle(number, Outcome::Withheld),
        }
        while flying.try_join_next().is_some() {}
    }
    while flying.join_next().await.is_some() {}
}

impl Sender {
    async fn send(self: Arc<Self>, number: u64, lane: u32, first: u64, _room: OwnedSemaphorePermit) {
        let (Lane { topic, partition, .. }, client) = &self.lanes[lane as usize];
        let Shape { batch, record_bytes, .. } = self.shape;
        let records = (first..first + u64::from(batch)).map(|number| Record::new(value_of(lane, number, record_bytes)));
        let outcome = match client.append(topic, Some(*partition), records.collect()).await {
            Ok(appended) => Outcome::Acked(appended.first_offset),
            Err(Error::UnknownOutcome(_)) => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        self.ledger.settle(number, outcome);
    }
}
