//! The task behind a lane: finds the leader, keeps a stream open to it, moves when it moves.
use super::{
    ProducerBuilder,
    lane::{Job, Lane, Next},
    wire::{Wire, failure},
};
use crate::{
    Client, Error,
    client::SILENCE,
    retry::{self, Backoff, Kind, Step},
    routes::{Leader, Lost},
};
use corduroy_proto::v1::{self, append_stream_response::Outcome};
use futures::{FutureExt as _, future::BoxFuture};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep, sleep_until},
};

/// How often a lane looks whether time is up, or its leader silent.
const LOOK: Duration = Duration::from_millis(25);
/// A stream that nothing was sent on for so long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// Jobs taken from the queue at once.
const JOBS: usize = 256;

pub(super) struct Drive {
    client: Client,
    topic: String,
    partition: u32,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// Nobody can send any more.
    closed: bool,
    lane: Lane,
    linger: Option<Duration>,
    lost: Option<Lost>,
    /// A leader that a node has named, to be tried before others.
    hint: Option<String>,
    /// Hints followed, and failures, in a row.
    hints: u32,
    failures: u32,
    backoff: Backoff,
}

/// How a stream came to its end.
enum End {
    /// There is nothing more to do with it.
    Done,
    /// Its node does not lead, or is gone; this is why.
    Left(Error),
    /// Its node says nothing, and somebody else leads.
    Moved,
}

impl Drive {
    pub(super) fn new(
        options: &ProducerBuilder,
        id: [u8; 16],
        partition: u32,
        jobs: mpsc::UnboundedReceiver<Job>,
    ) -> Self {
        let ProducerBuilder { client, topic, linger, idempotent, stop_at_failure, limits, .. } = options;
        let lane = Lane::new((topic, partition), idempotent.then_some(id), *limits, *stop_at_failure);
        Drive {
            client: client.clone(),
            topic: topic.clone(),
            partition,
            jobs,
            closed: false,
            lane,
            linger: *linger,
            lost: None,
            hint: None,
            hints: 0,
            failures: 0,
            backoff: Backoff::new(),
        }
    }

    pub(super) async fn run(mut self) {
        while self.has_work().await {
            match self.leader().await {
                Some(Ok(leader)) => self.talk_to(leader).await,
                Some(Err(error)) => self.lane.fail(&error),
                None => {}
            }
        }
    }

    /// Waits for something to do; false when nothing will come.
    async fn has_work(&mut self) -> bool {
        while self.lane.is_idle() {
            match self.jobs.recv().await {
                Some(job) => self.lane.push(job),
                None => return false,
            }
        }
        true
    }

    /// Who leads. `None`: time was up for something meanwhile, and what is left may be nothing.
    async fn leader(&mut self) -> Option<Result<Leader, Error>> {
        if let Some(address) = self.hint.take() {
            return Some(Ok(Leader { address, term: 0 }));
        }
        let due = self.lane.due()?;
        let found = self.client.find_leader_by(due, &self.topic, self.partition, self.lost.as_ref()).await;
        match found {
            Err(error) if Instant::now() >= due => {
                self.lane.expire(Instant::now(), &error);
                None
            }
            found => Some(found),
        }
    }

    /// Does what there is to do at one node, and prepares for the next.
    async fn talk_to(&mut self, leader: Leader) {
        let end = match self.open(&leader).await {
            Ok(Some(wire)) => {
                let end = self.drive(wire, &leader).await;
                self.lane.lost();
                end
            }
            Ok(None) => return,
            Err(end) => end,
        };
        match end {
            End::Done => {}
            End::Moved => self.lose(leader),
            End::Left(error) => self.left(leader, &error).await,
        }
    }

    /// What follows from why a node was left.
    async fn left(&mut self, leader: Leader, error: &Error) {
        self.failures += 1;
        // The first failure needs no pause: with luck the others have elected somebody already.
        let pause = if self.failures == 1 { Duration::ZERO } else { self.backoff.next() };
        match retry::next(error, Kind::Idempotent, &leader.address) {
            Step::After(busy) => self.pause(busy).await,
            Step::Follow(address) if self.hints < 2 && !self.is_lost(&address) => {
                self.hints += 1;
                self.hint = Some(address);
            }
            // What was refused was wrong by itself, and that was told; what comes behind it is sent at once.
            Step::GiveUp => self.pause(pause).await,
            Step::Elsewhere | Step::Follow(_) => {
                self.hints = 0;
                self.lose(leader);
                self.pause(pause).await;
            }
        }
    }

    fn lose(&mut self, leader: Leader) {
        self.client.routes().forget(&self.topic, self.partition, &leader);
        self.lost = Some(Lost { leader, since: Instant::now() });
    }

    fn is_lost(&self, address: &str) -> bool {
        self.lost.as_ref().is_some_and(|lost| lost.leader.address == address)
    }

    async fn pause(&mut self, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        let until = Instant::now() + pause;
        match self.lane.due().filter(|due| *due < until) {
            Some(due) => {
                sleep_until(due).await;
                self.expire();
            }
            None => sleep(pause).await,
        }
    }

    fn expire(&mut self) -> bool {
        let (timeout, topic, partition) = (self.client.timeout(), &self.topic, self.partition);
        let otherwise = Error::Timeout(format!("{topic}/{partition} took nothing within {timeout:?}"));
        self.lane.expire(Instant::now(), &otherwise)
    }

    /// Opens a stream, unless time is up before (`None`).
    async fn open(&mut self, leader: &Leader) -> Result<Option<Wire>, End> {
        let Some(due) = self.lane.due() else { return Ok(None) };
        let (client, topic, partition) = (self.client.clone(), self.topic.clone(), self.partition);
        tokio::select! {
            biased;
            opened = Wire::open(&client, leader) => opened.map(Some).map_err(End::Left),
            () = doubt(&client, &topic, partition, leader) => Err(End::Moved),
            () = sleep_until(due) => {
                self.expire();
                Ok(None)
            }
        }
    }

    /// Sends and receives until the stream is over.
    async fn drive(&mut self, mut wire: Wire, leader: &Leader) -> End {
        let mut leader = leader.clone();
        let look = sleep(LOOK);
        tokio::pin!(look);
        let (mut heard, mut resting) = (Instant::now(), false);
        let mut doubting: Option<BoxFuture<'static, Leader>> = None;
        let mut gathering: Option<std::pin::Pin<Box<Sleep>>> = None;
        let mut jobs = Vec::with_capacity(JOBS);
        loop {
            self.take_what_is_there(&mut jobs);
            if self.closed && self.lane.is_idle() {
                return End::Done;
            }
            if self.may_send(&mut gathering) {
                let begins = self.lane.sent() == 0;
                while let Some(request) = self.lane.next_to_send() {
                    if begins {
                        heard = Instant::now();
                    }
                    if !wire.send(request) {
                        return End::Left(Error::Lost(format!("the stream to {} is over", leader.address)));
                    }
                }
            }
            if resting && !self.lane.is_idle() {
                resting = false;
                look.as_mut().reset(Instant::now() + LOOK);
            }
            tokio::select! {
                answer = wire.answer(&leader.address) => {
                    let answer = match answer {
                        Ok(answer) => answer,
                        Err(error) => return End::Left(error),
                    };
                    (heard, doubting) = (Instant::now(), None);
                    if let Next::Leave(error) = self.answered(answer, &mut leader) {
                        return End::Left(error);
                    }
                }
                job = self.jobs.recv(), if !self.closed => match job {
                    Some(job) => self.lane.push(job),
                    None => self.closed = true,
                },
                () = &mut look => {
                    let now = Instant::now();
                    resting = self.lane.is_idle();
                    look.as_mut().reset(now + if resting { IDLE } else { LOOK });
                    if self.lane.due().is_some_and(|due| due <= now) && self.expire() {
                        return End::Left(Error::Timeout(format!("{} did not answer", leader.address)));
                    }
                    if resting && now - heard > IDLE {
                        return End::Done;
                    }
                    if self.lane.sent() > 0 && now - heard > SILENCE && doubting.is_none() {
                        let (client, topic, than) = (self.client.clone(), self.topic.clone(), leader.clone());
                        let partition = self.partition;
                        let newer = async move { client.newer_leader(&topic, partition, &than).await };
                        doubting = Some(newer.boxed());
                    }
                }
                _ = async { doubting.as_mut().expect("it is looked at if there is one").await }, if doubting.is_some() => {
                    return End::Moved;
                }
                () = async { gathering.as_mut().expect("it is looked at if there is one").await }, if gathering.is_some() => {}
            }
        }
    }

    fn take_what_is_there(&mut self, jobs: &mut Vec<Job>) {
        while self.jobs.recv_many(jobs, JOBS).now_or_never().is_some_and(|taken| taken > 0) {
            jobs.drain(..).for_each(|job| self.lane.push(job));
        }
    }

    /// Whether what waits is to be sent now, or gathers for a while.
    fn may_send(&self, gathering: &mut Option<std::pin::Pin<Box<Sleep>>>) -> bool {
        let Some(linger) = self.linger.filter(|_| self.lane.could_gather() && !self.closed) else {
            *gathering = None;
            return true;
        };
        match gathering {
            Some(until) if until.is_elapsed() => {
                *gathering = None;
                true
            }
            Some(_) => false,
            None => {
                *gathering = (!self.lane.is_idle()).then(|| Box::pin(sleep(linger)));
                false
            }
        }
    }

    fn answered(&mut self, answer: v1::AppendStreamResponse, leader: &mut Leader) -> Next {
        let id = answer.correlation_id;
        match answer.outcome {
            Some(Outcome::Ok(ok)) => {
                if leader.term != ok.term {
                    leader.term = ok.term;
                    self.client.routes().confirm(&self.topic, self.partition, &leader.address, ok.term);
                }
                (self.lost, self.hints, self.failures) = (None, 0, 0);
                self.backoff.reset();
                self.lane.acknowledged(id, ok.into())
            }
            Some(Outcome::Failed(failed)) => self.lane.refused(id, failure(failed)),
            None => self.lane.refused(id, Error::UnknownOutcome("a node answered without an outcome".into())),
        }
    }
}

/// Resolves when a leader that says nothing has been replaced.
async fn doubt(client: &Client, topic: &str, partition: u32, leader: &Leader) {
    sleep(SILENCE).await;
    client.newer_leader(topic, partition, leader).await;
}
