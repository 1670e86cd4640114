//! Waiting for a point on a node's clock, which may change its speed meanwhile.
use super::clock::SimTime;
use openraft_rt::{AsyncRuntime as _, Instant as _};
use openraft_rt_sim::SimRuntime;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

type Timer = <SimRuntime as openraft_rt::AsyncRuntime>::Sleep;

/// Resolves once the node's clock shows its deadline; never before, and late where the clock was made faster meanwhile.
pub struct SimSleep {
    deadline: SimTime,
    timer: Pin<Box<Timer>>,
}

impl fmt::Debug for SimSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimSleep").field(&self.deadline).finish()
    }
}

impl SimSleep {
    #[track_caller]
    pub(super) fn until(deadline: SimTime) -> Self {
        SimSleep { deadline, timer: Box::pin(SimRuntime::sleep(deadline.until_then())) }
    }
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(context).is_ready() {
            if SimTime::now() >= self.deadline {
                return Poll::Ready(());
            }
            self.timer = Box::pin(SimRuntime::sleep(self.deadline.until_then()));
        }
        Poll::Pending
    }
}

/// The time was over before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time is over")]
pub struct SimElapsed;

/// A future, or the end of its time; the future first where both are ready.
pub struct SimTimeout<F> {
    future: Pin<Box<F>>,
    sleep: SimSleep,
}

impl<F> fmt::Debug for SimTimeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimTimeout").field(&self.sleep).finish()
    }
}

impl<F> SimTimeout<F> {
    #[track_caller]
    pub(super) fn at(deadline: SimTime, future: F) -> Self {
        SimTimeout { future: Box::pin(future), sleep: SimSleep::until(deadline) }
    }
}

impl<F: Future> Future for SimTimeout<F> {
    type Output = Result<F::Output, SimElapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(SimElapsed))
    }
}
