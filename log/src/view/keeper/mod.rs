//! The one task that has a view's store: opens it, verifies it, feeds it, reads it, gives it up and makes another.
//!
//! ```text
//!              ┌──────────────── anything wrong with the store ────────────────┐
//!              ▼                                                               │
//!   New ─▶ Waiting ─▶ Building (NAME.7.new) ─▶ closed, renamed ─▶ Verifying ─▶ Following (NAME.7)
//!    └──────────────────────── there is one ──────────────────────────▲
//! ```
//!
//! It works in small steps, and looks at what it is asked between two of them.
mod follow;
mod stores;

use super::{
    View, ViewReader,
    feed::{Progress, Source},
    scan::{Positions, Scan},
    status::{Board, Slot},
};
use crate::{
    raft,
    topic::{Offset, PartitionId},
    wal::Wal,
    world::{StoreError, ViewStore as _, Views, World},
};
use openraft_rt::{AsyncRuntime, Instant as _};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// How often it is looked whether there is something new.
const TICK: Duration = Duration::from_millis(250);
/// The same, while somebody waits to read it.
const SOON: Duration = Duration::from_millis(2);

type InstantOf<W> = <<W as World>::Tasks as AsyncRuntime>::Instant;
type StoreOf<W> = <<W as World>::Views as Views>::Store;

/// Something that is to be read.
pub(super) trait Reading: Send {
    /// Nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// Reads and answers. An error is the store's.
    fn run(self: Box<Self>, reader: &ViewReader<'_>) -> Result<(), StoreError>;
}

/// Says which partitions are no more.
pub(super) type IsGone = Arc<dyn Fn(PartitionId) -> bool + Send + Sync>;

/// What a keeper is asked.
pub(super) enum Request<W: World> {
    /// Follow this partition.
    Attach(Source<W>),
    /// It has stopped.
    Detach(PartitionId),
    /// Remove what these have left.
    Forget(IsGone),
    /// To be done when the view has everything of the partition below the offset.
    Read { partition: PartitionId, upto: Offset, reading: Box<dyn Reading> },
    /// Come to an end.
    Close(oneshot::Sender<()>),
}

/// Where a partition is.
enum Stage<W: World> {
    /// Not looked at yet.
    Unknown,
    /// The view has more than has evolved.
    Early { since: InstantOf<W> },
    /// Everything up to there is in the store.
    At(Progress),
    /// It cannot be taken further; tried again then, or never. What it has below `built` may be read.
    Stuck { until: Option<InstantOf<W>>, built: Option<Offset> },
}

struct Served<W: World> {
    source: Source<W>,
    stage: Stage<W>,
}

enum Phase<W: World> {
    New,
    /// A new store is made then.
    Waiting {
        until: InstantOf<W>,
    },
    Verifying {
        store: StoreOf<W>,
        scan: Scan,
    },
    Building {
        store: StoreOf<W>,
    },
    Following {
        store: StoreOf<W>,
        since: InstantOf<W>,
    },
}

/// What to do next.
enum Next {
    More,
    Idle(Duration),
}

/// See the module.
pub(super) struct Keeper<W: World> {
    view: Arc<dyn View>,
    views: W::Views,
    /// Where stores are.
    dir: PathBuf,
    cache_bytes: u64,
    wal: Wal<W>,
    /// The data directory is: that there is no store is in order.
    is_new: bool,
    board: Arc<Board>,
    phase: Phase<W>,
    /// Of the last store, and its path.
    generation: u64,
    path: PathBuf,
    /// What the store has.
    held: Positions,
    served: BTreeMap<PartitionId, Served<W>>,
    /// The partition that was taken from last.
    turn: PartitionId,
    reads: Vec<(PartitionId, Offset, Box<dyn Reading>)>,
    is_gone: Option<IsGone>,
    doomed: BTreeSet<PartitionId>,
    /// Stores that were given up one after the other.
    failures: u32,
    /// When something was applied that was not flushed yet.
    dirty: Option<InstantOf<W>>,
}

fn now<W: World>() -> InstantOf<W> {
    <W::Tasks as AsyncRuntime>::Instant::now()
}

impl<W: World> Keeper<W> {
    pub(super) fn new(
        view: Arc<dyn View>,
        views: W::Views,
        dir: PathBuf,
        cache_bytes: u64,
        wal: Wal<W>,
        is_new: bool,
        board: Arc<Board>,
    ) -> Self {
        Keeper {
            view,
            views,
            dir,
            cache_bytes,
            wal,
            is_new,
            board,
            phase: Phase::New,
            generation: 0,
            path: PathBuf::new(),
            held: Positions::new(),
            served: BTreeMap::new(),
            turn: PartitionId::default(),
            reads: Vec::new(),
            is_gone: None,
            doomed: BTreeSet::new(),
            failures: 0,
            dirty: None,
        }
    }

    /// Works until it is closed or nobody is left to ask.
    pub(super) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request<W>>) {
        loop {
            loop {
                match requests.try_recv() {
                    Ok(Request::Close(done)) => return self.close(done),
                    Ok(request) => self.handle(request),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return,
                }
            }
            let began = now::<W>();
            let next = self.step();
            self.answer();
            let pause = match next {
                // What nobody waits for leaves the machine to others for as long as it took.
                Next::More if self.reads.is_empty() => began.elapsed(),
                Next::More => Duration::ZERO,
                Next::Idle(pause) => pause,
            };
            if pause.is_zero() {
                raft::pass_turn().await;
                continue;
            }
            match <W::Tasks as AsyncRuntime>::timeout(pause, requests.recv()).await {
                Ok(Some(Request::Close(done))) => return self.close(done),
                Ok(Some(request)) => self.handle(request),
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    fn close(self, done: oneshot::Sender<()>) {
        let closed = match self.phase {
            Phase::Following { store, .. } | Phase::Building { store } | Phase::Verifying { store, .. } => {
                store.close()
            }
            Phase::New | Phase::Waiting { .. } => Ok(()),
        };
        if let Err(error) = closed {
            tracing::warn!(view = self.view.name(), %error, "the view was not closed; the next start verifies it");
        }
        let _ = done.send(());
    }

    fn handle(&mut self, request: Request<W>) {
        match request {
            Request::Attach(source) => {
                let (name, evolved) = (source.name.clone(), source.evolved.clone());
                let slot = Slot { name, evolved, built: 0, trouble: None, stuck: false };
                self.board.write().slots.insert(source.id, slot);
                self.doomed.remove(&source.id);
                self.served.insert(source.id, Served { source, stage: Stage::Unknown });
            }
            Request::Detach(partition) => {
                self.board.write().slots.remove(&partition);
                self.served.remove(&partition);
            }
            Request::Forget(is_gone) => {
                self.is_gone = Some(is_gone);
                self.doom();
            }
            Request::Read { partition, upto, reading } => self.reads.push((partition, upto, reading)),
            Request::Close(done) => drop(done.send(())),
        }
    }

    /// Finds what the store has of partitions that are no more.
    fn doom(&mut self) {
        if let Some(is_gone) = &self.is_gone {
            let gone = self.held.keys().filter(|id| is_gone(**id) && !self.served.contains_key(id));
            self.doomed.extend(gone);
        }
    }

    fn step(&mut self) -> Next {
        match &self.phase {
            Phase::New => {
                self.begin();
                Next::More
            }
            Phase::Waiting { until } => match until.saturating_duration_since(now::<W>()) {
                Duration::ZERO => {
                    self.create();
                    Next::More
                }
                pause => Next::Idle(pause.min(TICK)),
            },
            Phase::Verifying { .. } => {
                self.verify();
                Next::More
            }
            Phase::Building { .. } | Phase::Following { .. } => self.follow(),
        }
    }

    /// Answers the reads that the view has come far enough for.
    fn answer(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let mut failed = None;
        for (partition, upto, reading) in std::mem::take(&mut self.reads) {
            if reading.is_abandoned() || !self.served.contains_key(&partition) {
                continue;
            }
            let built = match self.served.get(&partition).map(|served| &served.stage) {
                Some(Stage::At(progress)) => progress.built(),
                Some(Stage::Stuck { built, .. }) => *built,
                _ => None,
            };
            match self.store().filter(|_| failed.is_none() && built.is_some_and(|built| built >= upto)) {
                Some(store) => failed = reading.run(&ViewReader::new(store, partition)).err(),
                None => self.reads.push((partition, upto, reading)),
            }
        }
        if let Some(error) = failed {
            self.condemn_for(&error);
        }
    }
}
