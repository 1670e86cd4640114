//! Files made ahead of their use: the next segment, and a reserve that is given up when nothing else is left.
//!
//! ```text
//!   supplier (own thread) ──makes──▶ DIR/wal/spare, DIR/wal/reserve ──▶ measures: Plenty, Low, Full
//!                                        │             │
//!   writer, at a rotation ◀──takes───────┘             │ gives up, where there is no room for a segment
//!                         ◀──────────────────────────────┘
//! ```
//!
//! Making a segment takes an allocation and two syncs, so it is done by the side, never between a batch and its sync. The
//! writer takes the spare by writing its header, a rename and a sync of the folder; without a spare it makes a segment
//! itself, and where there is no room for a whole one, a smaller one.
//!
//! **Invariant** (R15, R66): out of space is an answer, not a failure, for a file that does not have its name yet: it
//! holds nothing anybody was told of, and it is removed. Any other error, and any error from the rename on, is a failure
//! of the disk.
//! **Invariant** (R2): a spare becomes a segment only with a first block of zeros, so one that a power cut left with a
//! second name is never used twice.
use super::{
    segment::{SEGMENT_HEADER_LEN, SegmentHeader, Segments},
    space::{Ahead, Gauge, Marks, Space, decide},
    writer::Shared,
};
use crate::world::{Disk, DiskFile, Halt, Tasks, World};
use openraft_rt::AsyncRuntime;
use std::{
    future, io,
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::{Notify, oneshot};

/// How often the disk is looked at, and how long a writer without room waits before it tries again.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

const SPARE: &str = "spare";
const RESERVE: &str = "reserve";
/// A segment of this length holds a vote, a mark and little more.
const SMALLEST: u64 = 2 * SEGMENT_HEADER_LEN;

/// Of a segment that may be the last, one such part is kept for votes and marks: followers take no entries that would need it.
pub(super) const KEPT_SHARE: u64 = 8;

/// What is made ahead, and when space is little. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupplyOptions {
    /// Length of the emergency reserve; 0: none.
    pub reserve_bytes: u64,
    /// Clients are refused below this share of the file system, and in any case below two segments.
    pub min_free_percent: u8,
}

/// How much room there is. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// What follows for clients.
    pub space: Space,
    /// Free in the file system of the data directory.
    pub free: u64,
    /// Size of that file system.
    pub total: u64,
    /// Clients are refused below this.
    pub low: u64,
    /// Once refused, they are served again above this.
    pub resume: u64,
}

/// See the module. One per WAL, shared by its writer and its supplier.
pub(crate) struct Supply {
    options: Option<SupplyOptions>,
    segment_bytes: u64,
    stock: Mutex<Stock>,
    look: Notify,
}

#[derive(Default)]
struct Stock {
    gauge: Gauge,
    space: Space,
    ended: bool,
}

/// Whether there was simply no room.
pub(crate) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Supply {
    /// `None`: nothing is made ahead, and nobody looks at the space.
    pub(crate) fn new(options: Option<SupplyOptions>, segment_bytes: u64) -> Self {
        Supply { options, segment_bytes: whole(segment_bytes), stock: Mutex::default(), look: Notify::new() }
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().expect("nothing panics while it holds the stock")
    }

    pub(crate) fn space(&self) -> Space {
        self.stock().space
    }

    /// Bytes of entries that fit a segment made of the reserve, beside what is kept in it for votes.
    pub(crate) fn reserve_room(&self) -> u64 {
        let made = self.stock().gauge.reserve == Ahead::Ready;
        let reserve = self.options.filter(|_| made).map_or(0, |options| options.reserve_bytes);
        (reserve - reserve / KEPT_SHARE).saturating_sub(SMALLEST)
    }

    pub(crate) fn report(&self) -> DiskSpace {
        let stock = self.stock();
        let Gauge { free, total, .. } = stock.gauge;
        let Marks { low, resume } = self.marks(total);
        DiskSpace { space: stock.space, free, total, low, resume }
    }

    fn marks(&self, total: u64) -> Marks {
        Marks::new(total, self.options.map_or(0, |options| options.min_free_percent), self.segment_bytes)
    }

    /// Changes what is known and draws the conclusion.
    fn update(&self, change: impl FnOnce(&mut Gauge)) {
        let mut stock = self.stock();
        change(&mut stock.gauge);
        if self.options.is_none() {
            stock.space = if stock.gauge.blocked { Space::Full } else { Space::Plenty };
            return;
        }
        let space = decide(stock.space, &stock.gauge, &self.marks(stock.gauge.total));
        if space != stock.space {
            let Gauge { free, total, .. } = stock.gauge;
            match space {
                Space::Plenty => tracing::info!(free, total, "there is space on the disk again: clients are served"),
                _ => tracing::error!(?space, free, total, "little space on the disk: clients are refused"),
            }
        }
        stock.space = space;
    }

    /// Looks at what an earlier process left, and at the space. Before the first segment is made.
    pub(crate) fn open<D: Disk>(&self, segments: &Segments<D>) -> io::Result<()> {
        let Some(options) = self.options else { return Ok(()) };
        let (disk, dir) = (segments.disk(), segments.dir());
        let spare = find(disk, &dir.join(SPARE), |len| len == self.segment_bytes, true)?;
        let reserve = find(disk, &dir.join(RESERVE), |len| len >= options.reserve_bytes, false)?;
        let (free, total) = (disk.free_bytes(dir)?, disk.total_bytes(dir)?);
        self.update(|gauge| {
            *gauge = Gauge { free, total, spare, reserve, blocked: false };
            if options.reserve_bytes == 0 {
                gauge.reserve = Ahead::Ready;
            }
        });
        Ok(())
    }

    /// A fresh segment with room for `need` bytes behind its header, and its length; `first` are the first of them that are
    /// known. In this order: the spare; one of
    /// the usual length; with the room of the reserve; a smaller one. Out of space: none of them.
    pub(crate) fn fresh<D: Disk>(
        &self,
        segments: &Segments<D>,
        header: &SegmentHeader,
        first: &[&[u8]],
        need: u64,
    ) -> io::Result<(D::File, u64)> {
        let least = whole(SEGMENT_HEADER_LEN + need).max(SMALLEST);
        let mut len = self.segment_bytes.max(least);
        if len == self.segment_bytes
            && let Some(file) = self.take(segments, header, first)?
        {
            return Ok((file, len));
        }
        match segments.create(header, len, first) {
            Err(error) if is_out_of_space(&error) => self.release(segments)?,
            made => return made.map(|file| (file, len)),
        }
        loop {
            match segments.create(header, len, first) {
                Err(error) if is_out_of_space(&error) && len > least => len = whole(len / 2).max(least),
                made => return made.map(|file| (file, len)),
            }
        }
    }

    /// The spare, as the segment of `header`.
    fn take<D: Disk>(
        &self,
        segments: &Segments<D>,
        header: &SegmentHeader,
        first: &[&[u8]],
    ) -> io::Result<Option<D::File>> {
        if self.stock().gauge.spare != Ahead::Ready {
            return Ok(None);
        }
        let path = segments.dir().join(SPARE);
        let file = match segments.disk().open(&path) {
            // Somebody who looked for room removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.update(|gauge| gauge.spare = Ahead::Missing);
                return Ok(None);
            }
            opened => opened?,
        };
        let write = || {
            file.write_all_at(0, &[&header.encode()])?;
            file.sync_all()?;
            if first.is_empty() {
                return Ok(());
            }
            // Only now: without the header a power cut would leave a spare that looks unused, and is not.
            file.write_all_at(SEGMENT_HEADER_LEN, first)?;
            file.sync_all()
        };
        match write() {
            Ok(()) => segments.name(&path, header.number)?,
            // Overwriting needs room where a file system writes elsewhere.
            Err(error) if is_out_of_space(&error) => {
                segments.disk().remove_file(&path)?;
                self.update(|gauge| gauge.spare = Ahead::Denied);
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        // Only now: the supplier makes a file of the same name.
        self.update(|gauge| gauge.spare = Ahead::Missing);
        self.look.notify_one();
        Ok(Some(file))
    }

    /// Gives up the reserve, if there is one.
    fn release<D: Disk>(&self, segments: &Segments<D>) -> io::Result<()> {
        let reserve = segments.dir().join(RESERVE);
        let made = self.options.is_some_and(|options| options.reserve_bytes > 0);
        if made && segments.disk().exists(&reserve)? {
            tracing::error!("no space for the next segment: giving up the reserve");
            segments.disk().remove_file(&reserve)?;
            segments.disk().sync_dir(segments.dir())?;
            self.update(|gauge| gauge.reserve = Ahead::Denied);
        }
        Ok(())
    }

    /// The writer waits for room, or waits no more.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.update(|gauge| gauge.blocked = blocked);
    }

    /// Ends the supplier.
    pub(crate) fn end(&self) {
        self.stock().ended = true;
        self.look.notify_one();
    }

    /// Measures, and makes what is missing.
    fn refill<D: Disk>(&self, segments: &Segments<D>, options: SupplyOptions) -> io::Result<()> {
        let gauge = self.measure(segments);
        if gauge.blocked {
            return Ok(());
        }
        let low = self.marks(gauge.total).low;
        if gauge.spare != Ahead::Ready {
            let made = make(segments, SPARE, self.segment_bytes, gauge.free)?;
            self.update(|gauge| gauge.spare = made);
        }
        // One that was given up is not made again before there is room beside it.
        let beside = if gauge.reserve == Ahead::Denied { low } else { 0 };
        let gauge = self.measure(segments);
        if gauge.spare == Ahead::Ready && gauge.reserve != Ahead::Ready {
            let made = make(segments, RESERVE, options.reserve_bytes, gauge.free.saturating_sub(beside))?;
            self.update(|gauge| gauge.reserve = made);
            self.measure(segments);
        }
        Ok(())
    }

    fn measure<D: Disk>(&self, segments: &Segments<D>) -> Gauge {
        let (disk, dir) = (segments.disk(), segments.dir());
        match disk.free_bytes(dir).and_then(|free| Ok((free, disk.total_bytes(dir)?))) {
            Ok((free, total)) => self.update(|gauge| (gauge.free, gauge.total) = (free, total)),
            // Whoever has to write notices; until then the last figures hold.
            Err(error) => tracing::warn!(%error, dir = %dir.display(), "cannot ask for the free space"),
        }
        self.stock().gauge
    }
}

/// Runs the supplier until [`Supply::end`].
pub(crate) async fn run<W: World>(shared: Arc<Shared<W::Disk>>, ended: oneshot::Sender<()>) {
    let Shared { supply, segments, .. } = &*shared;
    while let Some(options) = supply.options.filter(|_| !supply.stock().ended) {
        let newest = shared.stats.lock().expect("nothing panics while it holds the statistics").segment;
        let looked = writable(segments, newest).and_then(|()| supply.refill(segments, options));
        if let Err(error) = looked {
            W::Tasks::halt(Halt::DiskFailed(format!("{}: {error}", segments.dir().display())));
            break;
        }
        let pause = async {
            if !look_passes::<W>().await {
                future::pending::<()>().await;
            }
        };
        <W::Tasks as AsyncRuntime>::select2(pin!(supply.look.notified()), pin!(pause)).await;
    }
    let _ = ended.send(());
}

/// Returns when [`LOOK`] has passed; false: when there is no runtime any more, which the thread that asks may outlive. So
/// the timer runs in a task, and not here.
pub(crate) async fn look_passes<W: World>() -> bool {
    W::Tasks::spawn(<W::Tasks as AsyncRuntime>::sleep(LOOK)).await.is_ok()
}

/// A file system that turned read-only refuses to open a file for writing: no byte has to be written to find out, and an
/// idle node finds out, too.
fn writable<D: Disk>(segments: &Segments<D>, newest: u64) -> io::Result<()> {
    match segments.disk().open(&segments.path(newest)) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Err(error),
        _ => Ok(()),
    }
}

/// Makes a file of zeros that has its name only when it is durable. `free` says whether it is worth trying.
fn make<D: Disk>(segments: &Segments<D>, name: &str, len: u64, free: u64) -> io::Result<Ahead> {
    if free < len {
        return Ok(Ahead::Denied);
    }
    let (disk, dir) = (segments.disk(), segments.dir());
    let (path, side) = (dir.join(name), dir.join(format!("{name}.new")));
    match segments.complete(&side, len, &[]) {
        Ok(_) => {}
        Err(error) if is_out_of_space(&error) => return Ok(Ahead::Denied),
        Err(error) => return Err(error),
    }
    disk.rename(&side, &path)?;
    disk.sync_dir(dir)?;
    Ok(Ahead::Ready)
}

/// Whether a file made ahead is there and fit for use; removed where it is not.
fn find<D: Disk>(disk: &D, path: &Path, fits: impl FnOnce(u64) -> bool, unused: bool) -> io::Result<Ahead> {
    if !disk.exists(path)? {
        return Ok(Ahead::Missing);
    }
    let file = disk.open_read(path)?;
    let mut begin = [0; SEGMENT_HEADER_LEN as usize];
    let len = file.len()?;
    let fit = fits(len)
        && (!unused
            || len >= SEGMENT_HEADER_LEN
                && file.read_exact_at(0, &mut begin).is_ok()
                && begin.iter().all(|byte| *byte == 0));
    if fit {
        return Ok(Ahead::Ready);
    }
    disk.remove_file(path)?;
    Ok(Ahead::Missing)
}

/// Whether a name in the folder of the segments is a file made ahead, or what a crash left of one.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".new").is_some_and(|name| name == SPARE || name == RESERVE)
}

fn whole(len: u64) -> u64 {
    len.next_multiple_of(SEGMENT_HEADER_LEN)
}
