//! What the parts of a run share: the cluster, what was seen so far, and the first thing that was wrong.
use super::tally::{Event, Tally};
use corduroy_log::{
    testing::{Sim, SimWorld},
    topic::NodeId,
};
use corduroy_node::{
    runtime::{Answered, CommandError, CommandOptions, Service, Services, Ticket},
    testing::SimServices,
};
use std::{
    fmt::Display,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

/// A run. Shared by everything that acts in it.
pub(super) struct Run {
    pub shop: SimServices,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    tally: Tally,
    broken: Option<String>,
    /// Clients begin nothing more.
    over: bool,
    /// Commands that were sent and not answered.
    open: u64,
    /// When commands were answered.
    answered: Vec<Duration>,
}

impl Run {
    pub(super) fn new(shop: SimServices) -> Self {
        Run { shop, seen: Mutex::default() }
    }

    pub(super) fn sim(&self) -> &Sim {
        self.shop.logs().sim()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("bookkeeping does not panic")
    }

    pub(super) fn note(&self, event: Event) {
        self.seen().tally.note(event, 1);
    }

    pub(super) fn note_many(&self, event: Event, times: u64) {
        self.seen().tally.note(event, times);
    }

    pub(super) fn tally(&self) -> Tally {
        self.seen().tally.clone()
    }

    /// Something that must not be. The first one fails the run.
    pub(super) fn fail(&self, what: impl Display) {
        let what = what.to_string();
        self.sim().trace(format_args!("violation: {what}"));
        self.seen().broken.get_or_insert(what);
    }

    /// Fails the run unless this holds.
    pub(super) fn hold(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(what());
        }
    }

    /// Whether everything has held so far. No fault here is one that may halt a node.
    pub(super) fn held(&self) -> Result<(), String> {
        halted(self.sim()).or_else(|| self.seen().broken.clone()).map_or(Ok(()), Err)
    }

    /// Clients begin nothing more.
    pub(super) fn end(&self) {
        self.seen().over = true;
    }

    /// Whether clients should begin nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.seen().over
    }

    /// Sends a command to one node, once. `None`: that node has died meanwhile.
    pub(super) async fn ask<S: Service>(
        &self,
        node: NodeId,
        id: Ticket,
        key: &str,
        command: &S::Command,
    ) -> Option<Result<Answered<S::Reply>, CommandError>> {
        let options = CommandOptions { by_client: true, patience: Duration::from_secs(20), ..CommandOptions::new(id) };
        let (key, command) = (key.to_owned(), command.clone());
        let ask = async move |services: Services<SimWorld>| services.command::<S>(&key, &command, &options).await;
        self.shop.on(node, ask).await
    }

    /// Waits for an answer, as one of the clients that do.
    pub(super) async fn open<T>(&self, asking: impl Future<Output = T>) -> T {
        self.seen().open += 1;
        let answer = asking.await;
        self.seen().open -= 1;
        answer
    }

    /// How many commands are under way.
    pub(super) fn under_way(&self) -> u64 {
        self.seen().open
    }

    /// A command was answered, be it with a refusal.
    pub(super) fn answered(&self) {
        let now = self.sim().elapsed();
        let mut seen = self.seen();
        seen.answered.push(now);
        seen.tally.note(Event::Answered, 1);
    }

    /// How many commands were answered from one moment to another.
    pub(super) fn answered_within(&self, from: Duration, to: Duration) -> usize {
        self.seen().answered.iter().filter(|at| (from..to).contains(*at)).count()
    }
}

/// A node that halted, and why.
pub(super) fn halted(sim: &Sim) -> Option<String> {
    super::trouble::NODES.into_iter().find_map(|node| Some(format!("node {node} halts: {}", sim.halted(node)?)))
}
