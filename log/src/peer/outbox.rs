//! Packs waiting messages into packets. Each packet says what this node has on disk by then.
use super::handshake::Directory;
use crate::world::World;
use corduroy_proto::v1::{Packet, PeerMessage, peer_message::Body};
use openraft_rt::AsyncRuntime;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A packet is closed once it holds this much: enough to amortise what a packet costs, little enough that votes and acks
/// behind it do not wait long.
const PACKET_BYTES: usize = 256 << 10;

/// Where messages for one connection wait. Clones share the queue; the connection's writer ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<Body>,
}

impl Outbox {
    /// Starts the writer of a connection.
    pub(crate) fn start<W: World>(connection: mpsc::Sender<Packet>, directory: Arc<Directory<W>>) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        drop(<W::Tasks as AsyncRuntime>::spawn(write(waiting, connection, directory)));
        Outbox { queue }
    }

    /// Queues a message. `false`: the connection is gone.
    pub(crate) fn send(&self, message: Body) -> bool {
        self.queue.send(message).is_ok()
    }
}

async fn write<W: World>(
    mut waiting: mpsc::UnboundedReceiver<Body>,
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
    }
}

/// About what the message takes on the wire.
fn size(message: &Body) -> usize {
    const SMALL: usize = 64;
    match message {
        Body::Append(append) => append.entries.iter().map(|entry| entry.payload.len() + SMALL).sum::<usize>() + SMALL,
        _ => SMALL,
    }
}
