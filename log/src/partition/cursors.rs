//! Named cursors: for consumers that keep no state of their own, how far they have come.
//!
//! A cursor belongs to one partition and is kept by its group: a commit is on disk at a majority before it is
//! acknowledged, and moves with the lead. Many commits wait for one entry, so ten thousand cursors cost little more than
//! one.
//!
//! The *fence* keeps out a consumer that was replaced and does not know it: [`Partition::acquire_cursor`] raises it, and
//! a commit with a lower one is refused.
use super::{
    Core, Partition,
    fold::{Cursor, CursorVerdict},
};
use crate::{batch::CursorChange, error::LogError, health::Share, partition::Consistency, topic::Offset, world::World};
use tokio::sync::oneshot;

/// Longest name of a cursor, in bytes.
pub const CURSOR_NAME_BYTES: usize = 255;

/// One accepted change.
pub(crate) struct CursorJob {
    pub change: CursorChange,
    reply: oneshot::Sender<Result<CursorVerdict, LogError>>,
    /// Given back when it is answered.
    _admitted: [Share; 2],
}

impl CursorJob {
    pub(super) fn refuse(self, error: &LogError) {
        self.reply.send(Err(error.clone())).ok();
    }

    pub(super) fn answer(self, verdict: CursorVerdict) {
        self.reply.send(Ok(verdict)).ok();
    }
}

impl<W: World> Partition<W> {
    /// Says that the consumer of this name has done everything below `offset`. Offsets may go back: that is how one does
    /// something again. The first commit makes the cursor.
    ///
    /// # Errors
    /// [`LogError::CursorFenced`] where a higher fence was given or acquired; [`LogError::OffsetOutOfRange`] beyond the end of
    /// the partition; [`LogError::TooMany`]; [`LogError::Invalid`] for a name that is none; otherwise as
    /// [`Partition::append`].
    pub async fn commit_cursor(&self, name: &str, offset: Offset, fence: u64) -> Result<Cursor, LogError> {
        let change = CursorChange::Commit { name: name.into(), offset, fence };
        let verdict = self.core.change_cursor(change)?.await?;
        self.core.cursor_changed(name, fence, offset, verdict)
    }

    /// Takes a cursor over: whoever had it before can commit no more. Says where to go on, and with which fence. Makes the
    /// cursor, at offset 0, where there is none.
    ///
    /// # Errors
    /// [`LogError::TooMany`]; [`LogError::Invalid`] for a name that is none; otherwise as [`Partition::append`].
    pub async fn acquire_cursor(&self, name: &str) -> Result<Cursor, LogError> {
        let verdict = self.core.change_cursor(CursorChange::Acquire { name: name.into() })?.await?;
        self.core.cursor_changed(name, 0, 0, verdict)
    }

    /// Forgets a cursor. One that is not there is forgotten already.
    ///
    /// # Errors
    /// As [`Partition::append`].
    pub async fn delete_cursor(&self, name: &str) -> Result<(), LogError> {
        self.core.change_cursor(CursorChange::Delete { name: name.into() })?.await.map(drop)
    }

    /// The cursor of this name, on whichever replica; `None`: there is none.
    ///
    /// # Errors
    /// As [`Partition::read`].
    pub async fn cursor(&self, name: &str, consistency: Consistency) -> Result<Option<Cursor>, LogError> {
        self.core.settle_read(consistency).await?;
        Ok(self.core.evolved.cursor(name))
    }

    /// All cursors, by name.
    ///
    /// # Errors
    /// As [`Partition::read`].
    pub async fn cursors(&self, consistency: Consistency) -> Result<Vec<(String, Cursor)>, LogError> {
        self.core.settle_read(consistency).await?;
        Ok(self.core.evolved.cursors())
    }
}

impl<W: World> Core<W> {
    fn change_cursor(
        &self,
        change: CursorChange,
    ) -> Result<impl Future<Output = Result<CursorVerdict, LogError>> + Send + use<W>, LogError> {
        check_name(change.name())?;
        self.has_room()?;
        let admitted = self.appends.admit(|| self.name(), change.len() + size_of::<CursorJob>())?;
        let (reply, answer) = oneshot::channel();
        let sent = self.appends.send_cursor(CursorJob { change, reply, _admitted: admitted });
        sent.map_err(|_| LogError::Stopped(format!("{} has stopped", self.name())))?;
        Ok(self.answered(answer))
    }

    /// What became of a change, for the one who asked for it.
    fn cursor_changed(
        &self,
        name: &str,
        fence: u64,
        offset: Offset,
        verdict: CursorVerdict,
    ) -> Result<Cursor, LogError> {
        let partition = self.name();
        match verdict {
            CursorVerdict::Changed(cursor) => Ok(cursor),
            CursorVerdict::Fenced { fence: current } => {
                Err(LogError::CursorFenced { partition, name: name.into(), fence, current })
            }
            CursorVerdict::Beyond { end } => Err(LogError::OffsetOutOfRange { partition, offset, end }),
            CursorVerdict::TooMany { limit } => {
                Err(LogError::TooMany { what: "cursors", partition, limit: limit as u64 })
            }
            CursorVerdict::Deleted => unreachable!("this was no deletion"),
        }
    }
}

fn check_name(name: &str) -> Result<(), LogError> {
    if name.is_empty() || name.len() > CURSOR_NAME_BYTES || name.chars().any(char::is_control) {
        let quoted = &name[..name.floor_char_boundary(CURSOR_NAME_BYTES)];
        return Err(LogError::Invalid(format!(
            "{quoted:?} is not the name of a cursor: 1 to {CURSOR_NAME_BYTES} bytes without control characters"
        )));
    }
    Ok(())
}
