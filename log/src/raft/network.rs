//! openraft's network over the links to peers.
use super::{
    convert::{
        append_to_wire, from_log_id, from_vote, heartbeat_to_wire, log_id_from_wire, log_id_to_wire, to_log_id,
        to_vote, transfer_to_wire, vote_from_wire, vote_to_wire,
    },
    types::TypeConfig,
    window::Window,
};
use crate::{
    health::Vitals,
    peer::{AppendStream, Link, PeerError, Peers, append_size},
    topic::{NodeId, PartitionId},
    world::World,
};
use bytes::Bytes;
use corduroy_proto::v1::{self as pb, append_ack::Outcome, peer_request, peer_response};
use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use openraft::{
    AnyError, RaftNetworkFactory, RaftNetworkV2,
    alias::{SnapshotOf, VoteOf},
    error::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    impls::EmptyNode,
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
        TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// Pause between attempts to replicate to a peer that cannot be reached. An attempt without connection costs a look.
const RETRY: Duration = Duration::from_millis(100);

/// Makes the clients of one partition's group.
pub(crate) struct Network<W: World> {
    partition: PartitionId,
    /// The nodes that hold it.
    replicas: Arc<[NodeId]>,
    peers: Arc<Peers<W>>,
    vitals: Arc<Vitals<W>>,
}

impl<W: World> Network<W> {
    pub(crate) fn new(
        partition: PartitionId,
        replicas: &[NodeId],
        peers: Arc<Peers<W>>,
        vitals: Arc<Vitals<W>>,
    ) -> Self {
        Network { partition, replicas: replicas.into(), peers, vitals }
    }

    fn client(&self, target: NodeId, beats: bool) -> PeerClient<W> {
        PeerClient {
            target,
            partition: self.partition,
            replicas: self.replicas.clone(),
            link: self.peers.link(target).cloned(),
            bulk: self.peers.bulk(target).cloned(),
            vitals: self.vitals.clone(),
            beats,
        }
    }
}

impl<W: World> RaftNetworkFactory<TypeConfig<W>> for Network<W> {
    type Network = PeerClient<W>;

    async fn new_client(&mut self, target: NodeId, _: &EmptyNode) -> PeerClient<W> {
        self.client(target, false)
    }

    /// Heartbeats go with those of other groups: a stream would be opened and closed around every one.
    async fn new_heartbeat_client(&mut self, target: NodeId, _: &EmptyNode) -> PeerClient<W> {
        self.client(target, true)
    }
}

/// Speaks for one partition to one peer.
pub(crate) struct PeerClient<W: World> {
    target: NodeId,
    partition: PartitionId,
    replicas: Arc<[NodeId]>,
    link: Option<Arc<Link<W>>>,
    /// For entries.
    bulk: Option<Arc<Link<W>>>,
    vitals: Arc<Vitals<W>>,
    /// It sends heartbeats and nothing else.
    beats: bool,
}

type Rpc<W, T> = Result<T, RPCError<TypeConfig<W>>>;
type AppendResults<'s, W> = BoxStream<'s, Rpc<W, StreamAppendResult<TypeConfig<W>>>>;

fn unreachable<W: World>(error: &PeerError) -> RPCError<TypeConfig<W>> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl<W: World> PeerClient<W> {
    /// A replication stream, where there is a connection.
    fn open_append(&self) -> Option<AppendStream> {
        self.bulk.as_ref()?.session()?.open_append(self.partition)
    }

    async fn request(&self, body: peer_request::Body, deadline: Duration) -> Rpc<W, peer_response::Body> {
        let link = self.link.as_ref().ok_or_else(|| unreachable(&PeerError::NotConnected(self.target)))?;
        link.request(self.partition, body, deadline).await.map_err(|error| unreachable(&error))
    }

    /// A node whose disk does not answer must not look alive (R25): heartbeats and entries stop, votes go on.
    fn check_silent(&self) -> Rpc<W, ()> {
        if self.vitals.is_silent(&self.replicas) {
            return Err(unreachable(&PeerError::Silent(self.target)));
        }
        Ok(())
    }

    /// Sends a heartbeat. Its deadline is its sender's: that one goes on without an answer.
    async fn beat(&self, request: AppendEntriesRequest<TypeConfig<W>>) -> Rpc<W, StreamAppendResult<TypeConfig<W>>> {
        self.check_silent()?;
        let target = self.target;
        let session = self.link.as_ref().and_then(|link| link.session());
        let session = session.ok_or_else(|| unreachable(&PeerError::NotConnected(target)))?;
        let pending = session.beat(heartbeat_to_wire::<W>(self.partition, &request));
        let pending = pending.ok_or_else(|| unreachable(&PeerError::NotConnected(target)))?;
        let ack = pending.answer().await.ok_or_else(|| unreachable(&PeerError::Lost(target)))?;
        append_result(target, ack.outcome)
    }

    async fn vote_one(&self, body: peer_request::Body, deadline: Duration) -> Rpc<W, VoteResponse<TypeConfig<W>>> {
        let (peer_response::Body::Vote(answer) | peer_response::Body::PreVote(answer)) =
            self.request(body, deadline).await?
        else {
            return Err(unreachable(&PeerError::Confused(self.target)));
        };
        let last = answer.last_log_id.as_ref().map(|id| to_log_id::<W>(log_id_from_wire(id)));
        Ok(VoteResponse::new(to_vote::<W>(vote_from_wire(answer.vote.as_ref())), last, answer.granted))
    }
}

fn append_result<W: World>(target: NodeId, outcome: Option<Outcome>) -> Rpc<W, StreamAppendResult<TypeConfig<W>>> {
    match outcome {
        Some(Outcome::Matched(matched)) => {
            Ok(Ok(matched.log_id.as_ref().map(|id| to_log_id::<W>(log_id_from_wire(id)))))
        }
        Some(Outcome::Conflict(id)) => Ok(Err(StreamAppendError::Conflict(to_log_id::<W>(log_id_from_wire(&id))))),
        Some(Outcome::HigherVote(vote)) => {
            Ok(Err(StreamAppendError::HigherVote(to_vote::<W>(vote_from_wire(Some(&vote))))))
        }
        Some(Outcome::Failed(why)) => Err(unreachable(&PeerError::Unavailable(target, why))),
        None => Err(unreachable(&PeerError::Confused(target))),
    }
}

fn vote_to_request<W: World>(request: &VoteRequest<TypeConfig<W>>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to_wire(from_vote::<W>(&request.vote))),
        last_log_id: request.last_log_id.as_ref().map(|id| log_id_to_wire(from_log_id::<W>(id))),
        leadership_transfer: request.leadership_transfer,
    }
}

impl<W: World> RaftNetworkV2<TypeConfig<W>> for PeerClient<W> {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig<W>>,
        option: RPCOption,
    ) -> Rpc<W, AppendEntriesResponse<TypeConfig<W>>> {
        let (last, target) = (request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id), self.target);
        let mut answers = self.stream_append(stream::iter([request]), option).await?;
        let answer = answers.next().await.unwrap_or_else(|| Err(unreachable(&PeerError::Confused(target))));
        Ok(match answer? {
            Ok(matched) if matched == last => AppendEntriesResponse::Success,
            Ok(matched) => AppendEntriesResponse::PartialSuccess(matched),
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(&'s mut self, mut input: S, _: RPCOption) -> BoxFuture<'s, Rpc<W, AppendResults<'s, W>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig<W>>> + Send + Unpin + 'static,
    {
        async move {
            if self.beats {
                let this = &*self;
                return Ok(input.then(move |request| this.beat(request)).boxed());
            }
            if let Some(appends) = self.open_append() {
                return Ok(pump(self, input, appends));
            }
            // openraft paces its retries inside the input stream: an error before the first poll of it would make the
            // caller spin. When the input has something, the connection may be back.
            let this = &*self;
            let late = stream::once(async move {
                let Some(first) = input.next().await else { return stream::empty().boxed() };
                match this.open_append() {
                    Some(appends) => pump(this, stream::iter([first]).chain(input), appends),
                    None => stream::iter([Err(unreachable(&PeerError::NotConnected(this.target)))]).boxed(),
                }
            });
            Ok(late.flatten().boxed())
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig<W>>,
        option: RPCOption,
    ) -> Rpc<W, VoteResponse<TypeConfig<W>>> {
        self.vote_one(peer_request::Body::Vote(vote_to_request::<W>(&request)), option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig<W>>,
        option: RPCOption,
    ) -> Rpc<W, VoteResponse<TypeConfig<W>>> {
        self.vote_one(peer_request::Body::PreVote(vote_to_request::<W>(&request)), option.hard_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig<W>>,
        option: RPCOption,
    ) -> Rpc<W, TransferLeaderResponse<TypeConfig<W>>> {
        let refused =
            TransferLeaderError::VoteChanged { expected: *request.from_leader(), actual: *request.from_leader() };
        let body = peer_request::Body::Transfer(transfer_to_wire::<W>(&request));
        match self.request(body, option.hard_ttl()).await? {
            peer_response::Body::Transfer(answer) if answer.accepted => Ok(Ok(())),
            peer_response::Body::Transfer(answer) => {
                tracing::debug!(partition = %self.partition, target = self.target, why = %answer.refused, "a lead was not taken");
                Ok(Err(refused))
            }
            _ => Err(unreachable(&PeerError::Confused(self.target))),
        }
    }

    /// A peer that is back should not wait for its log: the pause between attempts does not grow.
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY)))
    }

    /// Nothing is ever purged, so nobody needs a snapshot: openraft asking for one is a fault to be seen.
    async fn full_snapshot(
        &mut self,
        _: VoteOf<TypeConfig<W>>,
        _: SnapshotOf<TypeConfig<W>, Bytes>,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig<W>>, StreamingError<TypeConfig<W>>> {
        let text = format!(
            "partition {}: a snapshot for node {} was asked for, but no log is ever purged",
            self.partition, self.target
        );
        Err(StreamingError::Unreachable(Unreachable::new(&AnyError::error(text))))
    }
}

/// The answers to what `input` asks for.
fn pump<W: World, S>(client: &PeerClient<W>, input: S, appends: AppendStream) -> AppendResults<'_, W>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig<W>>> + Send + Unpin + 'static,
{
    let pump = Pump { client, input: Some(input), appends, window: Window::default(), failed: false };
    let answers = stream::unfold(pump, async |mut pump| {
        let item = std::future::poll_fn(|cx| pump.poll(cx)).await?;
        Some((item, pump))
    });
    answers.boxed()
}

/// Feeds one replication stream and takes its acks, in one task.
struct Pump<'c, W: World, S> {
    client: &'c PeerClient<W>,
    input: Option<S>,
    appends: AppendStream,
    window: Window,
    failed: bool,
}

impl<W: World, S> Pump<'_, W, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig<W>>> + Unpin,
{
    /// The next ack. Sends whatever openraft has to send meanwhile, up to the window.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Rpc<W, StreamAppendResult<TypeConfig<W>>>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        loop {
            let progress = match self.poll_send(cx) {
                Ok(progress) => progress,
                Err(silent) => {
                    self.failed = true;
                    return Poll::Ready(Some(Err(silent)));
                }
            };
            if self.input.is_none() && self.window.is_empty() {
                return Poll::Ready(None);
            }
            match self.appends.poll_ack(cx) {
                Poll::Ready(Some(ack)) => {
                    let result = match self.window.answered(ack.answered) {
                        true => append_result(self.client.target, ack.outcome),
                        false => Err(unreachable(&PeerError::Confused(self.client.target))),
                    };
                    self.failed = !matches!(result, Ok(Ok(_)));
                    return Poll::Ready(Some(result));
                }
                Poll::Ready(None) => {
                    self.failed = true;
                    return Poll::Ready(Some(Err(unreachable(&PeerError::Lost(self.client.target)))));
                }
                Poll::Pending if progress => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends one append if there is one, and room for it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Rpc<W, bool> {
        if self.window.is_full() || self.appends.poll_room(cx).is_pending() {
            return Ok(false);
        }
        let Some(input) = &mut self.input else { return Ok(false) };
        match input.poll_next_unpin(cx) {
            Poll::Ready(Some(request)) => {
                // Only now: openraft paces its attempts inside the input.
                self.client.check_silent()?;
                let append = append_to_wire::<W>(self.appends.id(), &request);
                self.window.sent(append_size(&append));
                // A lost connection shows as the end of the acks.
                Ok(self.appends.send(append))
            }
            Poll::Ready(None) => {
                self.input = None;
                Ok(true)
            }
            Poll::Pending => Ok(false),
        }
    }
}
