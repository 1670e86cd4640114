//! Everything a simulation holds, and the lives and deaths of its nodes.
use super::{
    SimClock, SimConfig, SimDisk, SimNet, SimRng, SimViews, SimWorld, ViewDamage,
    disk::Platter,
    lock,
    net::Network,
    rng::Stream,
    tasks::{self, Current, Running, Task},
    trace::Trace,
    views::{self, Shelf},
};
use crate::{
    topic::NodeId,
    world::{Env, Halt},
};
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

/// One incarnation of a node, from its start to its end.
pub(super) struct Life {
    pub(super) node: NodeId,
    /// How often the node was started, from 1.
    pub(super) incarnation: u32,
    /// The machine's.
    pub(super) clock: SimClock,
    alive: AtomicBool,
    /// While the node is paused: the tasks that wanted to run since.
    paused: Mutex<Option<Vec<Waker>>>,
}

impl Life {
    pub(super) fn begin(node: NodeId, incarnation: u32, clock: SimClock) -> Arc<Self> {
        Arc::new(Life { node, incarnation, clock, alive: AtomicBool::new(true), paused: Mutex::new(None) })
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    pub(super) fn is_paused(&self) -> bool {
        lock(&self.paused).is_some()
    }

    /// Whether the node is paused; then the waker is woken when it goes on.
    pub(super) fn wait_while_paused(&self, waker: &Waker) -> bool {
        let mut paused = lock(&self.paused);
        if let Some(waiting) = paused.as_mut() {
            waiting.push(waker.clone());
        }
        paused.is_some()
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} incarnation {}", self.node, self.incarnation)
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.incarnation)
    }
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// The process is gone; the operating system goes on and tells the peers.
    Process,
    /// The machine is gone.
    Power,
}

/// A machine: what outlives the lives of its node.
struct Machine {
    life: Arc<Life>,
    halted: Option<Halt>,
    powered: bool,
    ends: Ends,
    platter: Arc<Mutex<Platter>>,
    shelf: Arc<Mutex<Shelf>>,
    clock: SimClock,
}

/// What the lives of a node came to, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends {
    pub(super) deaths: u64,
    pub(super) halts: u64,
    /// Times a task could not run because its node was paused.
    pub(super) held_back: u64,
}

/// A simulation.
pub(super) struct Universe {
    pub(super) seed: u64,
    pub(super) config: SimConfig,
    pub(super) network: Mutex<Network>,
    machines: Mutex<BTreeMap<NodeId, Machine>>,
    tasks: Mutex<Running>,
    trace: Mutex<Trace>,
    panicked: Mutex<Option<String>>,
    main: Mutex<Option<Waker>>,
}

impl fmt::Debug for Universe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Universe").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Universe {
    pub(super) fn new(seed: u64, config: SimConfig) -> Arc<Self> {
        Arc::new(Universe {
            seed,
            config,
            network: Mutex::default(),
            machines: Mutex::default(),
            tasks: Mutex::default(),
            trace: Mutex::default(),
            panicked: Mutex::default(),
            main: Mutex::default(),
        })
    }

    pub(super) fn tasks(&self) -> MutexGuard<'_, Running> {
        lock(&self.tasks)
    }

    pub(super) fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.trace)
    }

    pub(super) fn stream(&self, name: &str) -> Stream {
        Stream::named(self.seed, name)
    }

    /// Starts a future that belongs to no node: the network's, or the test's.
    pub(super) fn start(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) -> Arc<Task> {
        tasks::start(self, None, work)
    }

    fn machine<T>(&self, node: NodeId, look: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machines = lock(&self.machines);
        let clock = SimClock::default();
        let machine = machines.entry(node).or_insert_with(|| Machine {
            life: Life::begin(node, 1, clock.clone()),
            halted: None,
            powered: true,
            ends: Ends::default(),
            platter: Arc::new(Mutex::new(Platter::new(
                self.stream(&format!("disk/{node}")),
                self.config.sync_delay.clone(),
            ))),
            shelf: Arc::new(Mutex::new(Shelf::new(self.stream(&format!("views/{node}"))))),
            clock,
        });
        look(machine)
    }

    /// The node's present or last life.
    pub(super) fn life(&self, node: NodeId) -> Arc<Life> {
        self.machine(node, |machine| machine.life.clone())
    }

    pub(super) fn halted(&self, node: NodeId) -> Option<Halt> {
        self.machine(node, |machine| machine.halted.clone())
    }

    pub(super) fn ends(&self, node: NodeId) -> Ends {
        self.machine(node, |machine| machine.ends)
    }

    pub(super) fn clock(&self, node: NodeId) -> SimClock {
        self.machine(node, |machine| machine.clock.clone())
    }

    pub(super) fn platter(&self, node: NodeId) -> Arc<Mutex<Platter>> {
        self.machine(node, |machine| machine.platter.clone())
    }

    pub(super) fn shelf(&self, node: NodeId) -> Arc<Mutex<Shelf>> {
        self.machine(node, |machine| machine.shelf.clone())
    }

    pub(super) fn damage_views(&self, node: NodeId, damage: ViewDamage) -> u64 {
        let others = self.views_elsewhere(node);
        lock(&self.shelf(node)).damage(damage, &others)
    }

    /// The stores of the other node whose stores have most in them.
    fn views_elsewhere(&self, node: NodeId) -> BTreeMap<String, views::Content> {
        let shelves: Vec<_> = {
            let machines = lock(&self.machines);
            machines.iter().filter(|(other, _)| **other != node).map(|(_, machine)| machine.shelf.clone()).collect()
        };
        let pictures = shelves.iter().map(|shelf| lock(shelf).pictures());
        pictures.max_by_key(|stores| stores.values().map(BTreeMap::len).sum::<usize>()).unwrap_or_default()
    }

    /// Whether packets to the node are answered by anything: its process or its operating system.
    pub(super) fn is_responsive(&self, node: NodeId) -> bool {
        self.machine(node, |machine| machine.powered && !machine.life.is_paused())
    }

    pub(super) fn env(self: &Arc<Self>, node: NodeId) -> Env<SimWorld> {
        let life = self.life(node);
        Env {
            disk: SimDisk::new(self.clone(), life.clone(), self.platter(node)),
            net: SimNet::new(self.clone(), life.clone()),
            clock: self.clock(node),
            rng: SimRng::new(self.stream(&format!("node/{node}/{}", life.incarnation))),
            views: SimViews::new(self.clone(), life.clone(), self.shelf(node)),
        }
    }

    pub(super) fn halt(self: &Arc<Self>, life: &Arc<Life>, reason: Halt) {
        if life.is_alive() {
            self.trace().event(format_args!("{life} halts: {reason}"));
            self.machine(life.node, |machine| {
                machine.halted = Some(reason);
                machine.ends.halts += 1;
            });
            self.end(life, Death::Process);
        }
    }

    /// Ends a life. Its tasks are dropped before this returns, or, where one of them is the caller, right after it yields.
    pub(super) fn end(self: &Arc<Self>, life: &Arc<Life>, death: Death) {
        let was_alive = life.alive.swap(false, Ordering::Relaxed);
        let platter = self.platter(life.node);
        if death == Death::Power {
            self.trace().event(format_args!("{life} loses power"));
            self.machine(life.node, |machine| machine.powered = false);
            lock(&platter).lose_power();
        }
        if !was_alive {
            return;
        }
        self.trace().event(format_args!("{life} ends"));
        self.machine(life.node, |machine| machine.ends.deaths += 1);
        lock(&platter).release_locks();
        let others = if death == Death::Power { self.views_elsewhere(life.node) } else { BTreeMap::new() };
        lock(&self.shelf(life.node)).die(death, &others);
        self.node_died(life, death);
        self.resume(life);
        if Current::is_a_node() {
            let (universe, life) = (self.clone(), life.clone());
            self.start(async move { universe.reap(&life) });
        } else {
            self.reap(life);
        }
    }

    fn reap(self: &Arc<Self>, life: &Arc<Life>) {
        let tasks = self.tasks().of(Some(life));
        for task in tasks {
            task.cancel(self);
        }
    }

    pub(super) fn restart(self: &Arc<Self>, node: NodeId) -> Arc<Life> {
        let last = self.life(node);
        self.end_if_alive(&last);
        let life = Life::begin(node, last.incarnation + 1, last.clock.clone());
        self.machine(node, |machine| {
            machine.life = life.clone();
            machine.halted = None;
            machine.powered = true;
        });
        self.trace().event(format_args!("{life} begins"));
        self.node_restarted(node);
        life
    }

    fn end_if_alive(self: &Arc<Self>, life: &Arc<Life>) {
        if life.is_alive() {
            self.end(life, Death::Process);
        }
    }

    pub(super) fn pause(&self, life: &Life) {
        self.trace().event(format_args!("{life} pauses"));
        lock(&life.paused).get_or_insert_default();
    }

    pub(super) fn resume(&self, life: &Life) {
        let Some(waiting) = lock(&life.paused).take() else { return };
        self.trace().event(format_args!("{life} goes on"));
        self.machine(life.node, |machine| machine.ends.held_back += waiting.len() as u64);
        for waker in waiting {
            waker.wake();
        }
    }

    /// Remembers the panic of a task and lets the test fail.
    pub(super) fn task_panicked(&self, life: Option<&Life>, message: &str) {
        let owner = life.map_or("no node".to_owned(), |life| format!("{life:?}"));
        self.trace().event(format_args!("a task of {owner} panics: {message}"));
        lock(&self.panicked).get_or_insert(format!("a task of {owner} panicked: {message}"));
        if let Some(main) = lock(&self.main).take() {
            main.wake();
        }
    }

    /// The first panic of a task; otherwise the test is woken when there is one.
    pub(super) fn panicked(&self, main: &Waker) -> Option<String> {
        *lock(&self.main) = Some(main.clone());
        lock(&self.panicked).take()
    }

    /// Drops every task, so that nothing keeps the simulation alive.
    pub(super) fn tear_down(self: &Arc<Self>) {
        let lives: Vec<_> = lock(&self.machines).values().map(|machine| machine.life.clone()).collect();
        for life in lives {
            life.alive.store(false, Ordering::Relaxed);
        }
        let tasks = self.tasks().of(None);
        for task in tasks {
            task.cancel(self);
        }
        lock(&self.network).clear();
    }
}
