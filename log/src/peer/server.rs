//! The called side of a connection: greets, then does what the peer asks of this node's partitions.
use super::{
    handshake::{Directory, Rejected},
    link::first_message,
    outbox::Outbox,
};
use crate::{
    cluster::Hosted,
    raft::{self, TypeConfig},
    topic::{NodeId, PartitionId},
    world::{Connection, World},
};
use corduroy_proto::v1::{
    self as pb, AppendAck, AppendBatch, Packet, PeerMessage, PeerRequest, PeerResponse, append_ack::Outcome,
    peer_message::Body, peer_request, peer_response,
};
use futures::{FutureExt, StreamExt, stream};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult, VoteRequest};
use openraft_rt::AsyncRuntime;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Bound on the caller's greeting.
const GREETING: Duration = Duration::from_secs(3);

/// Serves one accepted connection until it is lost.
pub(crate) async fn serve<W: World>(connection: Connection, directory: Arc<Directory<W>>, hosted: Arc<Hosted<W>>) {
    let Connection { outgoing, mut incoming } = connection;
    let greeting = <W::Tasks as AsyncRuntime>::timeout(GREETING, incoming.next()).await;
    let Ok(Ok(Body::Hello(hello))) = greeting.map(first_message) else {
        tracing::warn!("a connection to the peer port did not begin with a greeting");
        return;
    };
    let (answer, peer) = match directory.check_hello(&hello).await {
        Ok(peer) => (Body::Welcome(directory.welcome()), Some(peer)),
        Err(Rejected::Refused(refused)) => {
            tracing::warn!(peer = hello.from, detail = %refused.detail, "refused a peer");
            (Body::Refused(refused), None)
        }
        Err(Rejected::Disk(_)) => return,
    };
    let sent = outgoing.send(Packet { messages: vec![PeerMessage { body: Some(answer) }], confirmed: 0 }).await;
    let (Ok(()), Some(peer)) = (sent, peer) else { return };
    let answers = Answers { outbox: Outbox::start::<W>(outgoing, directory.clone()) };
    let mut caller = Caller { peer, answers, streams: BTreeMap::new(), hosted };
    while let Some(Ok(packet)) = incoming.next().await {
        directory.note(peer, packet.confirmed);
        packet.messages.into_iter().filter_map(|message| message.body).for_each(|body| caller.take(body));
    }
}

/// One connected caller.
struct Caller<W: World> {
    peer: NodeId,
    answers: Answers,
    streams: BTreeMap<u64, mpsc::UnboundedSender<AppendEntriesRequest<TypeConfig<W>>>>,
    hosted: Arc<Hosted<W>>,
}

impl<W: World> Caller<W> {
    fn take(&mut self, body: Body) {
        match body {
            Body::AppendOpen(open) => self.open(open.stream, PartitionId(open.partition)),
            Body::Append(append) => self.append(append),
            Body::AppendClose(close) => drop(self.streams.remove(&close.stream)),
            Body::Request(request) => {
                let answer = answer(self.hosted.clone(), request, self.answers.clone());
                drop(<W::Tasks as AsyncRuntime>::spawn(answer));
            }
            other => tracing::warn!(peer = self.peer, ?other, "peer sent what only a called node may"),
        }
    }

    fn open(&mut self, stream: u64, partition: PartitionId) {
        let Some(raft) = self.hosted.raft(partition) else {
            self.answers.fail(stream, format!("partition {partition} is not running here"));
            return;
        };
        let (sender, appends) = mpsc::unbounded_channel();
        self.streams.insert(stream, sender);
        let appends =
            stream::unfold(appends, |mut appends| async move { appends.recv().await.map(|append| (append, appends)) });
        let results = raft.stream_append(appends);
        let answers = self.answers.clone();
        drop(<W::Tasks as AsyncRuntime>::spawn(async move {
            let results = results.map(|result| result.map_err(|fatal| fatal.to_string()));
            acknowledge::<W>(stream, results.fuse().boxed(), answers).await;
        }));
    }

    fn append(&mut self, append: AppendBatch) {
        let stream = append.stream;
        // Closed already, by an error this caller is about to hear of.
        let Some(sender) = self.streams.get(&stream) else { return };
        match raft::to_append_request::<W>(append) {
            Ok(request) => {
                if sender.send(request).is_err() {
                    self.streams.remove(&stream);
                }
            }
            Err(error) => {
                tracing::error!(peer = self.peer, %error, "refused an append");
                self.answers.fail(stream, error.to_string());
                self.streams.remove(&stream);
            }
        }
    }
}

/// Where the answers of a connection go.
#[derive(Clone)]
struct Answers {
    outbox: Outbox,
}

impl Answers {
    /// `false`: the connection is gone.
    fn acknowledge(&self, stream: u64, answered: u64, outcome: Outcome) -> bool {
        self.outbox.send(Body::AppendAck(AppendAck { stream, answered, outcome: Some(outcome) }))
    }

    fn fail(&self, stream: u64, why: String) {
        self.acknowledge(stream, 0, Outcome::Failed(why));
    }

    fn respond(&self, id: u64, body: peer_response::Body) {
        self.outbox.send(Body::Response(PeerResponse { id, body: Some(body) }));
    }
}

type Results<W> = futures::stream::BoxStream<'static, Result<StreamAppendResult<TypeConfig<W>>, String>>;

/// Sends the answers of one stream: of a run of successes that are ready together, only the last.
async fn acknowledge<W: World>(stream: u64, mut results: Results<W>, answers: Answers) {
    let mut answered = 0;
    while let Some(mut latest) = results.next().await {
        answered += 1;
        while let Ok(Ok(_)) = latest {
            let Some(Some(following)) = results.next().now_or_never() else { break };
            answered += 1;
            latest = following;
        }
        if !answers.acknowledge(stream, answered, outcome::<W>(latest)) {
            return;
        }
    }
}

fn outcome<W: World>(result: Result<StreamAppendResult<TypeConfig<W>>, String>) -> Outcome {
    let log_id = |id| raft::log_id_to_wire(raft::from_log_id::<W>(id));
    match result {
        Ok(Ok(matched)) => Outcome::Matched(pb::Matched { log_id: matched.as_ref().map(log_id) }),
        Ok(Err(StreamAppendError::Conflict(conflict))) => Outcome::Conflict(log_id(&conflict)),
        Ok(Err(StreamAppendError::HigherVote(vote))) => {
            Outcome::HigherVote(raft::vote_to_wire(raft::from_vote::<W>(&vote)))
        }
        Err(fatal) => Outcome::Failed(fatal),
    }
}

/// Does one request and queues its answer.
async fn answer<W: World>(hosted: Arc<Hosted<W>>, request: PeerRequest, answers: Answers) {
    let partition = PartitionId(request.partition);
    let body = match request.body {
        Some(body) => match perform(&hosted, partition, body).await {
            Ok(body) => body,
            Err(why) => peer_response::Body::Unavailable(why),
        },
        None => peer_response::Body::Unavailable("a request of a kind this node does not know".into()),
    };
    answers.respond(request.id, body);
}

async fn perform<W: World>(
    hosted: &Hosted<W>,
    partition: PartitionId,
    body: peer_request::Body,
) -> Result<peer_response::Body, String> {
    let missing = || format!("partition {partition} is not running here");
    let raft = hosted.raft(partition).ok_or_else(missing)?;
    match body {
        peer_request::Body::Vote(request) => {
            let answer = raft.vote(vote_request(&request)).await.map_err(|error| error.to_string())?;
            Ok(peer_response::Body::Vote(vote_response::<W>(&answer)))
        }
        peer_request::Body::PreVote(request) => {
            let answer = raft.pre_vote(vote_request(&request)).await.map_err(|error| error.to_string())?;
            Ok(peer_response::Body::PreVote(vote_response::<W>(&answer)))
        }
        peer_request::Body::Append(append) => {
            let request = raft::to_append_request::<W>(append).map_err(|error| error.to_string())?;
            let mut results = std::pin::pin!(raft.stream_append(stream::iter([request])));
            let result = results.next().await.ok_or_else(missing)?.map_err(|fatal| fatal.to_string());
            let outcome = Some(outcome::<W>(result));
            Ok(peer_response::Body::Append(AppendAck { answered: 1, outcome, ..AppendAck::default() }))
        }
        peer_request::Body::ReadIndex(_) => {
            let partition = hosted.partition(partition).ok_or_else(missing)?;
            Ok(peer_response::Body::ReadIndex(partition.answer_read_index().await))
        }
        peer_request::Body::Propose(proposal) => {
            let partition = hosted.partition(partition).ok_or_else(missing)?;
            Ok(peer_response::Body::Propose(partition.answer_proposal(proposal.event).await))
        }
    }
}

fn vote_request<W: World>(request: &pb::VoteRequest) -> VoteRequest<TypeConfig<W>> {
    let last = request.last_log_id.as_ref().map(|id| raft::to_log_id::<W>(raft::log_id_from_wire(id)));
    VoteRequest::new(raft::to_vote::<W>(raft::vote_from_wire(request.vote.as_ref())), last)
}

fn vote_response<W: World>(response: &openraft::raft::VoteResponse<TypeConfig<W>>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(raft::vote_to_wire(raft::from_vote::<W>(&response.vote))),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(|id| raft::log_id_to_wire(raft::from_log_id::<W>(id))),
    }
}
