//! A node's clocks: one oscillator, which may run at another speed than virtual time, and a wall clock that follows it.
use super::{lock, tasks::Current, trace};
use crate::world::{Clock, Timestamp};
use openraft_rt::instant::Instant;
use std::{
    fmt,
    ops::{Add, AddAssign, Sub, SubAssign},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Where wall clocks stand when a run begins: 2026-01-01T00:00:00Z.
const START_MICROS: u64 = 1_767_225_600_000_000;
/// Local nanoseconds per 1000 virtual ones, of a clock that is right.
const USUAL_RATE: u64 = 1000;

/// A node's clocks. They survive restarts, as a machine's do.
#[derive(Clone, Debug, Default)]
pub struct SimClock {
    offset_micros: Arc<AtomicI64>,
    oscillator: Arc<Mutex<Oscillator>>,
    misread: Arc<Misread>,
}

/// How often it told something else than virtual time.
#[derive(Debug, Default)]
struct Misread {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

/// Local time as a function of virtual time. Nanoseconds since the run began, on either side.
#[derive(Clone, Copy, Debug)]
struct Oscillator {
    /// When it got its present rate.
    since: u64,
    /// What it showed then.
    local: u64,
    /// Local nanoseconds per 1000 virtual ones.
    rate: u64,
}

impl Default for Oscillator {
    fn default() -> Self {
        Oscillator { since: 0, local: 0, rate: USUAL_RATE }
    }
}

impl Oscillator {
    fn show(&self, virtual_nanos: u64) -> u64 {
        let passed = u128::from(virtual_nanos - self.since) * u128::from(self.rate) / 1000;
        self.local + passed as u64
    }
}

impl SimClock {
    pub(super) fn set_offset(&self, micros: i64) {
        self.offset_micros.store(micros, Ordering::Relaxed);
    }

    /// From now on `permille` local nanoseconds pass in 1000 virtual ones.
    pub(super) fn set_rate(&self, permille: u64) {
        assert!(permille > 0, "a clock that stands still never wakes anyone");
        let now = virtual_nanos();
        let mut oscillator = lock(&self.oscillator);
        *oscillator = Oscillator { since: now, local: oscillator.show(now), rate: permille };
    }

    fn local_nanos(&self) -> u64 {
        let oscillator = *lock(&self.oscillator);
        if oscillator.rate != USUAL_RATE {
            self.misread.monotonic.fetch_add(1, Ordering::Relaxed);
        }
        oscillator.show(virtual_nanos())
    }

    /// How often the wall clock was read while it was off, and the monotonic one while its speed was another.
    pub(super) fn misreadings(&self) -> (u64, u64) {
        (self.misread.wall.load(Ordering::Relaxed), self.misread.monotonic.load(Ordering::Relaxed))
    }

    /// Virtual time until the clock shows `local`, at its present rate.
    fn until(&self, local: SimTime) -> Duration {
        let oscillator = *lock(&self.oscillator);
        let missing = u128::from(local.0.saturating_sub(oscillator.show(virtual_nanos()))) * 1000;
        Duration::from_nanos(u64::try_from(missing.div_ceil(u128::from(oscillator.rate))).unwrap_or(u64::MAX / 2))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let offset = self.offset_micros.load(Ordering::Relaxed);
        if offset != 0 {
            self.misread.wall.fetch_add(1, Ordering::Relaxed);
        }
        Timestamp((START_MICROS + self.local_nanos() / 1000).saturating_add_signed(offset))
    }
}

fn virtual_nanos() -> u64 {
    trace::elapsed().as_nanos() as u64
}

/// A point on the monotonic clock of the node whose code runs; for the test, on that of virtual time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimTime(u64);

impl SimTime {
    /// Virtual time until the present node's clock shows this.
    pub(super) fn until_then(self) -> Duration {
        match Current::clock() {
            Some(clock) => clock.until(self),
            None => Duration::from_nanos(self.0.saturating_sub(virtual_nanos())),
        }
    }
}

impl Instant for SimTime {
    fn now() -> Self {
        SimTime(Current::clock().map_or_else(virtual_nanos, |clock| clock.local_nanos()))
    }
}

impl fmt::Debug for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", Duration::from_nanos(self.0).as_secs_f64())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for SimTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        SimTime(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for SimTime {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for SimTime {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        SimTime(self.0.saturating_sub(nanos(duration)))
    }
}

impl SubAssign<Duration> for SimTime {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub<SimTime> for SimTime {
    type Output = Duration;

    fn sub(self, earlier: SimTime) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
