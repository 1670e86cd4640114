//! A service's partition on this node: what it has evolved to, and who waits for what becomes of it.
use super::{
    commands::Commands,
    service::{Service, Ticket},
    state::State,
};
use bytes::Bytes;
use corduroy_log::{
    Evolving, Frozen, Machine, Table,
    view::Shown,
    world::{Halt, Tasks, World},
};
use corduroy_proto::runtime::{self as pb, service_answer, step::Cause};
use prost::Message;
use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::{mpsc, oneshot};

/// Tells a caller.
pub(crate) type Waiter = oneshot::Sender<pb::ServiceAnswer>;

/// See the module. The log evolves it, the leader decides on a copy of it, readers look at it.
pub(crate) struct Replica<S: Service, M> {
    pub(crate) partition: u32,
    /// Bytes of what has changed that are kept in memory ([`Keep::changes`](super::Keep::changes)).
    memory: u64,
    inner: Mutex<Inner<S, M>>,
}

struct Inner<S: Service, M> {
    state: State<S>,
    commands: Commands,
    /// Callers whose commands were decided and not answered. In order: they are woken in the order in which they are dropped.
    waiting: BTreeMap<Ticket, Vec<Waiter>>,
    /// The leader's, while it is here.
    mailbox: Option<mpsc::UnboundedSender<M>>,
}

/// What is known of a command that comes.
pub(crate) enum Known {
    /// It is new: decide it. Its caller waits.
    New,
    /// It is being worked on. Its caller waits.
    Running,
    /// The entry with this index has its answer.
    Answered(u64, Waiter),
    /// Another command has its id.
    Mismatch(Waiter),
}

impl<S: Service, M> Replica<S, M> {
    pub(crate) fn new(partition: u32, memory: u64) -> Self {
        let inner =
            Inner { state: State::default(), commands: Commands::default(), waiting: BTreeMap::new(), mailbox: None };
        Replica { partition, memory, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S, M>> {
        self.inner.lock().expect("evolving does not panic: the leader has evolved it before")
    }

    /// The state as it is now.
    pub(crate) fn state(&self) -> State<S> {
        self.lock().state.clone()
    }

    /// Looks at the state without a copy.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State<S>) -> T) -> T {
        look(&self.lock().state)
    }

    /// From now on the leader is here.
    pub(crate) fn open(&self, mailbox: mpsc::UnboundedSender<M>) {
        self.lock().mailbox = Some(mailbox);
    }

    /// It is not any more: callers are told that they know nothing.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.mailbox = None;
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        drop(waiting);
    }

    /// Gives the leader something; `Err`: it is not here.
    pub(crate) fn post(&self, mail: M) -> Result<(), M> {
        match &self.lock().mailbox {
            Some(mailbox) => mailbox.send(mail).map_err(|error| error.0),
            None => Err(mail),
        }
    }

    /// Whether callers wait.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Looks at the commands that have evolved.
    pub(crate) fn commands<T>(&self, look: impl FnOnce(&Commands) -> T) -> T {
        look(&self.lock().commands)
    }

    /// What is known of a command: from what has evolved, or else from what was decided since (`decided`: its fingerprint).
    pub(crate) fn know(&self, id: Ticket, fingerprint: u64, decided: Option<u64>, waiter: Waiter) -> Known {
        let mut inner = self.lock();
        let kept = inner.commands.get(&id);
        match kept.map(|kept| kept.fingerprint).or(decided) {
            Some(other) if other != fingerprint => return Known::Mismatch(waiter),
            _ => {}
        }
        if let Some(kept) = kept.filter(|kept| kept.answered > 0) {
            return Known::Answered(kept.answered, waiter);
        }
        inner.waiting.entry(id).or_default().push(waiter);
        if kept.is_some() || decided.is_some() { Known::Running } else { Known::New }
    }
}

/// Evolves a replica with its partition.
pub(crate) struct Evolver<W, S: Service, M>(Arc<Replica<S, M>>, PhantomData<W>);

impl<W, S: Service, M> Evolver<W, S, M> {
    pub(crate) fn new(replica: Arc<Replica<S, M>>) -> Self {
        Evolver(replica, PhantomData)
    }
}

impl<S: Service, M> Inner<S, M> {
    /// Takes an entry; gives the answers that are final now.
    fn take(&mut self, entry: Evolving<'_>) -> Result<Vec<(Waiter, pb::ServiceAnswer)>, Halt> {
        let unknown = |what: String| Halt::UnknownEntry(format!("{} of {}: {what}", entry.id, S::NAME));
        let effects = pb::Effects::decode(entry.batch.effects()).map_err(|error| unknown(error.to_string()))?;
        if let Some(hash) = effects.state_hash
            && hash != self.state.hash()
        {
            let own = self.state.hash();
            let what = format!(
                "before entry {} of {} the state hash is {own:016x} here, {hash:016x} at the leader",
                entry.id,
                S::NAME
            );
            return Err(Halt::Diverged(what));
        }
        self.state.begin(entry.batch.time());
        self.state.set_end(entry.base);
        let records = entry.batch.decode(entry.base).map_err(|error| unknown(error.to_string()))?;
        let mut records = records.into_iter();
        let mut released = Vec::new();
        for step in &effects.steps {
            // Whatever it is, another build has taken it: to go on would be to differ.
            if step.cause.is_none() {
                return Err(unknown("a step of a kind this build does not know".into()));
            }
            for record in records.by_ref().take(step.events as usize) {
                let event = S::Event::decode(record.value).map_err(|error| unknown(error.to_string()))?;
                let key = record.key.unwrap_or_default();
                let key = std::str::from_utf8(&key).map_err(|error| unknown(error.to_string()))?;
                if !S::knows(&event) {
                    return Err(unknown(format!("an event of {key} of a kind that this build does not know")));
                }
                self.state.take_event(key, &event);
            }
            self.state.take_step(step);
            if let Some(command) = command_of(step) {
                self.commands.add(command);
            }
            for answer in &step.answers {
                let Some(id) = Ticket::from_bytes(&answer.id) else { continue };
                self.commands.answer(&id, entry.id.index);
                released
                    .extend(self.waiting.remove(&id).unwrap_or_default().into_iter().map(|waiter| (waiter, answer)));
            }
        }
        // Records that nobody decided have their offsets, and nothing else.
        self.state.set_end(entry.base + u64::from(entry.batch.records()));
        self.commands.expire(entry.batch.time());
        let end = self.state.end();
        Ok(released.into_iter().map(|(waiter, answer)| (waiter, answered(answer.clone(), false, end))).collect())
    }
}

/// The command a step is about.
fn command_of(step: &pb::Step) -> Option<&pb::CommandCause> {
    match step.cause.as_ref()? {
        Cause::Command(command) => Some(command),
        Cause::Redrive(redrive) => redrive.command.as_ref(),
        Cause::Discard(discard) => discard.command.as_ref(),
        Cause::Source(_) | Cause::Timer(_) | Cause::Parked(_) => None,
    }
}

/// The answer in the effects of a batch.
pub(crate) fn answer_in(effects: Bytes, id: &Ticket, end: u64) -> Option<pb::ServiceAnswer> {
    let effects = pb::Effects::decode(effects).ok()?;
    let mut answers = effects.steps.into_iter().flat_map(|step| step.answers);
    Some(answered(answers.find(|answer| answer.id[..] == id.0)?, true, end))
}

/// An answer; how far its own partition had come is put in by who knows which one that is.
fn answered(answer: pb::Answer, replayed: bool, end: u64) -> pb::ServiceAnswer {
    let mut answer = answer;
    answer.positions.push(pb::Position { offset: end, ..pb::Position::default() });
    let outcome = service_answer::Outcome::Answered(pb::Answered { answer: Some(answer), replayed });
    pb::ServiceAnswer { outcome: Some(outcome) }
}

impl<W: World, S: Service, M: Send + 'static> Machine for Evolver<W, S, M> {
    fn evolve(&mut self, entry: Evolving<'_>) {
        let taken = self.0.lock().take(entry);
        match taken {
            Ok(released) => {
                for (waiter, answer) in released {
                    // Who does not wait any more asks again.
                    waiter.send(answer).ok();
                }
            }
            Err(halt) => <W::Tasks as Tasks>::halt(halt),
        }
    }

    fn freeze(&mut self) -> Frozen {
        let mut inner = self.0.lock();
        let table = inner.state.freeze(self.0.memory);
        let (state, commands) = (inner.state.clone(), inner.commands.frozen());
        drop(inner);
        let rest = move || pb::ServiceState { commands: commands(), ..state.encode() }.encode_to_vec().into();
        Frozen { rest: Box::new(rest), table }
    }

    fn settle(&mut self, freeze: u64, table: Table) -> Box<dyn Send> {
        Box::new(self.0.lock().state.settle(freeze, table))
    }

    fn check(&self, state: &[u8], table: Option<&Table>) -> Result<(), String> {
        restore::<S>(state, table.cloned()).map(drop)
    }

    fn install(&mut self, state: &[u8], table: Option<Table>) -> Result<(), String> {
        let (state, commands) = restore::<S>(state, table)?;
        let mut inner = self.0.lock();
        (inner.state, inner.commands) = (state, commands);
        Ok(())
    }

    fn shown(&self) -> Option<Arc<dyn Shown>> {
        if S::INDEX > 0 { Some(self.0.clone()) } else { None }
    }
}

fn restore<S: Service>(encoded: &[u8], table: Option<Table>) -> Result<(State<S>, Commands), String> {
    let encoded = pb::ServiceState::decode(encoded).map_err(|error| error.to_string())?;
    let state = State::decode(&encoded, table).map_err(|error| error.to_string())?;
    Ok((state, Commands::decode(&encoded.commands)?))
}
