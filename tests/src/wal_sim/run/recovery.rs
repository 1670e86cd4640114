//! What an opening of the WAL finds or why it is refused, compared with what it may find.
use super::{
    super::{
        copies::{self, Kept},
        fault::Crash,
        marks,
    },
    NODE, Run,
    faults::Hurt,
    outcome::{Stop, broken},
};
use corduroy_log::{
    error::OpenError,
    testing::{DiskImage, SimDisk, SimWorld},
    wal::{Identity, Wal, WalOptions},
    world::Halt,
};
use std::path::Path;

/// What a node does when it starts: whose directory is it, and what does the log hold? Then it takes part in its cluster. Nobody else
/// opens the directory, so the lock may go. Gives the identity as it was found.
fn open(disk: &SimDisk, options: WalOptions, fresh: [u8; 16]) -> Result<(Identity, Wal<SimWorld>), OpenError> {
    let dir = options.dir.clone();
    let (identity, _lock) = Identity::open(disk, &dir, options.cluster, options.node, fresh)?;
    let wal = Wal::open(disk, options)?;
    let mut joined = identity;
    let noted = joined.set_joined(disk, &dir);
    noted.map_err(|error| OpenError::Halt(Halt::DiskFailed(error.to_string())))?;
    Ok((identity, wal))
}

/// Refused for what is on the disk.
fn is_damage(error: &OpenError) -> bool {
    matches!(error, OpenError::Halt(Halt::Corrupt(_) | Halt::DataLoss(_)))
}

/// Whether two disks are equal. `but`: these copies aside.
fn equal(one: &DiskImage, other: &DiskImage, but: Option<Kept>) -> bool {
    let counts = |(path, _): &(&Path, &[u8])| but.is_none_or(|kept| !kept.has(path));
    one.files().filter(counts).eq(other.files().filter(counts))
}

impl<T: FnMut(&str)> Run<T> {
    /// Starts the node, again and again where the node dies in it or the disk fails. `closed`: it was closed in order.
    pub(super) async fn recover(&mut self, crash: Crash, closed: bool) -> Result<(), Stop> {
        let mut nested = crash.nested.into_iter();
        let mut failing = crash.failing;
        loop {
            self.sim.restart(NODE);
            let armed = nested.next();
            match armed {
                Some((operations, true)) => self.sim.power_cut_at(NODE, operations),
                Some((operations, false)) => self.sim.kill_at(NODE, operations),
                None => {
                    if let Some((call, nth, error)) = failing.take() {
                        self.sim.fail_disk(NODE, call, nth, error);
                    }
                }
            }
            let before = self.sim.copy_disk(NODE);
            let began = self.sim.disk_operations(NODE);
            self.starts = self.starts.wrapping_add(1);
            let (disk, options, fresh) = (self.sim.env(NODE).disk, self.options.clone(), [self.starts; 16]);
            let opened = self.sim.spawn_on(NODE, async move { open(&disk, options, fresh) }).await;
            let Some(opened) = opened.ok().filter(|_| self.sim.is_alive(NODE)) else {
                self.tally.nested += 1;
                self.say(format_args!("died in the recovery"));
                if let Some(then) = self.then.take() {
                    nested = then.nested.into_iter();
                }
                continue;
            };
            match opened {
                Ok((identity, wal)) => {
                    let operations = self.sim.disk_operations(NODE) - began;
                    self.longest_recovery = self.longest_recovery.max(operations);
                    self.sim.mend_disk(NODE);
                    self.failures = self.sim.disk_failures(NODE).len();
                    self.finds_copies(identity, &before)?;
                    self.accept(wal, &before, closed && armed.is_none())?;
                    self.older = Some(before);
                    return Ok(());
                }
                Err(error) => self.refused(&error, &before, crash.power)?,
            }
        }
    }

    /// An opening that was refused: whether for a reason, and how to go on.
    fn refused(&mut self, error: &OpenError, before: &DiskImage, power: bool) -> Result<(), Stop> {
        self.say(format_args!("refused to open: {error}"));
        let failed = self.sim.disk_failures(NODE).len() > self.failures;
        self.failures = self.sim.disk_failures(NODE).len();
        let called_so = matches!(error, OpenError::Halt(Halt::DiskFailed(_)) | OpenError::Io { .. });
        if failed && !called_so && self.rotten.is_none() && self.hurt.is_none() {
            return broken("a disk that fails is called so", error);
        }
        if failed && called_so {
            self.sim.mend_disk(NODE);
            self.tally.failed_recoveries += 1;
            if self.full {
                self.space();
            }
            self.cut(power);
            return Ok(());
        }
        if let (Some(kept), Some(hurt)) = (copies::refused(before), self.hurt.take()) {
            return self.refused_copies(kept, &hurt, error, before);
        }
        let Some(rotten) = self.rotten.take() else { return broken("what was written opens again", error) };
        if !is_damage(error) {
            return broken("damage is called so", error);
        }
        // That counts the starts, also those which come to nothing for the log.
        if !equal(before, &self.sim.copy_disk(NODE), Some(Kept::Identity)) {
            return broken("damage that is refused is left as it is", error);
        }
        self.tally.rot_refused += 1;
        self.sim.kill(NODE);
        let Some(before) = rotten.before else { return Err(Stop::Over) };
        self.sim.restore_disk(NODE, &before);
        Ok(())
    }

    /// A start that was refused for copies that do not agree.
    fn refused_copies(&mut self, kept: Kept, hurt: &Hurt, error: &OpenError, before: &DiskImage) -> Result<(), Stop> {
        if !is_damage(error) || !error.to_string().contains(kept.name()) {
            return broken("damage is called so", error);
        }
        let counted = (kept == Kept::Manifest).then_some(Kept::Identity);
        if !equal(before, &self.sim.copy_disk(NODE), counted) {
            return broken("damage that is refused is left as it is", error);
        }
        match kept {
            Kept::Identity => self.tally.identity_refused += 1,
            Kept::Manifest => self.tally.manifest_refused += 1,
        }
        self.sim.kill(NODE);
        self.sim.restore_disk(NODE, &hurt.before);
        Ok(())
    }

    /// What a start makes of the copies of identity and manifest.
    fn finds_copies(&mut self, identity: Identity, before: &DiskImage) -> Result<(), Stop> {
        if let Some(kept) = copies::refused(before) {
            return broken("copies that do not agree are refused", kept.name());
        }
        let after = self.sim.copy_disk(NODE);
        if let Some(kept) = Kept::ALL.into_iter().find(|kept| !kept.is_whole(&after)) {
            return broken("a start makes every copy good", kept.name());
        }
        if !self.model.finds_identity(identity) {
            return broken("an identity is kept, and its boot epoch rises", format_args!("{identity:?}"));
        }
        match self.hurt.take().map(|hurt| hurt.kept) {
            Some(Kept::Identity) => self.tally.identity_mended += 1,
            Some(Kept::Manifest) => self.tally.manifest_mended += 1,
            None => {}
        }
        Ok(())
    }

    /// What a recovery found: is it a prefix of what was asked for, with everything that was acknowledged?
    fn accept(&mut self, wal: Wal<SimWorld>, before: &DiskImage, closed: bool) -> Result<(), Stop> {
        let found = self.found(&wal);
        let closed = closed && self.rotten.is_none();
        let mut lowest = self.model.floors();
        if self.rotten.is_some() {
            lowest = self.model.floors_at(marks::highest(before).sequence);
            self.tally.rot_opened += 1;
        }
        let Some(recovered) = self.model.recover(&found, &lowest) else {
            return broken(
                "a recovery finds what was acknowledged and a prefix of the rest",
                format_args!("{found:?} is after no prefixes of at least so many frames: {lowest:?}"),
            );
        };
        if closed && recovered.lost {
            return broken("a close keeps every call", format_args!("{found:?}"));
        }
        let (sequence, highest) = (wal.stats().durable_sequence, self.model.highest_sequence());
        if sequence < highest && self.rotten.is_some() {
            self.model.forget_sequences_after(sequence);
        } else if sequence < highest {
            return broken("sequence numbers do not go back", format_args!("{sequence} after {highest}"));
        }
        for at in 0..self.ids.len() {
            let id = self.ids[at];
            let committed = wal.partition(id).committed();
            if !self.model.finds_committed(id, committed, closed, self.rotten.is_some()) {
                return broken("a committed mark is one that was given", format_args!("{id}: {committed:?}"));
            }
        }
        self.tally.recoveries += 1;
        self.tally.kept += u64::from(recovered.kept);
        self.tally.lost += u64::from(recovered.lost);
        self.tally.halves += u64::from(recovered.half);
        self.tally.rot_unmarked += u64::from(recovered.unmarked);
        self.segment = wal.stats().segment;
        self.wal = Some(wal);
        self.say(format_args!("opened: {recovered:?}"));
        if let Some(rotten) = &mut self.rotten {
            // What follows is not in the copy.
            rotten.before = None;
            let over = rotten.ends_early;
            self.compare_each()?;
            if !over {
                return Ok(());
            }
            self.rotten = None;
        }
        (0..self.ids.len()).try_for_each(|at| self.compare(at, 0..u64::MAX, u64::MAX, false))
    }
}
