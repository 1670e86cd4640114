//! What goes wrong while the node runs, and damage while it is down.
use super::{
    super::{
        copies::{self, CopyRot, Kept},
        damage,
        fault::{Crash, Place, RotKind},
    },
    NODE, Run,
    outcome::Stop,
};
use corduroy_log::testing::{DiskCall, DiskError, DiskImage};

/// What became of damage that was done.
pub(super) struct Rotten {
    /// The disk before, where the node was down and nothing was changed since.
    pub(super) before: Option<DiskImage>,
    /// The end of the newest segment is missing: what opens nevertheless has nothing of the damage left.
    pub(super) ends_early: bool,
}

/// Copies that were damaged since the node ran last.
pub(super) struct Hurt {
    pub(super) kept: Kept,
    /// The disk before.
    pub(super) before: DiskImage,
}

impl<T: FnMut(&str)> Run<T> {
    /// The node will die at a disk operation, counted from now on.
    pub(super) fn crash_at(&mut self, operations: u64, crash: &Crash) {
        match crash.power {
            true => self.sim.power_cut_at(NODE, operations),
            false => self.sim.kill_at(NODE, operations),
        }
        self.then = Some(Crash { power: false, ..crash.clone() });
    }

    /// A disk call will fail, and the node halt.
    pub(super) fn fail(&mut self, call: DiskCall, nth: u64, error: DiskError, then: &Crash) {
        self.sim.fail_disk(NODE, call, nth, error);
        self.then = Some(then.clone());
    }

    /// There is only so much space left, in blocks of 4096 bytes.
    pub(super) fn full(&mut self, blocks: u64) {
        self.sim.set_disk_capacity(NODE, Some(self.sim.disk_used(NODE) + blocks * 4096));
        self.full = true;
    }

    /// There is space again.
    pub(super) fn space(&mut self) {
        self.sim.set_disk_capacity(NODE, None);
        self.full = false;
    }

    /// The file system turns read-only until the node has halted.
    pub(super) async fn read_only(&mut self) -> Result<(), Stop> {
        self.sim.set_disk_read_only(NODE, true);
        self.vote(0);
        self.wait().await?;
        self.sim.mend_disk(NODE);
        Ok(())
    }

    /// What was synced rots, in the midst of things or while the node is down.
    pub(super) async fn rot(&mut self, kind: RotKind, place: Place, down: Option<&Crash>) -> Result<(), Stop> {
        let before = match down {
            Some(crash) => {
                self.end(crash.power)?;
                Some(self.sim.copy_disk(NODE))
            }
            None => None,
        };
        if damage::inflict(&self.sim, NODE, kind, place) {
            self.tally.rot += 1;
            let before = before.filter(|_| self.rotten.is_none());
            let ends_early = self.rotten.is_none() && down.is_some() && kind == RotKind::Cut && place.back == 0;
            self.rotten = Some(Rotten { before, ends_early });
        }
        match down {
            Some(crash) => self.start(crash.clone()).await,
            None => self.compare_each(),
        }
    }

    /// Copies of the identity or of the manifest rot while the node is down. What the next start makes of them is known, so there is
    /// none of it beside other damage.
    pub(super) async fn rot_copies(
        &mut self,
        (kept, kind): (Kept, CopyRot),
        which: u8,
        noise: u64,
        down: &Crash,
    ) -> Result<(), Stop> {
        self.end(down.power)?;
        let before = self.sim.copy_disk(NODE);
        let older = self.older.as_ref().filter(|_| self.rotten.is_none());
        if older.is_some_and(|older| copies::inflict(&self.sim, NODE, (kept, kind), which, noise, older)) {
            self.tally.copies_stale += u64::from(kind == CopyRot::Stale);
            self.tally.copies_half += u64::from(kind == CopyRot::Half);
            self.hurt = Some(Hurt { kept, before });
        }
        self.start(down.clone()).await
    }

    /// The disk goes two ways from one copy of it, and a segment of the one gets between those of the other. Both have the same
    /// numbers and lengths, and other votes.
    pub(super) async fn fork(&mut self, votes: u8, place: Place) -> Result<(), Stop> {
        if self.rotten.is_some() {
            return Ok(());
        }
        self.reopen().await?;
        self.end(false)?;
        let (copy, model) = (self.sim.copy_disk(NODE), self.model.clone());
        let mut ways = Vec::new();
        for _ in 0..2 {
            if !ways.is_empty() {
                self.sim.restore_disk(NODE, &copy);
                self.model = model.clone();
            }
            self.start(Crash::plain(false)).await?;
            for vote in 0..usize::from(votes) {
                self.revive_if_dead().await?;
                self.vote(vote % self.ids.len());
                self.wait().await?;
            }
            self.end(false)?;
            ways.push(self.sim.copy_disk(NODE));
        }
        if damage::transplant(&self.sim, NODE, &ways[0], &ways[1], place) {
            self.tally.rot += 1;
            self.tally.forks += 1;
            self.rotten = Some(Rotten { before: ways.pop(), ends_early: false });
        }
        self.start(Crash::plain(false)).await
    }
}
