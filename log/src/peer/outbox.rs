//! Packs waiting messages into packets. Each packet says what this node has on disk by then.
//!
//! Entries wait for room before they are queued ([`Outbox::poll_room`]), so that a slow connection holds up replication
//! and not memory. Everything else is small and few: one request per vote, heartbeat, read or proposal, one ack per append.
use super::handshake::Directory;
use crate::{raft::APPEND_ENTRIES, world::World};
use corduroy_proto::{
    packet,
    v1::{AppendBatch, Packet, PeerMessage, peer_message::Body},
};
use openraft_rt::AsyncRuntime;
use std::{
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};
use tokio::sync::mpsc;

/// A packet is closed once it holds this much: enough to amortise what a packet costs, little enough that votes and acks
/// behind it do not wait long.
const PACKET_BYTES: usize = 256 << 10;
/// Entries are queued while less than this waits on a connection.
const ROOM_BYTES: usize = 8 << 20;

/// About what surrounds a payload.
const SMALL: usize = 64;

/// Elements in one message at most, where it is a list: of heartbeats, of ends of logs.
pub(crate) const LISTED: usize = 1024;

/// Every packet is within the limit of those who decode it: it was not full before its last message, of each `SMALL` bytes
/// at most two elements are counted (a message, and the append in it, or one it lists), and the last may be as long as any.
const _: () = assert!(2 * (PACKET_BYTES / SMALL + 1) + APPEND_ENTRIES <= packet::ELEMENTS);
const _: () = assert!(2 * (PACKET_BYTES / SMALL + 1) + LISTED < packet::ELEMENTS);

/// Where messages for one connection wait. Clones share the queue; the connection's writer ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<Body>,
    load: Arc<Load>,
}

/// What waits.
#[derive(Debug, Default)]
struct Load(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    /// Of those who wait for room.
    wakers: Vec<Waker>,
}

impl Load {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().expect("a sum does not panic")
    }

    fn sent(&self, bytes: usize) {
        let wakers = {
            let mut waiting = self.lock();
            waiting.bytes -= bytes;
            if waiting.bytes < ROOM_BYTES { std::mem::take(&mut waiting.wakers) } else { Vec::new() }
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Outbox {
    /// Starts the writer of a connection.
    pub(crate) fn start<W: World>(connection: mpsc::Sender<Packet>, directory: Arc<Directory<W>>) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        let load = Arc::new(Load::default());
        drop(<W::Tasks as AsyncRuntime>::spawn(write(waiting, load.clone(), connection, directory)));
        Outbox { queue, load }
    }

    /// Queues a message. `false`: the connection is gone.
    pub(crate) fn send(&self, message: Body) -> bool {
        self.load.lock().bytes += size(&message);
        self.queue.send(message).is_ok()
    }

    /// Ready when there is room for entries. Whoever waits must also wait for the end of the connection.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.load.lock();
        if waiting.bytes < ROOM_BYTES {
            return Poll::Ready(());
        }
        if !waiting.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

async fn write<W: World>(
    mut waiting: mpsc::UnboundedReceiver<Body>,
    load: Arc<Load>,
    connection: mpsc::Sender<Packet>,
    directory: Arc<Directory<W>>,
) {
    while let Some(first) = waiting.recv().await {
        let mut bytes = size(&first);
        let mut messages = vec![PeerMessage { body: Some(first) }];
        while bytes < PACKET_BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += size(&next);
            messages.push(PeerMessage { body: Some(next) });
        }
        // Read last: it covers everything the messages rest on.
        let confirmed = directory.confirmed();
        if connection.send(Packet { messages, confirmed }).await.is_err() {
            return;
        }
        load.sent(bytes);
    }
}

/// About what the message takes on the wire.
fn size(message: &Body) -> usize {
    let list = |len: usize| SMALL * (1 + len);
    match message {
        Body::Append(append) => append_size(append),
        Body::Heartbeats(heartbeats) => list(heartbeats.beats.len()),
        Body::HeartbeatAcks(answers) => list(answers.acks.len()),
        Body::Gone(gone) => list(gone.processes.len() + gone.logs.len()),
        _ => SMALL,
    }
}

/// About what an append takes on the wire and in memory.
pub(crate) fn append_size(append: &AppendBatch) -> usize {
    append.entries.iter().map(|entry| entry.payload.len() + SMALL).sum::<usize>() + SMALL
}
