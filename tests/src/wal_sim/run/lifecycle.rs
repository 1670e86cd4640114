//! How a node ends and starts again: closed, killed, halted, or without power.
use super::{
    super::fault::Crash,
    NODE, PATIENCE, Run,
    outcome::{Stop, broken},
};
use corduroy_log::{testing::DiskError, world::Halt};
use futures::FutureExt as _;

impl<T: FnMut(&str)> Run<T> {
    pub(super) async fn reopen(&mut self) -> Result<(), Stop> {
        let wal = self.wal.take().expect("a node that is alive has a log");
        let mut closed = Box::pin(wal.close());
        let mut look = 0;
        while closed.as_mut().now_or_never().is_none() && self.sim.is_alive(NODE) {
            self.let_pass(look).await;
            look += 1;
            if look == PATIENCE && self.full {
                self.space();
                look = 0;
            }
            if look == PATIENCE {
                return broken("a close ends", "it does not");
            }
        }
        self.observe()?;
        if !self.sim.is_alive(NODE) {
            return self.revive_if_dead().await;
        }
        if let Some(call) = self.waiting.front() {
            return broken("a close answers every call", call.what);
        }
        self.tally.reopenings += 1;
        drop(wal);
        // Not a crash: the process goes on, or another one comes, and the disk keeps what it has.
        self.sim.kill(NODE);
        // A writer that waits for space gives up when it is closed, and says so.
        let kept = !std::mem::take(&mut self.failed);
        self.recover(Crash::plain(false), kept).await
    }

    /// The node dies now.
    pub(super) async fn die(&mut self, crash: Crash) -> Result<(), Stop> {
        self.end(crash.power)?;
        self.start(crash).await
    }

    pub(super) fn end(&mut self, power: bool) -> Result<(), Stop> {
        self.observe()?;
        self.cut(power);
        self.count_death(power);
        self.bury();
        Ok(())
    }

    pub(super) fn cut(&self, power: bool) {
        match power {
            true => self.sim.power_cut(NODE),
            false => self.sim.kill(NODE),
        }
    }

    pub(super) fn count_death(&mut self, power: bool) {
        self.tally.power_cuts += u64::from(power);
        self.tally.kills += u64::from(!power);
    }

    pub(super) async fn revive_if_dead(&mut self) -> Result<(), Stop> {
        if self.sim.is_alive(NODE) {
            return Ok(());
        }
        self.observe()?;
        if let Some(halt) = self.sim.halted(NODE) {
            let failed = self.sim.disk_failures(NODE).len() > self.failures;
            if !matches!(halt, Halt::DiskFailed(_)) || !failed {
                return broken("a node halts for a reason", halt);
            }
            self.tally.halts += 1;
        }
        let crash = self.then.take().unwrap_or(Crash::plain(false));
        if crash.power {
            self.sim.power_cut(NODE);
        }
        self.count_death(crash.power);
        self.sim.mend_disk(NODE);
        self.bury();
        self.start(crash).await
    }

    /// Nothing of the old process is left.
    pub(super) fn bury(&mut self) {
        self.wal = None;
        self.waiting.clear();
        self.failed = false;
        let failures = self.sim.disk_failures(NODE);
        self.tally.full +=
            failures[self.failures..].iter().filter(|(_, error)| *error == DiskError::Full).count() as u64;
        self.failures = failures.len();
    }

    pub(super) async fn start(&mut self, crash: Crash) -> Result<(), Stop> {
        self.recover(crash, false).await
    }
}
