//! Connections between nodes: one gRPC call of `corduroy.v1.Peer/Exchange`, on an HTTP/2 connection of its own.
//!
//! ```text
//!     connect ── TCP, HTTP/2, Exchange ──────────▶ listen
//!        outgoing ─▶ [64 packets] ─▶ request body ─▶ incoming
//!        incoming ◀─ response body ◀─ [64 packets] ◀─ outgoing
//! ```
//!
//! A connection of its own for each call means that windows, keepalive and congestion of one purpose do not touch
//! another. HTTP/2 pings notice a silent peer after [`KEEPALIVE`] + [`KEEPALIVE_TIMEOUT`]. Nothing is compressed.
use crate::world::{Connection, Net, NetError, Purpose};
use corduroy_proto::v1::{
    Packet,
    peer_client::PeerClient,
    peer_server::{Peer, PeerServer},
};
use futures::{Stream, StreamExt as _, stream, stream::BoxStream};
use std::{error::Error, io, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Endpoint, Server},
};

/// Packets queued towards the other side before `outgoing` makes its sender wait.
const OUTGOING_PACKETS: usize = 64;
/// Accepted connections nobody has taken yet; more are refused.
const ACCEPTED_CONNECTIONS: usize = 64;
/// Bound on the TCP connect and, again, on the first answer to the call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a side asks whether the other is still there.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// How long it waits for the answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest HTTP/2 frame: large enough that a packed packet is one frame.
const FRAME_BYTES: u32 = 256 << 10;
/// Flow-control window of the call.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// Flow-control window of the connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Largest packet that is decoded; a batch is at most a quarter of it.
const PACKET_BYTES: usize = 16 << 20;
/// Pause after the system refused to accept a connection (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// TCP with gRPC on it. Addresses are `host:port`; IPv6 hosts stand in brackets.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealNet;

impl Net for RealNet {
    async fn connect(&self, address: &str, purpose: Purpose) -> Result<Connection, NetError> {
        let unreachable = |error: &(dyn Error + 'static)| {
            let what = format!("{address}: {}", chain(error));
            if is_refused(error) { NetError::Refused(what) } else { NetError::Unreachable(what) }
        };
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| unreachable(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .connect()
            .await
            .map_err(|error| unreachable(&error))?;
        let mut client =
            PeerClient::new(channel).max_decoding_message_size(PACKET_BYTES).max_encoding_message_size(PACKET_BYTES);

        let (outgoing, packets) = mpsc::channel(OUTGOING_PACKETS);
        let call = client.exchange(ReceiverStream::new(packets));
        let answer = tokio::time::timeout(CONNECT_TIMEOUT, call)
            .await
            .map_err(|_| NetError::Unreachable(format!("{address}: no answer within {CONNECT_TIMEOUT:?}")))?
            .map_err(|status| NetError::Unreachable(format!("{address}: {}", describe(&status))))?;
        tracing::debug!(address, ?purpose, "connected to a peer");

        // The client keeps the HTTP/2 connection; it lives exactly as long as the stream of answers.
        let answers = received(answer.into_inner());
        let incoming = stream::unfold((answers, client), |(mut answers, client)| async move {
            Some((answers.next().await?, (answers, client)))
        });
        Ok(Connection { outgoing, incoming: incoming.fuse().boxed() })
    }

    async fn listen(&self, address: &str) -> io::Result<mpsc::Receiver<Connection>> {
        let listener = TcpListener::bind(address).await?;
        let (accepted, connections) = mpsc::channel(ACCEPTED_CONNECTIONS);
        let service = PeerServer::new(Acceptor { accepted: accepted.clone() })
            .max_decoding_message_size(PACKET_BYTES)
            .max_encoding_message_size(PACKET_BYTES);
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_concurrent_streams(1)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(service);
        tokio::spawn(async move {
            let nobody_takes_connections = async move { accepted.closed().await };
            let served = server.serve_with_incoming_shutdown(accept(listener), nobody_takes_connections).await;
            if let Err(error) = served {
                tracing::error!(error = %chain(&error), "the server for peers ended");
            }
        });
        Ok(connections)
    }
}

/// TCP connections, for as long as the process can take any: a lack of file descriptors passes.
fn accept(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a peer left before it was accepted");
                        continue;
                    }
                    return Some((Ok(stream), listener));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of a peer");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// Turns each call into a connection.
struct Acceptor {
    accepted: mpsc::Sender<Connection>,
}

#[tonic::async_trait]
impl Peer for Acceptor {
    type ExchangeStream = BoxStream<'static, Result<Packet, Status>>;

    async fn exchange(&self, request: Request<Streaming<Packet>>) -> Result<Response<Self::ExchangeStream>, Status> {
        let (outgoing, packets) = mpsc::channel(OUTGOING_PACKETS);
        let connection = Connection { outgoing, incoming: received(request.into_inner()) };
        self.accepted.try_send(connection).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Status::resource_exhausted("too many new connections"),
            mpsc::error::TrySendError::Closed(_) => Status::unavailable("shutting down"),
        })?;
        Ok(Response::new(ReceiverStream::new(packets).map(Ok).boxed()))
    }
}

/// The packets of one direction, and at most one error at their end.
fn received(packets: Streaming<Packet>) -> BoxStream<'static, Result<Packet, NetError>> {
    let lost = |status: Status| NetError::Lost(describe(&status));
    stream::unfold(Some(packets), move |packets| async move {
        let mut packets = packets?;
        match packets.message().await {
            Ok(Some(packet)) => Some((Ok(packet), Some(packets))),
            Ok(None) => None,
            Err(status) => Some((Err(lost(status)), None)),
        }
    })
    .fuse()
    .boxed()
}

/// What a status says, with the cause below it where there is one.
fn describe(status: &Status) -> String {
    match status.source() {
        Some(cause) => format!("{}: {}", status.message(), chain(cause)),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

/// Whether the system at the other end said that nobody listens.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::ConnectionRefused) || error.source().is_some_and(is_refused)
}

/// An error and its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
