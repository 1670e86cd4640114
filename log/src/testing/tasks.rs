//! Tasks that belong to a node and end with it.
//!
//! openraft's simulated runtime knows no nodes. Here each task carries the life it was spawned in; while it is polled,
//! that life is the thread's current one, and what it spawns inherits it. The future sits in a slot outside the
//! executor, so that a kill can drop it at once.
use super::{
    clock::{SimClock, SimTime},
    lock,
    sleep::{SimElapsed, SimSleep, SimTimeout},
    universe::{Life, Universe},
};
use crate::world::{Halt, Tasks};
use futures::FutureExt as _;
use openraft_rt::{AsyncRuntime, Instant as _, OptionalSend};
use openraft_rt_sim::SimRuntime;
use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    io,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::oneshot;

/// Whose code runs on this thread: the test's (no life) or a node's.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) universe: Arc<Universe>,
    pub(super) life: Option<Arc<Life>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

impl Current {
    /// Panics outside of `Sim::run`.
    #[track_caller]
    fn get() -> Self {
        CURRENT.with_borrow(Clone::clone).expect("simulated tasks exist only inside Sim::run")
    }

    /// Whether a node's code is being polled on this thread.
    pub(super) fn is_a_node() -> bool {
        CURRENT.with_borrow(|current| current.as_ref().is_some_and(|current| current.life.is_some()))
    }

    /// The clock of the node whose code is being polled on this thread.
    pub(super) fn clock() -> Option<SimClock> {
        CURRENT.with_borrow(|current| Some(current.as_ref()?.life.as_ref()?.clock.clone()))
    }

    /// Makes this the current one until the guard is dropped.
    pub(super) fn enter(self) -> Entered {
        Entered(CURRENT.replace(Some(self)))
    }
}

/// Puts back what was current before.
pub(super) struct Entered(Option<Current>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A spawned future, held outside the executor.
pub(super) struct Task {
    id: u64,
    life: Option<Arc<Life>>,
    /// `None` while it is polled, and when it is over.
    work: Mutex<Option<Work>>,
    cancelled: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Task {
    /// Drops the future: now, or after the poll it is in.
    pub(super) fn cancel(&self, universe: &Arc<Universe>) {
        self.cancelled.store(true, Ordering::Relaxed);
        let work = lock(&self.work).take();
        self.discard(universe, work);
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }

    fn discard(&self, universe: &Arc<Universe>, work: Option<Work>) {
        universe.tasks().running.remove(&self.id);
        let _entered = Current { universe: universe.clone(), life: self.life.clone() }.enter();
        drop(work);
    }

    fn is_over(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.life.as_ref().is_some_and(|life| !life.is_alive())
    }
}

/// Every task that is not over, in the order of its start.
#[derive(Default)]
pub(super) struct Running {
    next_id: u64,
    running: BTreeMap<u64, Arc<Task>>,
}

impl Running {
    /// The tasks of one life, or all of them.
    pub(super) fn of(&self, life: Option<&Arc<Life>>) -> Vec<Arc<Task>> {
        let belongs = |task: &&Arc<Task>| match life {
            Some(life) => task.life.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, life)),
            None => true,
        };
        self.running.values().filter(belongs).cloned().collect()
    }
}

/// Starts a future in a life, or in none.
pub(super) fn start(
    universe: &Arc<Universe>,
    life: Option<Arc<Life>>,
    work: impl Future<Output = ()> + Send + 'static,
) -> Arc<Task> {
    let mut tasks = universe.tasks();
    let id = tasks.next_id;
    tasks.next_id += 1;
    let task = Arc::new(Task {
        id,
        life,
        work: Mutex::new(Some(Box::pin(work))),
        cancelled: AtomicBool::new(false),
        waker: Mutex::new(None),
    });
    if task.is_over() {
        // A destructor of a dead node spawns: nothing runs any more. The future is dropped by the caller.
        return task;
    }
    tasks.running.insert(id, task.clone());
    drop(tasks);
    drop(SimRuntime::spawn(Run { universe: universe.clone(), task: task.clone() }));
    task
}

/// The executor's side of a task.
struct Run {
    universe: Arc<Universe>,
    task: Arc<Task>,
}

impl Future for Run {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Run { universe, task } = &*self;
        let Some(mut work) = lock(&task.work).take() else { return Poll::Ready(()) };
        if task.is_over() {
            task.discard(universe, Some(work));
            return Poll::Ready(());
        }
        if task.life.as_ref().is_some_and(|life| life.wait_while_paused(context.waker())) {
            *lock(&task.work) = Some(work);
            return Poll::Pending;
        }
        universe.trace().add(task.id);
        *lock(&task.waker) = Some(context.waker().clone());
        let polled = {
            let _entered = Current { universe: universe.clone(), life: task.life.clone() }.enter();
            work.as_mut().poll(context)
        };
        if polled.is_ready() || task.is_over() {
            task.discard(universe, Some(work));
            return Poll::Ready(());
        }
        *lock(&task.work) = Some(work);
        Poll::Pending
    }
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It panicked, with this message. The run fails, too.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// Its node was killed, or the simulation ended.
    #[error("the task ended with its node")]
    Cancelled,
}

/// Resolves to the result of a task. Dropping it detaches the task.
#[derive(Debug)]
pub struct TaskHandle<T> {
    result: oneshot::Receiver<Result<T, TaskError>>,
}

impl<T> TaskHandle<T> {
    /// That of a task which was never started.
    pub(super) fn cancelled() -> Self {
        TaskHandle { result: oneshot::channel().1 }
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(context).map(|result| result.unwrap_or(Err(TaskError::Cancelled)))
    }
}

/// Starts a future whose result somebody may wait for.
pub(super) fn start_with_result<T>(
    universe: &Arc<Universe>,
    life: Option<Arc<Life>>,
    future: impl Future<Output = T> + Send + 'static,
) -> TaskHandle<T>
where
    T: Send + 'static,
{
    let (sender, result) = oneshot::channel();
    let owner = life.clone();
    let reported = universe.clone();
    start(universe, life, async move {
        let outcome = AssertUnwindSafe(future).catch_unwind().await.map_err(|payload| {
            let message = message_of(payload.as_ref());
            reported.task_panicked(owner.as_deref(), &message);
            TaskError::Panicked(message)
        });
        // Nobody waits for a detached task.
        let _ = sender.send(outcome);
    });
    TaskHandle { result }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a payload without words".to_owned())
}

/// The simulated runtime. Usable only inside [`super::Sim::run`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimTasks;

impl AsyncRuntime for SimTasks {
    type JoinError = TaskError;
    type JoinHandle<T: OptionalSend + 'static> = TaskHandle<T>;
    type Sleep = SimSleep;
    type Instant = SimTime;
    type TimeoutError = SimElapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = SimTimeout<T>;
    type ThreadLocalRng = <SimRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <SimRuntime as AsyncRuntime>::Mpsc;
    type Watch = <SimRuntime as AsyncRuntime>::Watch;
    type Oneshot = <SimRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::Mutex<T>;

    #[track_caller]
    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let Current { universe, life } = Current::get();
        start_with_result(&universe, life, future)
    }

    #[track_caller]
    fn sleep(duration: Duration) -> Self::Sleep {
        SimSleep::until(SimTime::now() + duration)
    }

    #[track_caller]
    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        SimSleep::until(deadline)
    }

    #[track_caller]
    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        SimTimeout::at(SimTime::now() + duration, future)
    }

    #[track_caller]
    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        SimTimeout::at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        matches!(join_error, TaskError::Panicked(_))
    }

    #[track_caller]
    fn thread_rng() -> Self::ThreadLocalRng {
        SimRuntime::thread_rng()
    }

    fn new(_threads: usize) -> Self {
        SimTasks
    }

    /// Runs the future in a simulation of its own, with seed 0.
    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        super::Sim::seed(0).run(future)
    }

    /// In one go, at once: a thread would end at a time that differs between runs, and nobody else runs meanwhile.
    async fn spawn_blocking<F, T>(function: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Ok(function())
    }
}

impl Tasks for SimTasks {
    fn spawn_dedicated<F>(_name: &str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(Self::spawn(future));
    }

    fn halt(reason: Halt) {
        let Current { universe, life } = Current::get();
        let life = life.expect("only the code of a node halts: use Sim::spawn_on");
        universe.halt(&life, reason);
    }
}
