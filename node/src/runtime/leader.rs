//! The task of a partition, while this node leads it.
//!
//! ```text
//!   may_decide ─▶ state, cursors, number of the next batch ─▶ feeds of all sources
//!        ▲            ┌──────────────────────────────────────────────────────────┐
//!        │            │ mailbox: events of peers, commands                       │
//!        │            │ decide, in this order: what was parked, events, timers,  │──▶ propose, several batches at once
//!        │            │                        commands                          │
//!        │            └──────────────▲───────────────────────────────────────────┘
//!        │                           └── outcomes, in order
//!        └── anything else than "it counts": stop, wait for what is on its way, begin anew
//! ```
//!
//! Events before commands: sagas that are open are finished before new ones begin. Open commands wait in a queue that is bounded;
//! events wait where they are, in the logs of their partitions.
use super::{
    commands::principal,
    decider::{Decider, Taken},
    feed::{Events, Sources},
    registry::Host,
    replica::{Known, Replica, Waiter, answer_in},
    service::{Place, Service, Ticket},
    state::State,
    time::LogTime,
};
use corduroy_log::{
    Decision, Log, LogError, Partition,
    topic::{PartitionId, Term},
    world::{Clock, Rng, Timestamp, World},
};
use corduroy_proto::runtime::{self as pb, command_call, service_answer::Outcome};
use futures::{
    StreamExt,
    future::{BoxFuture, FutureExt},
    stream::FuturesOrdered,
};
use openraft_rt::{AsyncRuntime, Instant, Select3};
use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Batches on their way at a time. With one the disk waits for the leader; with more, batches are small and each costs the same:
/// of 1, 2 and 4, 2 checks out most and soonest (`benches/README.md`).
const DEPTH: usize = 2;
/// Commands of one partition that wait to be decided.
pub(crate) const COMMANDS: usize = 4096;
/// How often it is looked whether this node leads, and which topics there are, while nothing happens.
const LOOK: Duration = Duration::from_millis(500);
/// The same while callers wait for what may come to another leader.
const LOOK_FOR_CALLERS: Duration = Duration::from_millis(50);
/// Pause before the next attempt to lead.
const PAUSE: Duration = Duration::from_millis(5);
/// After so many batches the head is taken anew from what has evolved, and when that has a new table: the two then share memory
/// again.
const RENEW: u64 = 10_000;
/// The leader tells everyone the hash of its state with every such batch (R59).
const HASH_EVERY: u64 = 1_000;

type InstantOf<W> = <<W as World>::Tasks as AsyncRuntime>::Instant;

/// What the leader of a partition gets.
pub(crate) enum Mail {
    Command { call: pb::CommandCall, waiter: Waiter, place: OwnedSemaphorePermit },
    Events(Events),
}

/// Why a term is over for this decider.
struct Over(String);

/// Leads a partition whenever this node does, for as long as it holds the partition.
pub(crate) async fn lead<W: World, S: Service>(host: Arc<Host<W, S>>, replica: Arc<Replica<S, Mail>>, log: Log<W>) {
    let rng = log.env().rng.clone();
    let draw = move || rng.next_u64();
    let mut decider = Decider::new(host.service.clone(), Place::default(), State::default(), log.limits(), draw)
        .max_age(host.max_age);
    while !log.is_stopping() && host.is_current(&replica) {
        <W::Tasks as AsyncRuntime>::sleep(PAUSE).await;
        let Ok(partition) = log.partition(S::NAME, replica.partition) else { continue };
        let Some(term) = partition.may_decide().await else { continue };
        if !host.is_current(&replica) {
            return;
        }
        let over = in_term(&host, &replica, &log, &partition, term, &mut decider).await;
        replica.close();
        // It would keep what it was made from, tables that are no more, too.
        decider.replace_head(State::default());
        tracing::debug!(partition = %partition.name(), term, why = over.0, "decides no more");
    }
}

async fn in_term<W: World, S: Service>(
    host: &Host<W, S>,
    replica: &Arc<Replica<S, Mail>>,
    log: &Log<W>,
    partition: &Partition<W>,
    term: Term,
    decider: &mut Decider<S>,
) -> Over {
    // The number first: whatever evolves after it was read makes what is decided now void.
    let sequence = partition.next_decided(term);
    let cursors: BTreeMap<PartitionId, u64> = partition.sources().into_iter().collect();
    decider.replace_head(replica.state());
    let (mail, mut inbox) = mpsc::unbounded_channel();
    replica.open(mail.clone());
    let now = <InstantOf<W> as Instant>::now();
    let mut turn = Turn {
        host,
        replica,
        log,
        partition,
        term,
        sequence,
        mail,
        sources: Sources::new(cursors),
        commands: VecDeque::new(),
        in_flight: FuturesOrdered::new(),
        since: now,
        renewed: sequence,
        time: LogTime::begin(decider.head().time(), wall(log)),
        ticked: now,
    };
    turn.look(decider);
    tracing::debug!(partition = %partition.name(), term, sequence, "decides");
    let over = loop {
        while let Ok(mail) = inbox.try_recv() {
            turn.sort(mail);
        }
        if turn.since.elapsed() >= LOOK {
            turn.since = <InstantOf<W> as Instant>::now();
            turn.look(decider);
        }
        match turn.decide(decider).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(over) => break over,
        }
        let wake = turn.wake(decider);
        let settled = async {
            match turn.in_flight.is_empty() {
                true => std::future::pending().await,
                false => turn.in_flight.next().await,
            }
        };
        let sleep = <W::Tasks as AsyncRuntime>::sleep(wake);
        let event = <W::Tasks as AsyncRuntime>::select3(pin!(inbox.recv()), pin!(settled), pin!(sleep)).await;
        match event {
            Select3::First(Some(mail)) => turn.sort(mail),
            Select3::First(None) => unreachable!("the turn holds a sender"),
            Select3::Second(Some(settled)) => {
                if let Err(over) = turn.settle(decider, settled) {
                    break over;
                }
            }
            Select3::Second(None) => {}
            Select3::Third(()) => {
                if partition.leads() != Some(term) {
                    break Over("this node does not lead any more".into());
                }
            }
        }
    };
    // Nobody is given to this leader any more; what is on its way comes to something, or never will.
    replica.close();
    drop(inbox);
    while turn.in_flight.next().await.is_some() {}
    over
}

/// What became of a batch: where it begins by the head, its commands, and what the log says.
type Settled = (u64, Vec<Ticket>, Result<Decision, LogError>);

/// One term.
struct Turn<'a, W: World, S: Service> {
    host: &'a Host<W, S>,
    replica: &'a Arc<Replica<S, Mail>>,
    log: &'a Log<W>,
    partition: &'a Partition<W>,
    term: Term,
    /// Of the next batch.
    sequence: u64,
    mail: mpsc::UnboundedSender<Mail>,
    sources: Sources<W>,
    commands: VecDeque<(pb::CommandCall, Waiter, OwnedSemaphorePermit)>,
    in_flight: FuturesOrdered<BoxFuture<'static, Settled>>,
    /// When it was looked around last.
    since: InstantOf<W>,
    /// The number of the batch before which the head was taken.
    renewed: u64,
    time: LogTime,
    /// When log time was advanced last.
    ticked: InstantOf<W>,
}

impl<W: World, S: Service> Turn<'_, W, S> {
    fn now(&mut self) -> Timestamp {
        let now = <InstantOf<W> as Instant>::now();
        let passed = now.saturating_duration_since(self.ticked).as_micros() as u64;
        // Not for every microsecond: a tenth of them must be something.
        if passed >= 100 {
            self.ticked = now;
            return self.time.advance(passed, wall(self.log));
        }
        self.time.advance(0, None)
    }

    /// Which topics there are, and feeds of those that are new.
    fn look(&mut self, decider: &mut Decider<S>) {
        let topics = self.log.topics();
        decider.place = Place {
            partition: self.replica.partition,
            partitions: topics
                .iter()
                .find(|topic| topic.name == S::NAME)
                .map_or(1, |topic| topic.partitions.len() as u32),
            peers: topics.iter().map(|topic| (topic.name.clone(), topic.partitions.len() as u32)).collect(),
            format: self.log.format(),
        };
        for topic in topics.iter().filter(|topic| S::LISTENS.contains(&topic.name.as_str())) {
            for number in 0..topic.partitions.len() as u32 {
                let source = PartitionId::new(topic.id, number);
                self.sources.follow(self.log, &topic.name, source, &self.mail);
            }
        }
    }

    fn sort(&mut self, mail: Mail) {
        match mail {
            Mail::Command { call, waiter, place } => self.commands.push_back((call, waiter, place)),
            Mail::Events(events) => self.sources.push(events),
        }
    }

    /// Decides what there is, and proposes it if it may. `true`: there may be more to do at once.
    async fn decide(&mut self, decider: &mut Decider<S>) -> Result<bool, Over> {
        if self.in_flight.len() >= DEPTH {
            return Ok(false);
        }
        let is_old = self.replica.look(|state| state.table() != decider.head().table());
        if is_old || self.sequence - self.renewed >= RENEW {
            if !self.in_flight.is_empty() {
                return Ok(false);
            }
            self.renew(decider)?;
        }
        let now = self.now();
        decider.begin(now);
        if self.fill(decider, now) == Taken::Poison {
            return Err(Over("a rule cannot take its own facts".into()));
        }
        let late = self.sources.note_in().is_some_and(|left| left.is_zero());
        if decider.is_empty() && !late {
            return Ok(false);
        }
        self.propose(decider).await?;
        Ok(!self.sources.is_empty() || !self.commands.is_empty())
    }

    /// The head is what has evolved, now that everything has.
    fn renew(&mut self, decider: &mut Decider<S>) -> Result<(), Over> {
        let state = self.replica.state();
        if state.hash() != decider.head().hash() {
            return Err(Over("what was decided is not what evolved".into()));
        }
        decider.replace_head(state);
        self.renewed = self.sequence;
        Ok(())
    }

    fn fill(&mut self, decider: &mut Decider<S>, now: Timestamp) -> Taken {
        while !decider.is_full() {
            match decider.unparked() {
                Some(Taken::Poison) => return Taken::Poison,
                Some(Taken::Yes) => {}
                None => break,
            }
        }
        if self.sources.fill(decider) == Taken::Poison {
            return Taken::Poison;
        }
        while !decider.is_full() {
            let Some(timer) = decider.head().due(now) else { break };
            if decider.timer(&timer) == Taken::Poison {
                return Taken::Poison;
            }
        }
        while !decider.is_full() {
            let Some((call, waiter, place)) = self.commands.pop_front() else { break };
            drop(place);
            if self.command(decider, call, waiter, now) == Taken::Poison {
                return Taken::Poison;
            }
        }
        Taken::Yes
    }

    fn command(&mut self, decider: &mut Decider<S>, call: pb::CommandCall, waiter: Waiter, now: Timestamp) -> Taken {
        let (mut cause, what) = (call.cause.unwrap_or_default(), call.what);
        let Some(id) = Ticket::from_bytes(&cause.id) else {
            refuse(waiter, Outcome::Unavailable("a command without an id".into()));
            return Taken::Yes;
        };
        if let Some(expires) = self.over_quota(decider, &id, &cause, now) {
            refuse(waiter, Outcome::Quota(expires.saturating_sub(now.0)));
            return Taken::Yes;
        }
        match self.replica.know(id, cause.fingerprint, decider.fingerprint(&id), waiter) {
            Known::New => {}
            Known::Running => return Taken::Yes,
            Known::Mismatch(waiter) => {
                refuse(waiter, Outcome::Mismatch(true));
                return Taken::Yes;
            }
            Known::Answered(index, waiter) => {
                let (partition, end) = (self.partition.clone(), decider.head().end());
                drop(<W::Tasks as AsyncRuntime>::spawn(async move {
                    let effects = partition.effects(index).await;
                    let lost = |why: String| pb::ServiceAnswer { outcome: Some(Outcome::Unavailable(why)) };
                    let answer = match effects {
                        Ok(effects) => answer_in(effects, &id, end)
                            .unwrap_or_else(|| lost(format!("entry {index} has no answer to it"))),
                        Err(error) => lost(error.to_string()),
                    };
                    waiter.send(answer).ok();
                }));
                return Taken::Yes;
            }
        }
        let keep = if cause.by_client { self.host.keep.clients } else { self.host.keep.gateways };
        cause.expires = now.0.saturating_add(keep.as_micros() as u64);
        match what {
            Some(command_call::What::Command(command)) => decider.command(cause, &command),
            Some(command_call::What::Redrive(letter)) => decider.redrive(cause, letter),
            Some(command_call::What::Discard(discard)) => decider.discard(cause, discard.letter, discard.reason),
            None => decider.command(cause, &Default::default()),
        }
    }

    /// Whether as many ids of its principal are remembered as may be, and when the first of them is not any more: what is not
    /// remembered could be done twice, so nothing is forgotten for a command that is new.
    fn over_quota(&self, decider: &Decider<S>, id: &Ticket, cause: &pb::CommandCause, now: Timestamp) -> Option<u64> {
        let quota = self.host.keep.quota;
        if quota == 0 || !cause.by_client || decider.fingerprint(id).is_some() {
            return None;
        }
        let whose = principal(&cause.principal);
        self.replica.commands(|commands| {
            if commands.most(whose).saturating_add(decider.open()) < quota {
                return None;
            }
            let left = quota.saturating_sub(commands.held(whose, now));
            let full = || decider.open_of(whose).filter(|id| commands.get(id).is_none()).count() as u64 >= left;
            let over = left <= decider.open() && commands.get(id).is_none() && full();
            over.then(|| commands.first_expires(whose, now).unwrap_or_default())
        })
    }

    async fn propose(&mut self, decider: &mut Decider<S>) -> Result<(), Over> {
        let hash = self.sequence.is_multiple_of(HASH_EVERY);
        let (batch, commands) = decider.seal(self.term, self.sequence, self.sources.note(), hash);
        let base = decider.head().end() - batch.events.len() as u64;
        self.sequence += 1;
        match self.partition.decide(&batch).await {
            Ok(outcome) => {
                self.in_flight.push_back(async move { (base, commands, outcome.await) }.boxed());
                Ok(())
            }
            Err(error) => Err(Over(error.to_string())),
        }
    }

    fn settle(&mut self, decider: &mut Decider<S>, settled: Settled) -> Result<(), Over> {
        let (expected, commands, outcome) = settled;
        match outcome {
            Ok(Decision::Counts { base, .. }) if base == expected => {
                decider.settled(&commands);
                Ok(())
            }
            Ok(Decision::Counts { base, .. }) => {
                Err(Over(format!("its events begin at {base} and not at {expected}: somebody else has appended")))
            }
            Ok(Decision::Void(why)) => Err(Over(why)),
            Err(error) => Err(Over(error.to_string())),
        }
    }

    /// For how long nothing is to be done, if nothing comes.
    fn wake(&mut self, decider: &Decider<S>) -> Duration {
        let mut wake = if self.replica.is_waited_for() { LOOK_FOR_CALLERS } else { LOOK };
        if self.in_flight.len() >= DEPTH {
            return wake;
        }
        if let Some(left) = self.sources.note_in() {
            wake = wake.min(left);
        }
        if let Some(due) = decider.head().next_due() {
            let now = self.now();
            wake = wake.min(Duration::from_micros(due.saturating_sub(now.0)));
        }
        // Log time may be slower than this clock.
        wake.max(Duration::from_millis(1))
    }
}

/// What this node's wall clock shows, unless it is known to be wrong.
fn wall<W: World>(log: &Log<W>) -> Option<Timestamp> {
    log.trusts_clock().then(|| log.env().clock.now())
}

fn refuse(waiter: Waiter, outcome: Outcome) {
    waiter.send(pb::ServiceAnswer { outcome: Some(outcome) }).ok();
}
