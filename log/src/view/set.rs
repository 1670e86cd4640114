//! The views of a node.
use super::{
    View, ViewReader, ViewStatus,
    feed::Source,
    keeper::{IsGone, Keeper, Reading, Request},
    status::Board,
};
use crate::{
    error::LogError,
    topic::{Offset, PartitionId},
    wal::Wal,
    world::{StoreError, Tasks, World},
};
use openraft_rt::AsyncRuntime;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Reads of a view that may wait at the same time.
const READS: usize = 1024;
/// What a clean stop may spend on closing a view: the next start verifies it anyway.
const FAREWELL: Duration = Duration::from_secs(2);

struct Kept<W: World> {
    view: Arc<dyn View>,
    /// Unbounded: what is asked beside reads is as much as there are partitions, and nobody who opens one may wait for a
    /// store that hangs.
    requests: mpsc::UnboundedSender<Request<W>>,
    board: Arc<Board>,
    reads: Arc<AtomicUsize>,
}

/// All views of a node. Clones are the same ones.
pub(crate) struct ViewSet<W: World> {
    kept: Arc<Vec<Kept<W>>>,
}

impl<W: World> Clone for ViewSet<W> {
    fn clone(&self) -> Self {
        ViewSet { kept: self.kept.clone() }
    }
}

impl<W: World> fmt::Debug for ViewSet<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.kept.iter().map(|kept| kept.view.name())).finish()
    }
}

impl<W: World> ViewSet<W> {
    /// Starts to keep views in the folder `views` of a data directory, which the caller has locked. `is_new`: the directory
    /// was made a moment ago.
    pub(crate) fn start(
        views: Vec<Arc<dyn View>>,
        stores: &W::Views,
        data_dir: &Path,
        cache_bytes: u64,
        wal: &Wal<W>,
        is_new: bool,
    ) -> Self {
        let keep = |view: Arc<dyn View>| {
            let (requests, queue) = mpsc::unbounded_channel();
            let board = Arc::new(Board::default());
            let dir = data_dir.join("views");
            let keeper =
                Keeper::<W>::new(view.clone(), stores.clone(), dir, cache_bytes, wal.clone(), is_new, board.clone());
            W::Tasks::spawn_dedicated(&format!("view-{}", view.name()), keeper.run(queue));
            Kept { view, requests, board, reads: Arc::default() }
        };
        ViewSet { kept: Arc::new(views.into_iter().map(keep).collect()) }
    }

    /// A keeper that is gone was closed.
    fn tell(kept: &Kept<W>, request: Request<W>) {
        let _ = kept.requests.send(request);
    }

    /// Lets the views that are about it follow a partition.
    pub(crate) fn attach(&self, source: &Source<W>) {
        for kept in self.kept.iter().filter(|kept| is_about(&*kept.view, source)) {
            Self::tell(kept, Request::Attach(source.clone()));
        }
    }

    /// The partition has stopped.
    pub(crate) fn detach(&self, partition: PartitionId) {
        self.kept.iter().for_each(|kept| Self::tell(kept, Request::Detach(partition)));
    }

    /// Removes, in the background, what views have of partitions that are no more.
    pub(crate) fn forget(&self, is_gone: impl Fn(PartitionId) -> bool + Send + Sync + 'static) {
        let is_gone: IsGone = Arc::new(is_gone);
        self.kept.iter().for_each(|kept| Self::tell(kept, Request::Forget(is_gone.clone())));
    }

    /// How each view is.
    pub(crate) fn status(&self) -> Vec<ViewStatus> {
        self.kept.iter().map(|kept| kept.board.status(kept.view.name())).collect()
    }

    /// Comes to an end, as far as the stores let it.
    pub(crate) async fn close(&self) {
        for kept in self.kept.iter() {
            let (done, closed) = oneshot::channel();
            Self::tell(kept, Request::Close(done));
            if <W::Tasks as AsyncRuntime>::timeout(FAREWELL, closed).await.is_err() {
                tracing::warn!(view = kept.view.name(), "a view does not close");
            }
        }
    }

    /// Reads what a view has of a partition, once that is everything below `upto`.
    ///
    /// # Errors
    /// [`LogError::Invalid`] where there is no such view; [`LogError::Unavailable`], with how far it is: at once where the view is
    /// being opened or built anew and has not come so far, as that may take a while; else when it does not in time.
    pub(crate) async fn read<T, F>(
        &self,
        view: &str,
        source: &Source<W>,
        upto: Offset,
        timeout: Duration,
        read: F,
    ) -> Result<T, LogError>
    where
        T: Send + 'static,
        F: Fn(&ViewReader<'_>) -> Result<T, StoreError> + Clone + Send + Sync + 'static,
    {
        let kept = self.kept.iter().find(|kept| kept.view.name() == view && is_about(&*kept.view, source));
        let kept =
            kept.ok_or_else(|| LogError::Invalid(format!("this node keeps no view {view:?} of {}", source.name)))?;
        let _turn = Turn::take(&kept.reads).ok_or_else(|| {
            LogError::Unavailable(format!("{}: {READS} reads of the view {view:?} wait already", source.name))
        })?;
        if !kept.board.is_close(source.id, upto) {
            return Err(LogError::Unavailable(Self::behind(kept, source, upto)));
        }
        let asked = async {
            loop {
                let (answer, answered) = oneshot::channel();
                let reading = Box::new(Ask { read: read.clone(), answer });
                Self::tell(kept, Request::Read { partition: source.id, upto, reading });
                match answered.await {
                    Ok(Ok(found)) => return Ok(found),
                    // It is built anew, and this one may be worth waiting for.
                    Ok(Err(_)) if kept.board.is_close(source.id, upto) => {}
                    Ok(Err(_)) => return Err(LogError::Unavailable(Self::behind(kept, source, upto))),
                    Err(_) => return Err(LogError::Stopped(format!("{} has stopped", source.name))),
                }
            }
        };
        match <W::Tasks as AsyncRuntime>::timeout(timeout, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(LogError::Unavailable(Self::behind(kept, source, upto))),
        }
    }

    fn behind(kept: &Kept<W>, source: &Source<W>, upto: Offset) -> String {
        let status = kept.board.status(kept.view.name());
        let progress = status.partitions.iter().find(|progress| progress.partition == source.name);
        let built = progress.map_or(0, |progress| progress.built);
        let paused = status.paused.then(|| "it stands still, as the disk has little room".to_owned());
        let trouble = paused.or_else(|| progress.and_then(|progress| progress.trouble.clone())).or(status.last);
        let why = trouble.map_or_else(String::new, |why| format!(" ({why})"));
        let (name, view, state) = (&source.name, status.name, status.state);
        format!("{name}: the view {view:?} is {state} and has {built} of the {upto} records this read must see{why}")
    }
}

/// Whether a view is about a partition.
fn is_about<W: World>(view: &dyn View, source: &Source<W>) -> bool {
    view.wants(&source.topic) && (!view.is_of_states() || source.state.is_some())
}

/// A read that is counted while it lasts.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(reads: &Arc<AtomicUsize>) -> Option<Self> {
        let turn = Turn(reads.clone());
        (reads.fetch_add(1, Ordering::Relaxed) < READS).then_some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Ask<T, F> {
    read: F,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F> Reading for Ask<T, F>
where
    F: Fn(&ViewReader<'_>) -> Result<T, StoreError> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(self: Box<Self>, reader: &ViewReader<'_>) -> Result<(), StoreError> {
        // The reader's own code must not end the keeper; whoever asked hears that there is no answer.
        let Ok(found) = catch_unwind(AssertUnwindSafe(|| (self.read)(reader))) else { return Ok(()) };
        let failed = found.as_ref().err().cloned();
        let _ = self.answer.send(found);
        failed.map_or(Ok(()), Err)
    }
}
