//! The side that feeds: one task per feed, which reads what it has credit for.
use super::MESSAGE;
use crate::{
    cluster::Hosted,
    partition::{Partition, PlacedBatch},
    peer::Directory,
    topic::PartitionId,
    world::World,
};
use corduroy_proto::v1::{
    FeedBatch, FeedBatches, FeedClose, FeedCredit, FeedEnd, FeedOpen, Packet, PeerMessage, peer_message::Body,
};
use futures::StreamExt as _;
use openraft_rt::{AsyncRuntime, Select2};
use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex},
};
use tokio::sync::mpsc;

/// Feeds of one connection.
const FEEDS: usize = 4096;
/// Batches in one message.
const BATCHES: usize = 1024;

/// A packet with one message is within the limit of those who decode it.
const _: () = assert!(BATCHES < corduroy_proto::packet::ELEMENTS);

/// The feeds of one connection. Dropping it ends them.
pub(crate) struct Feeder<W: World> {
    hosted: Arc<Hosted<W>>,
    wire: Wire<W>,
    /// How to tell each of more credit.
    feeds: Arc<Mutex<BTreeMap<u64, mpsc::UnboundedSender<u64>>>>,
}

/// The way back. Waits for the connection, not in memory.
struct Wire<W: World> {
    outgoing: mpsc::Sender<Packet>,
    directory: Arc<Directory<W>>,
}

impl<W: World> Clone for Wire<W> {
    fn clone(&self) -> Self {
        Wire { outgoing: self.outgoing.clone(), directory: self.directory.clone() }
    }
}

impl<W: World> Wire<W> {
    /// `false`: the connection is gone.
    async fn send(&self, body: Body) -> bool {
        let confirmed = self.directory.confirmed();
        self.outgoing.send(Packet { messages: vec![PeerMessage { body: Some(body) }], confirmed }).await.is_ok()
    }
}

impl<W: World> Feeder<W> {
    pub(crate) fn new(hosted: Arc<Hosted<W>>, directory: Arc<Directory<W>>, outgoing: mpsc::Sender<Packet>) -> Self {
        Feeder { hosted, wire: Wire { outgoing, directory }, feeds: Arc::default() }
    }

    fn feeds(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, mpsc::UnboundedSender<u64>>> {
        self.feeds.lock().expect("bookkeeping does not panic")
    }

    /// Begins to feed, if there is something to feed from.
    pub(crate) fn open(&self, open: &FeedOpen) {
        let (credits, granted) = mpsc::unbounded_channel();
        let from = self.source(open).and_then(|partition| {
            let mut feeds = self.feeds();
            if feeds.len() >= FEEDS || feeds.contains_key(&open.feed) {
                return Err(format!("busy: {} feeds are open on this connection", feeds.len()));
            }
            feeds.insert(open.feed, credits);
            Ok(partition)
        });
        let (wire, feeds) = (self.wire.clone(), self.feeds.clone());
        let (feed, offset, mut credit) = (open.feed, open.offset, Credit::default());
        credit.grant(open.credit);
        drop(<W::Tasks as AsyncRuntime>::spawn(async move {
            let why = match from {
                Ok(partition) => {
                    let fed = Feed { feed, wire: wire.clone(), granted, credit }.run(partition, offset).await;
                    feeds.lock().expect("bookkeeping does not panic").remove(&feed);
                    fed
                }
                Err(why) => Some(why),
            };
            if let Some(why) = why {
                wire.send(Body::FeedEnd(FeedEnd { feed, why })).await;
            }
        }));
    }

    /// The replica here, as far as it goes.
    fn source(&self, open: &FeedOpen) -> Result<Partition<W>, String> {
        let id = PartitionId(open.partition);
        let partition = self.hosted.partition(id).ok_or_else(|| format!("partition {id} is not running here"))?;
        let end = partition.evolved_offset();
        if open.offset > end {
            return Err(format!("{} ends at offset {end} here", partition.name()));
        }
        Ok(partition)
    }

    pub(crate) fn grant(&self, credit: &FeedCredit) {
        // A feed that has ended needs none.
        if let Some(feed) = self.feeds().get(&credit.feed) {
            feed.send(credit.bytes).ok();
        }
    }

    pub(crate) fn close(&self, close: &FeedClose) {
        self.feeds().remove(&close.feed);
    }
}

impl<W: World> Drop for Feeder<W> {
    fn drop(&mut self) {
        self.feeds().clear();
    }
}

/// One feed.
struct Feed<W: World> {
    feed: u64,
    wire: Wire<W>,
    granted: mpsc::UnboundedReceiver<u64>,
    credit: Credit,
}

/// Bytes that may still be sent. What is sent is sent whole, and may be more than that: then it is owed.
#[derive(Debug, Default)]
struct Credit(i64);

impl Credit {
    fn grant(&mut self, bytes: u64) {
        self.0 = self.0.saturating_add_unsigned(bytes);
    }

    fn spend(&mut self, bytes: u64) {
        self.0 = self.0.saturating_sub_unsigned(bytes);
    }

    fn is_spent(&self) -> bool {
        self.0 <= 0
    }
}

/// What comes next.
enum Next {
    Batches(Vec<PlacedBatch>),
    /// For this reason; `None`: the subscriber knows.
    End(Option<String>),
}

impl<W: World> Feed<W> {
    /// Feeds until nobody wants any more, or there will not be any: then says why.
    async fn run(mut self, partition: Partition<W>, offset: u64) -> Option<String> {
        let mut batches = partition.subscribe_batches(offset, MESSAGE);
        drop(partition);
        loop {
            if !self.has_credit().await {
                return None;
            }
            let next = loop {
                let granted = pin!(self.granted.recv());
                match <W::Tasks as AsyncRuntime>::select2(granted, batches.next()).await {
                    Select2::First(Some(bytes)) => self.credit.grant(bytes),
                    Select2::First(None) => break Next::End(None),
                    Select2::Second(Some(Ok(batches))) => break Next::Batches(batches),
                    Select2::Second(Some(Err(error))) => break Next::End(Some(error.to_string())),
                    Select2::Second(None) => break Next::End(Some("the partition has ended here".into())),
                }
            };
            match next {
                Next::Batches(batches) => {
                    if !self.send(batches).await {
                        return None;
                    }
                }
                Next::End(why) => return why,
            }
        }
    }

    /// Waits for credit. `false`: none will come.
    async fn has_credit(&mut self) -> bool {
        while self.credit.is_spent() {
            match self.granted.recv().await {
                Some(bytes) => self.credit.grant(bytes),
                None => return false,
            }
        }
        true
    }

    /// `false`: the connection is gone.
    async fn send(&mut self, batches: Vec<PlacedBatch>) -> bool {
        self.credit.spend(super::cost(&batches));
        let mut batches = batches.into_iter().map(to_wire).peekable();
        while batches.peek().is_some() {
            let message = FeedBatches { feed: self.feed, batches: batches.by_ref().take(BATCHES).collect() };
            if !self.wire.send(Body::FeedBatches(message)).await {
                return false;
            }
        }
        true
    }
}

fn to_wire(placed: PlacedBatch) -> FeedBatch {
    FeedBatch { base: placed.base, payload: placed.batch.bytes().clone(), crc: placed.batch.crc() }
}
