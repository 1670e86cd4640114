//! The test's handle on a simulation.
use super::{
    SimDisk, SimLink, SimTasks, SimWorld, TaskHandle, lock,
    tasks::{self, Current},
    trace,
    universe::{Death, Life, Universe},
};
use crate::{
    topic::NodeId,
    world::{Env, Halt},
};
use openraft_rt::AsyncRuntime as _;
use openraft_rt_sim::SimRuntime;
use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    ops::RangeInclusive,
    pin::pin,
    sync::{Arc, Mutex, TryLockError},
    time::Duration,
};

/// How long things take, in virtual time.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// A sync of a file's data.
    pub sync_delay: RangeInclusive<Duration>,
    /// One way between two nodes.
    pub latency: RangeInclusive<Duration>,
    /// Until an attempt to connect to a silent node is given up.
    pub connect_timeout: Duration,
    /// Until a connection over a cut link, or to a machine without power, is lost.
    pub keepalive: Duration,
}

impl Default for SimConfig {
    fn default() -> Self {
        SimConfig {
            sync_delay: Duration::from_micros(50)..=Duration::from_micros(500),
            latency: Duration::from_micros(50)..=Duration::from_micros(500),
            connect_timeout: Duration::from_secs(1),
            keepalive: Duration::from_secs(5),
        }
    }
}

/// A simulation. Clones are the same one; see the [module](super) for what it does.
///
/// Nodes exist as soon as they are named, alive and with an empty disk. Methods that act on the world are called inside
/// [`Sim::run`].
#[derive(Clone)]
pub struct Sim {
    inner: Arc<Inner>,
}

struct Inner {
    universe: Arc<Universe>,
    runtime: Mutex<SimRuntime>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("seed", &self.drawn_from()).finish_non_exhaustive()
    }
}

impl Sim {
    /// The world of a seed, with the default times.
    pub fn seed(seed: u64) -> Self {
        Self::with_config(seed, SimConfig::default())
    }

    /// A world with times of the caller's choice.
    pub fn with_config(seed: u64, config: SimConfig) -> Self {
        let runtime = Mutex::new(SimRuntime::with_seed(seed));
        Sim { inner: Arc::new(Inner { universe: Universe::new(seed, config), runtime }) }
    }

    pub(super) fn universe(&self) -> &Arc<Universe> {
        &self.inner.universe
    }

    /// What the world was made from.
    pub fn drawn_from(&self) -> u64 {
        self.universe().seed
    }

    /// Runs the test, and with it every task, until the test is over. Tasks that remain go on in the next call.
    ///
    /// # Panics
    /// When a task panicked, when all wait for each other, and when called inside of itself.
    pub fn run<F: Future>(&self, test: F) -> F::Output {
        let mut runtime = match self.inner.runtime.try_lock() {
            Ok(runtime) => runtime,
            // The last run failed; whoever caught that may go on.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => panic!("Sim::run was called inside of Sim::run"),
        };
        let universe = self.universe();
        runtime.block_on(async {
            let mut test = pin!(test);
            poll_fn(|context| {
                if let Some(message) = universe.panicked(context.waker()) {
                    panic!("seed {}: {message}", universe.seed);
                }
                let _entered = Current { universe: universe.clone(), life: None }.enter();
                test.as_mut().poll(context)
            })
            .await
        })
    }

    /// The node's share of the world, in its present incarnation.
    ///
    /// # Panics
    /// When the node is dead: [`Sim::restart`] it.
    #[track_caller]
    pub fn env(&self, node: NodeId) -> Env<SimWorld> {
        assert!(self.is_alive(node), "node {node} is dead; restart it first");
        self.universe().env(node)
    }

    /// Runs a future as the node's: what it spawns is the node's, too, and all of it ends when the node does. The handle
    /// then resolves to [`super::TaskError::Cancelled`].
    pub fn spawn_on<F>(&self, node: NodeId, future: F) -> TaskHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tasks::start_with_result(self.universe(), Some(self.universe().life(node)), future)
    }

    /// Whether the node's present incarnation has not been killed and has not halted.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.universe().life(node).is_alive()
    }

    /// Why the node's present incarnation halted, if it did.
    pub fn halted(&self, node: NodeId) -> Option<Halt> {
        self.universe().halted(node)
    }

    /// Ends the node as `kill -9` does: its tasks are dropped, its locks released, its connections reset. What it wrote
    /// stays. Does nothing to a dead node.
    pub fn kill(&self, node: NodeId) {
        let universe = self.universe();
        universe.end(&universe.life(node), Death::Process);
    }

    /// Takes the power off the node's machine, be the node alive or dead: [`Sim::kill`], and of what was not synced, each
    /// 512-byte sector, file length and name keeps its old or its new content. Peers hear nothing until the keepalive.
    pub fn power_cut(&self, node: NodeId) {
        let universe = self.universe();
        universe.end(&universe.life(node), Death::Power);
    }

    /// Takes the power off the machine at its `operations`-th disk operation from now (1 is the next one), before it is
    /// done. Operations that change nothing durable (reads) do not count. With [`Sim::disk_operations`] of an undisturbed
    /// run, a test can try every crash point of a script.
    pub fn power_cut_at(&self, node: NodeId, operations: u64) {
        lock(&self.universe().platter(node)).crash_at(operations, Death::Power);
    }

    /// As [`Sim::power_cut_at`], and only the process ends: what was written stays.
    pub fn kill_at(&self, node: NodeId, operations: u64) {
        lock(&self.universe().platter(node)).crash_at(operations, Death::Process);
    }

    /// A disk with what is durable on the node's now: what a power cut leaves when it takes all it may. For checks; nothing
    /// done to it reaches the node.
    pub fn durable_disk(&self, node: NodeId) -> SimDisk {
        let universe = self.universe();
        let platter = lock(&universe.platter(node)).durable(universe.stream("durable"));
        SimDisk::new(universe.clone(), Life::begin(node, 0, universe.clock(node)), Arc::new(Mutex::new(platter)))
    }

    /// How many operations the node's disk has done over all incarnations.
    pub fn disk_operations(&self, node: NodeId) -> u64 {
        lock(&self.universe().platter(node)).operations()
    }

    /// Starts a new incarnation on the same disk (killing the present one) and returns its share of the world.
    pub fn restart(&self, node: NodeId) -> Env<SimWorld> {
        self.universe().restart(node);
        self.universe().env(node)
    }

    /// Stops running the node's tasks, as SIGSTOP does. Time goes on, packets wait.
    pub fn pause(&self, node: NodeId) {
        let universe = self.universe();
        universe.pause(&universe.life(node));
    }

    /// Lets a paused node go on.
    pub fn resume(&self, node: NodeId) {
        let universe = self.universe();
        universe.resume(&universe.life(node));
    }

    /// Cuts the link in both directions.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Nothing gets from `from` to `to` any more. Packets wait; connections between the two are lost when the cut lasts
    /// longer than [`SimConfig::keepalive`].
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.universe().cut(from, to);
    }

    /// Mends the link in both directions.
    pub fn heal(&self, a: NodeId, b: NodeId) {
        self.universe().heal(|from, to| (from, to) == (a, b) || (from, to) == (b, a));
    }

    /// Mends one direction of a link.
    pub fn heal_one_way(&self, from: NodeId, to: NodeId) {
        self.universe().heal(|a, b| (a, b) == (from, to));
    }

    /// Mends every link.
    pub fn heal_all(&self) {
        self.universe().heal(|_, _| true);
        self.universe().close_half_open(|_, _| true);
        self.universe().admit(|_, _| true);
    }

    /// Lets the node's next sync (of data, file or directory) fail. As in a kernel, what it covered is not written later
    /// either, although it can be read until the power is cut.
    pub fn fail_next_sync(&self, node: NodeId, error: io::ErrorKind) {
        lock(&self.universe().platter(node)).fail_next_sync(error);
    }

    /// Lets the node's next write fail after part of it, seeded.
    pub fn fail_next_write(&self, node: NodeId, error: io::ErrorKind) {
        lock(&self.universe().platter(node)).fail_next_write(error);
    }

    /// Makes the node's disk slower or faster.
    pub fn set_sync_delay(&self, node: NodeId, delay: RangeInclusive<Duration>) {
        lock(&self.universe().platter(node)).set_sync_delay(delay);
    }

    /// Lets the node's disk write no more than so many bytes in a second, on top of what each sync takes; `None`: any number.
    pub fn set_disk_speed(&self, node: NodeId, bytes_per_second: Option<u64>) {
        lock(&self.universe().platter(node)).set_speed(bytes_per_second);
    }

    /// Sets the node's wall clock off from virtual time, by microseconds, at once.
    pub fn set_clock_offset(&self, node: NodeId, micros: i64) {
        self.universe().clock(node).set_offset(micros);
    }

    /// Lets the node's clocks, the monotonic one and the wall clock, run faster or slower than virtual time from now on:
    /// `permille` local nanoseconds pass in 1000 virtual ones. Its disk and the network do not follow.
    ///
    /// # Panics
    /// For 0: a clock that stands still wakes nobody. [`Sim::pause`] the node instead.
    pub fn set_clock_rate(&self, node: NodeId, permille: u64) {
        self.universe().clock(node).set_rate(permille);
        self.trace(format_args!("the clocks of node {node} run at {permille} permille"));
    }

    /// Gives one direction of a link other qualities, for what is sent from now on.
    pub fn set_link(&self, from: NodeId, to: NodeId, link: SimLink) {
        self.trace(format_args!("link {from} -> {to} is now {link:?}"));
        self.universe().set_link(from, to, link);
    }

    /// Ends every connection between two nodes at once, on both sides, as a middlebox does.
    pub fn reset(&self, a: NodeId, b: NodeId) {
        self.universe().reset(a, b);
    }

    /// Puts something between two nodes that accepts connections and passes nothing on: those there are, and those that
    /// are made, deliver nothing, and are lost after [`SimConfig::keepalive`]. Until [`Sim::close_half_open`].
    pub fn half_open(&self, a: NodeId, b: NodeId) {
        self.universe().half_open(a, b);
    }

    /// Puts something between two nodes that resets their connections, and refuses others as a machine does on which nobody
    /// listens: to each, the other's process looks gone. Until [`Sim::admit`].
    pub fn refuse(&self, a: NodeId, b: NodeId) {
        self.universe().refuse(a, b);
    }

    /// Puts an end to [`Sim::refuse`]. [`Sim::heal_all`] does so for all links.
    pub fn admit(&self, a: NodeId, b: NodeId) {
        self.universe().admit(|first, second| (first, second) == (a.min(b), a.max(b)));
    }

    /// Puts an end to [`Sim::half_open`]: connections made from now on work. [`Sim::heal_all`] does so for all links.
    pub fn close_half_open(&self, a: NodeId, b: NodeId) {
        self.universe().close_half_open(|first, second| (first, second) == (a.min(b), a.max(b)));
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, duration: Duration) {
        SimTasks::sleep(duration).await;
    }

    /// Virtual time since the run began.
    pub fn elapsed(&self) -> Duration {
        trace::elapsed()
    }

    /// Adds an event to the history, so that it counts in [`Sim::trace_hash`].
    pub fn trace(&self, event: impl fmt::Display) {
        self.universe().trace().event(format_args!("{event}"));
    }

    /// A hash over everything that happened so far: equal for equal seeds, and for nothing else one should meet.
    pub fn trace_hash(&self) -> u64 {
        self.universe().trace().hash()
    }

    /// Lets `listener` have every event in words, as it happens. It must not call the simulation.
    pub fn listen(&self, listener: impl FnMut(&str) + Send + 'static) {
        self.universe().trace().listen(Box::new(listener));
    }

    /// The last events but for packets and syncs, oldest first, with their virtual times.
    pub fn milestones(&self) -> Vec<String> {
        self.universe().trace().milestones()
    }

    /// The last events, oldest first, with their virtual times.
    pub fn recent_events(&self) -> Vec<String> {
        self.universe().trace().recent()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation with seed {} failed; its last events:", self.universe.seed);
            for event in self.universe.trace().recent() {
                eprintln!("  {event}");
            }
        }
        self.universe.tear_down();
    }
}
