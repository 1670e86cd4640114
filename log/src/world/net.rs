//! Connections between nodes, at the level of packets.
use corduroy_proto::v1::Packet;
use futures::stream::BoxStream;
use std::{fmt, future::Future, io};
use tokio::sync::mpsc;

/// What a connection is for. Purposes have connections of their own, so that entries never stand in front of votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Votes, heartbeats, read indexes, and whatever else is small.
    Consensus,
    /// Entries, and the acks of those who got them.
    Bulk,
    /// Calls of what is built on the log.
    Calls,
}

/// Why a connection could not be made or ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NetError {
    /// The machine is there and nobody listens: the process that did is gone, or has not come yet.
    #[error("refused: {0}")]
    Refused(String),
    /// No answer, or none that makes sense. It says nothing about the process there.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The connection was there and is gone.
    #[error("connection lost: {0}")]
    Lost(String),
}

/// A bidirectional, ordered stream of packets. Dropping it closes it.
///
/// **Contract.** Packets of one direction arrive in order, without gap or repeat, until the connection is lost; then
/// `incoming` yields one error or ends, and sends fail. Nothing says how many sent packets arrived before the loss. A
/// connection may stop delivering without ever failing: callers have deadlines of their own. A packet that
/// [`packet::decode`](corduroy_proto::packet::decode) refuses does not arrive: `incoming` ends with an error in its place.
pub struct Connection {
    /// Packets to the other side. Bounded: a full channel is back pressure.
    pub outgoing: mpsc::Sender<Packet>,
    /// Packets from the other side.
    pub incoming: BoxStream<'static, Result<Packet, NetError>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// How a node reaches others and is reached.
pub trait Net: Clone + fmt::Debug + Send + Sync + 'static {
    /// Opens a connection to the node listening at `address` (host:port in the real world).
    ///
    /// **Contract.** The error is [`NetError::Refused`] if the machine at the address says that nobody listens, and never
    /// otherwise: not where the listener is busy or stands still, nor where nothing answers.
    fn connect(&self, address: &str, purpose: Purpose) -> impl Future<Output = Result<Connection, NetError>> + Send;
    /// Starts to listen at `address`; accepted connections come out of the channel until it is dropped.
    fn listen(&self, address: &str) -> impl Future<Output = io::Result<mpsc::Receiver<Connection>>> + Send;
}
