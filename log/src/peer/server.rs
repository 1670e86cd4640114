//! The called side of a connection: greets, then does what the peer asks of this node's partitions.
use super::{
    handshake::{Directory, Rejected},
    link::{Peers, first_message},
    outbox::{LISTED, Outbox, append_size},
};
use crate::{
    calls::Calls,
    cluster::Hosted,
    feed::{self, Feeder},
    health::{Budget, Condition, Processes, Share, Vitals},
    partition::Partition,
    raft::{self, TypeConfig},
    topic::{NodeId, PartitionId},
    wal::Space,
    world::{Connection, Timestamp, World},
};
use corduroy_proto::v1::{
    self as pb, AppendAck, AppendBatch, Heartbeat, HeartbeatAck, HeartbeatAcks, Heartbeats, Packet, PeerMessage,
    PeerRequest, PeerResponse, append_ack::Outcome, peer_message::Body, peer_request, peer_response,
};
use futures::{
    FutureExt, StreamExt,
    stream::{self, FuturesUnordered},
};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult, VoteRequest};
use openraft_rt::AsyncRuntime;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::mpsc;

/// Bound on the caller's greeting.
const GREETING: Duration = Duration::from_secs(3);

/// Requests and heartbeats of one caller under way at a time.
const REQUESTS: u64 = 4096;
/// Appends of one stream that may be unanswered: the caller's window and a little.
const UNANSWERED: usize = 128;

/// What every connection is served with.
pub(crate) struct Serving<W: World> {
    pub directory: Arc<Directory<W>>,
    pub hosted: Arc<Hosted<W>>,
    pub vitals: Arc<Vitals<W>>,
    pub processes: Arc<Processes<W>>,
    pub peers: Arc<Peers<W>>,
    /// Bytes of entries received and not yet on disk, over all connections.
    pub received: Arc<Budget>,
    /// What answers calls.
    pub calls: Calls,
}

/// Serves one accepted connection until it is lost.
pub(crate) async fn serve<W: World>(connection: Connection, serving: Arc<Serving<W>>) {
    let directory = &serving.directory;
    let Connection { outgoing, mut incoming } = connection;
    let greeting = <W::Tasks as AsyncRuntime>::timeout(GREETING, incoming.next()).await;
    let Ok(Ok(Body::Hello(hello))) = greeting.map(first_message) else {
        tracing::warn!("a connection to the peer port did not begin with a greeting");
        return;
    };
    let run = hello.greeting.as_ref().map_or(0, |greeting| greeting.run);
    let (answer, peer) = match directory.check_hello(&hello).await {
        Ok(peer) => (Body::Welcome(directory.greeting()), Some(peer)),
        Err(Rejected::Refused(refused)) => {
            let peer = hello.greeting.map(|greeting| greeting.node);
            tracing::warn!(peer, detail = %refused.detail, "refused a peer");
            (Body::Refused(refused), None)
        }
        Err(Rejected::Disk(_)) => return,
    };
    let sent = outgoing.send(Packet { messages: vec![PeerMessage { body: Some(answer) }], confirmed: 0 }).await;
    let (Ok(()), Some(peer)) = (sent, peer) else { return };
    serving.processes.called(peer, run);
    serving.peers.called(peer);
    let feeder = Feeder::new(serving.hosted.clone(), directory.clone(), outgoing.clone());
    let answers = Answers { outbox: Outbox::start::<W>(outgoing, directory.clone()) };
    let requests = Budget::new(REQUESTS);
    let mut caller = Caller { peer, answers, streams: BTreeMap::new(), feeder, requests, serving: serving.clone() };
    while let Some(Ok(packet)) = incoming.next().await {
        directory.note(peer, packet.confirmed);
        packet.messages.into_iter().filter_map(|message| message.body).for_each(|body| caller.take(body));
    }
}

/// One connected caller.
struct Caller<W: World> {
    peer: NodeId,
    answers: Answers,
    streams: BTreeMap<u64, Incoming<W>>,
    feeder: Feeder<W>,
    /// One for each request under way.
    requests: Arc<Budget>,
    serving: Arc<Serving<W>>,
}

/// One replication stream.
struct Incoming<W: World> {
    appends: mpsc::UnboundedSender<AppendEntriesRequest<TypeConfig<W>>>,
    unanswered: Unanswered,
}

/// Shares of the budget of what was received, in the order of the appends, until they are answered.
type Unanswered = Arc<Mutex<VecDeque<Share>>>;

impl<W: World> Caller<W> {
    fn take(&mut self, body: Body) {
        match body {
            Body::AppendOpen(open) => self.open(open.stream, PartitionId(open.partition)),
            Body::Append(append) => self.append(append),
            Body::AppendClose(close) => drop(self.streams.remove(&close.stream)),
            Body::Request(request) => self.request(request),
            Body::FeedOpen(open) => self.feeder.open(&open),
            Body::FeedCredit(credit) => self.feeder.grant(&credit),
            Body::FeedClose(close) => self.feeder.close(&close),
            Body::Heartbeats(heartbeats) => self.heartbeats(heartbeats),
            Body::Condition(condition) => self.condition(&condition),
            Body::Clock(reading) => self.serving.vitals.heard_clock(self.peer, Timestamp(reading.time)),
            Body::Gone(gone) => self.serving.processes.heard(self.peer, &gone),
            other => tracing::warn!(peer = self.peer, ?other, "peer sent what only a called node may"),
        }
    }

    /// A peer that says how it is has opened partitions, or its disk is another than before: what waits for it is tried again.
    fn condition(&self, condition: &pb::NodeCondition) {
        self.serving.vitals.heard(self.peer, condition_of(condition));
        for partition in self.serving.hosted.all() {
            partition.replicate_now(self.peer);
        }
    }

    fn open(&mut self, stream: u64, partition: PartitionId) {
        let Some(partition) = self.serving.hosted.partition(partition) else {
            self.answers.fail(stream, format!("partition {partition} is not running here"));
            return;
        };
        let (sender, appends) = mpsc::unbounded_channel();
        let unanswered = Unanswered::default();
        self.streams.insert(stream, Incoming { appends: sender, unanswered: unanswered.clone() });
        let appends =
            stream::unfold(appends, |mut appends| async move { appends.recv().await.map(|append| (append, appends)) });
        let results = partition.raft().stream_append(appends);
        let answers = self.answers.clone();
        drop(<W::Tasks as AsyncRuntime>::spawn(async move {
            let results = results.map(move |result| {
                unanswered.lock().expect("a queue of shares").pop_front();
                if let Ok(Ok(_) | Err(StreamAppendError::Conflict(_))) = result {
                    partition.hear();
                }
                result.map_err(|fatal| fatal.to_string())
            });
            acknowledge::<W>(stream, results.fuse().boxed(), answers).await;
        }));
    }

    fn append(&mut self, append: AppendBatch) {
        let stream = append.stream;
        // Closed already, by an error this caller is about to hear of.
        let Some(incoming) = self.streams.get(&stream) else { return };
        let unanswered = incoming.unanswered.lock().expect("a queue of shares").len();
        let admitted =
            if unanswered < UNANSWERED { self.admit(&append) } else { Err(format!("{unanswered} appends unanswered")) };
        let taken = match admitted {
            Ok(share) => raft::to_append_request::<W>(append).map(|request| (share, request)).map_err(|damage| {
                tracing::warn!(peer = self.peer, %damage, "refused an append");
                damage.to_string()
            }),
            Err(why) => {
                // The leader tries again ten times a second, and it may be this very disk that has no room for lines.
                tracing::debug!(peer = self.peer, why, "no room for an append");
                Err(why)
            }
        };
        let follows = match taken {
            Ok((share, request)) => {
                incoming.unanswered.lock().expect("a queue of shares").push_back(share);
                incoming.appends.send(request).is_ok()
            }
            Err(why) => {
                self.answers.fail(stream, why);
                false
            }
        };
        if !follows {
            self.streams.remove(&stream);
        }
    }

    /// Room in memory for an append until it is on disk, and room on the disk for what it carries. The leader tries again
    /// after a pause.
    fn admit(&self, append: &AppendBatch) -> Result<Share, String> {
        let Serving { received, vitals, .. } = &*self.serving;
        let bytes = append_size(append) as u64;
        let records = append.entries.iter().any(|entry| entry.kind() == pb::EntryKind::Batch);
        if records && !vitals.takes_entries(received.used() + bytes) {
            return Err("this node's disk is full".into());
        }
        received
            .take(bytes)
            .map_err(|used| format!("busy: {used} bytes are not on disk yet, the bound is {}", received.limit()))
    }

    fn request(&self, request: PeerRequest) {
        match self.requests.take(1) {
            Ok(place) => {
                let answer = answer(self.serving.clone(), request, self.answers.clone());
                drop(<W::Tasks as AsyncRuntime>::spawn(async move {
                    answer.await;
                    drop(place);
                }));
            }
            Err(used) => {
                let why = format!("busy: {used} requests are under way");
                self.answers.respond(request.id, peer_response::Body::Unavailable(why));
            }
        }
    }

    /// Gives each group its heartbeat. Nobody is told of those there is no room for: they are late by their own deadline.
    fn heartbeats(&self, Heartbeats { id, beats }: Heartbeats) {
        let Ok(places) = self.requests.take(beats.len() as u64) else {
            tracing::debug!(peer = self.peer, "no room for heartbeats");
            return;
        };
        let hosted = self.serving.hosted.clone();
        let acks: FuturesUnordered<_> = beats.into_iter().map(|beat| take_beat(hosted.clone(), beat)).collect();
        let answers = self.answers.clone();
        drop(<W::Tasks as AsyncRuntime>::spawn(async move {
            // Those that are ready together go together; one that waits for its disk holds up nobody.
            let mut acks = acks.ready_chunks(LISTED);
            while let Some(acks) = acks.next().await {
                answers.outbox.send(Body::HeartbeatAcks(HeartbeatAcks { id, acks }));
            }
            drop(places);
        }));
    }
}

fn condition_of(condition: &pb::NodeCondition) -> Condition {
    let space = match condition.space() {
        pb::DiskSpace::Plenty => Space::Plenty,
        pb::DiskSpace::Low => Space::Low,
        pb::DiskSpace::Full => Space::Full,
    };
    Condition { space, slow: condition.slow, leaving: condition.leaving, clock_wrong: condition.clock_wrong }
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

/// Gives a group its heartbeat.
async fn take_beat<W: World>(hosted: Arc<Hosted<W>>, beat: Heartbeat) -> HeartbeatAck {
    let id = PartitionId(beat.partition);
    let outcome = match hosted.partition(id) {
        Some(partition) => beat_outcome(&partition, raft::heartbeat_request::<W>(&beat)).await,
        None => Outcome::Failed(format!("partition {id} is not running here")),
    };
    HeartbeatAck { partition: id.0, ack: Some(AppendAck { outcome: Some(outcome), ..AppendAck::default() }) }
}

async fn beat_outcome<W: World>(partition: &Partition<W>, request: AppendEntriesRequest<TypeConfig<W>>) -> Outcome {
    let prev = request.prev_log_id;
    let result = match partition.raft().append_entries(request).await {
        Ok(AppendEntriesResponse::Success) => Ok(Ok(prev)),
        Ok(AppendEntriesResponse::PartialSuccess(matched)) => Ok(Ok(matched)),
        // What is not there is known by whoever asked for it; without it there is nothing to conflict with.
        Ok(AppendEntriesResponse::Conflict) => {
            prev.map_or(Ok(Ok(None)), |prev| Ok(Err(StreamAppendError::Conflict(prev))))
        }
        Ok(AppendEntriesResponse::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(vote))),
        Err(error) => Err(error.to_string()),
    };
    if let Ok(Ok(_) | Err(StreamAppendError::Conflict(_))) = &result {
        partition.hear();
    }
    outcome::<W>(result)
}

/// Does one request and queues its answer.
async fn answer<W: World>(serving: Arc<Serving<W>>, request: PeerRequest, answers: Answers) {
    let partition = PartitionId(request.partition);
    let body = match request.body {
        Some(peer_request::Body::Call(call)) => match serving.calls.answer(call).await {
            Ok(answer) => peer_response::Body::Answer(answer),
            Err(why) => peer_response::Body::Unavailable(why),
        },
        // Whoever asked does not know yet how this node is.
        Some(peer_request::Body::Transfer(transfer))
            if transfer.to == serving.directory.me() && !serving.vitals.trusts_clock() =>
        {
            let refused = String::from("the clock of this node is far from the others'");
            peer_response::Body::Transfer(pb::LeaderTransferred { accepted: false, refused })
        }
        Some(body) => match perform(&serving.hosted, partition, body).await {
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
    let partition = hosted.partition(partition).ok_or_else(missing)?;
    let raft = partition.raft();
    match body {
        peer_request::Body::Vote(request) => {
            // On a caller's word alone no lease is passed over (R26).
            let transfer = request.leadership_transfer && partition.saw_transfer(request.vote.as_ref());
            let request = VoteRequest { leadership_transfer: transfer, ..vote_request(&request) };
            let answer = raft.vote(request).await.map_err(|error| error.to_string())?;
            Ok(peer_response::Body::Vote(vote_response::<W>(&answer)))
        }
        peer_request::Body::PreVote(request) => {
            let answer = raft.pre_vote(vote_request(&request)).await.map_err(|error| error.to_string())?;
            Ok(peer_response::Body::PreVote(vote_response::<W>(&answer)))
        }
        peer_request::Body::Transfer(transfer) => {
            partition.note_transfer(raft::vote_from_wire(transfer.from.as_ref()), transfer.to);
            let answer = raft.handle_transfer_leader(raft::transfer_request::<W>(&transfer)).await;
            let refused = answer.map_err(|fatal| fatal.to_string())?.err().map(|error| error.to_string());
            let accepted = refused.is_none();
            let answer = pb::LeaderTransferred { accepted, refused: refused.unwrap_or_default() };
            Ok(peer_response::Body::Transfer(answer))
        }
        peer_request::Body::ReadIndex(_) => Ok(peer_response::Body::ReadIndex(partition.answer_read_index().await)),
        peer_request::Body::Bounds(request) => {
            let outcome = match partition.offsets(feed::consistency_from_wire(&request)).await {
                Ok((start, end)) => pb::bounds_response::Outcome::Bounds(pb::Bounds { start, end }),
                Err(error) => pb::bounds_response::Outcome::Failed(error.to_string()),
            };
            Ok(peer_response::Body::Bounds(pb::BoundsResponse { outcome: Some(outcome) }))
        }
        peer_request::Body::Call(_) => unreachable!("calls are of no partition"),
        peer_request::Body::Propose(proposal) => {
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

#[cfg(test)]
mod tests;
