//! Connections to the nodes that feed this one.
use super::WINDOW;
use crate::{
    config::NodeAddress,
    peer::{self, Directory, Outbox},
    topic::{NodeId, Offset, PartitionId},
    world::{Connection, Purpose, World},
};
use corduroy_proto::v1::{FeedBatch, FeedClose, FeedCredit, FeedOpen, peer_message::Body};
use futures::StreamExt as _;
use openraft_rt::{AsyncRuntime, Select2};
use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};

/// The lines to all other nodes, open or not.
pub(crate) struct Lines<W: World> {
    net: W::Net,
    directory: Arc<Directory<W>>,
    to: BTreeMap<NodeId, To>,
    stopped: AtomicBool,
}

/// The line to one node.
struct To {
    node: NodeAddress,
    /// Held while a connection is made, so that one is.
    line: tokio::sync::Mutex<Weak<Line>>,
}

/// An open connection. It closes with the last feed on it.
pub(super) struct Line {
    node: NodeId,
    outbox: Outbox,
    next: AtomicU64,
    /// `None`: the connection is gone.
    open: Mutex<Option<Open>>,
}

struct Open {
    feeds: BTreeMap<u64, mpsc::UnboundedSender<Fed>>,
    /// When this is gone, the task that receives ends, and with it the connection.
    _held: oneshot::Sender<()>,
}

/// What comes for one feed.
pub(super) enum Fed {
    Batches(Vec<FeedBatch>),
    /// Nothing more will.
    End(String),
}

impl<W: World> Lines<W> {
    pub(crate) fn new(net: W::Net, directory: Arc<Directory<W>>, nodes: &[NodeAddress]) -> Self {
        let others = nodes.iter().filter(|node| node.id != directory.me());
        let to = others.map(|node| (node.id, To { node: node.clone(), line: tokio::sync::Mutex::default() })).collect();
        Lines { net, directory, to, stopped: AtomicBool::new(false) }
    }

    /// Begins a feed of a partition at a node, from `offset` on. An error says, for people, why not.
    pub(super) async fn open(&self, node: NodeId, partition: PartitionId, offset: Offset) -> Result<Feed, String> {
        let to = self.to.get(&node).ok_or_else(|| format!("node {node} is not known"))?;
        let mut line = to.line.lock().await;
        let open = match line.upgrade().filter(|line| line.is_open()) {
            Some(open) => open,
            None => {
                let open = self.connect(&to.node).await?;
                *line = Arc::downgrade(&open);
                open
            }
        };
        drop(line);
        open.feed(partition, offset)
    }

    async fn connect(&self, to: &NodeAddress) -> Result<Arc<Line>, String> {
        if self.stopped.load(Ordering::Acquire) {
            return Err("this node stops".into());
        }
        let called = peer::call::<W>(&self.net, &self.directory, to, Purpose::Bulk).await;
        let (Connection { outgoing, mut incoming }, _) = called.map_err(|trouble| trouble.text)?;
        let (held, mut closed) = oneshot::channel();
        let line = Arc::new(Line {
            node: to.id,
            outbox: Outbox::start::<W>(outgoing, self.directory.clone()),
            next: AtomicU64::new(1),
            open: Mutex::new(Some(Open { feeds: BTreeMap::new(), _held: held })),
        });
        let (weak, directory, node) = (Arc::downgrade(&line), self.directory.clone(), to.id);
        drop(<W::Tasks as AsyncRuntime>::spawn(async move {
            loop {
                let packet = match <W::Tasks as AsyncRuntime>::select2(pin!(&mut closed), incoming.next()).await {
                    Select2::Second(Some(Ok(packet))) => packet,
                    Select2::First(_) | Select2::Second(_) => break,
                };
                directory.note(node, packet.confirmed);
                let Some(line) = weak.upgrade() else { break };
                packet.messages.into_iter().filter_map(|message| message.body).for_each(|body| line.take(body));
            }
            if let Some(line) = weak.upgrade() {
                line.close();
            }
        }));
        Ok(line)
    }

    /// Closes the lines for good.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for to in self.to.values() {
            // One that is being made finds out by itself.
            if let Some(line) = to.line.try_lock().ok().and_then(|line| line.upgrade()) {
                line.close();
            }
        }
    }
}

impl Line {
    /// Runs `change` on the feeds, unless the connection is gone.
    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<u64, mpsc::UnboundedSender<Fed>>) -> T) -> Option<T> {
        self.open.lock().expect("bookkeeping does not panic").as_mut().map(|open| change(&mut open.feeds))
    }

    fn is_open(&self) -> bool {
        self.with(|_| ()).is_some()
    }

    fn close(&self) {
        self.open.lock().expect("bookkeeping does not panic").take();
    }

    fn feed(self: Arc<Self>, partition: PartitionId, offset: Offset) -> Result<Feed, String> {
        let lost = || format!("the connection to node {} is lost", self.node);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, fed) = mpsc::unbounded_channel();
        self.with(|feeds| feeds.insert(id, sender)).ok_or_else(lost)?;
        let open = FeedOpen { feed: id, partition: partition.0, offset, credit: WINDOW };
        if !self.outbox.send(Body::FeedOpen(open)) {
            return Err(lost());
        }
        Ok(Feed { line: self, id, fed })
    }

    fn take(&self, body: Body) {
        match body {
            Body::FeedBatches(batches) => {
                let feed = self.with(|feeds| feeds.get(&batches.feed).cloned()).flatten();
                if let Some(feed) = feed {
                    feed.send(Fed::Batches(batches.batches)).ok();
                }
            }
            Body::FeedEnd(end) => {
                if let Some(feed) = self.with(|feeds| feeds.remove(&end.feed)).flatten() {
                    feed.send(Fed::End(end.why)).ok();
                }
            }
            other => tracing::warn!(peer = self.node, ?other, "peer sent what does not belong on a line"),
        }
    }
}

/// A feed. Dropping it ends it at both ends.
pub(super) struct Feed {
    line: Arc<Line>,
    id: u64,
    fed: mpsc::UnboundedReceiver<Fed>,
}

impl Feed {
    pub(super) fn node(&self) -> NodeId {
        self.line.node
    }

    /// What comes next. `None`: the connection is lost.
    pub(super) async fn next(&mut self) -> Option<Fed> {
        self.fed.recv().await
    }

    /// So much more may come.
    pub(super) fn grant(&self, bytes: u64) {
        // That the connection is lost shows in what comes.
        self.line.outbox.send(Body::FeedCredit(FeedCredit { feed: self.id, bytes }));
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if self.line.with(|feeds| feeds.remove(&self.id)).flatten().is_some() {
            self.line.outbox.send(Body::FeedClose(FeedClose { feed: self.id }));
        }
    }
}
