//! Tasks on tokio, dedicated tasks on threads of their own, and the end of the process.
use crate::world::{Halt, Tasks};
use openraft_rt::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::TokioRuntime;
use std::{
    future::Future,
    io::{self, Write as _},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

/// How long a halting process may try to say why.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The tokio runtime the caller is in.
///
/// **Invariant**: every function but [`AsyncRuntime::block_on`] is called inside a tokio runtime with timers enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RealTasks;

impl AsyncRuntime for RealTasks {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    /// Starts nothing: a runtime is made by [`AsyncRuntime::block_on`], or is the one the caller is in.
    fn new(_threads: usize) -> Self {
        RealTasks
    }

    /// Runs the future on a tokio runtime made for this call; tasks that outlive the future end with it.
    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        let threads = thread::available_parallelism().map_or(2, usize::from);
        TokioRuntime::new(threads).block_on(future)
    }

    fn spawn_blocking<F, T>(function: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let task = tokio::task::spawn_blocking(function);
        async { task.await.map_err(io::Error::other) }
    }
}

impl Tasks for RealTasks {
    fn spawn_dedicated<F>(name: &str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Timers and sockets of the future belong to the runtime of whoever starts it.
        let runtime = tokio::runtime::Handle::try_current().ok();
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
            block_on(future);
        });
        // A process that cannot start a thread while it opens its log cannot do anything useful.
        spawned.unwrap_or_else(|error| panic!("cannot start the thread {name:?}: {error}"));
    }

    fn halt(reason: Halt) {
        let code = reason.exit_code();
        // Neither a closed stderr nor one that nobody reads keeps the process alive.
        let _ = thread::Builder::new().name("halt".to_owned()).spawn(move || {
            thread::sleep(LAST_WORDS);
            std::process::exit(code);
        });
        // The one line that monitoring matches.
        let _ = writeln!(io::stderr(), "corduroy: halted: {reason}");
        tracing::error!(reason = reason.name(), detail = reason.detail(), "halted");
        std::process::exit(code);
    }
}

/// Unparks the thread that waits for a dedicated task.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future on this thread until it is done. The thread's park token makes a wake between poll and park count.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
