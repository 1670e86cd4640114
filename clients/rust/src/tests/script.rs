//! Nodes that answer by script, over real connections.
use super::fold::{Partition, Refused};
use crate::Client;
use corduroy_proto::{
    batch::{Batch, BatchHeader, Conditions, Kind, Record, put_record},
    v1::{
        self,
        append_stream_response::Outcome,
        log_server::{Log, LogServer},
        subscribe_request::Message,
    },
};
use futures::{StreamExt as _, stream::BoxStream};
use std::{
    collections::{HashMap, VecDeque},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What a node does with its next request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Does what is asked.
    Ok,
    /// Refuses with this reason, and names this leader.
    Refuse(&'static str, Option<String>),
    /// Never answers.
    Hang,
    /// Ends the stream.
    End,
    /// Does what is asked, and ends the stream instead of answering.
    Swallow,
    /// Sends a batch of so many records from this offset on, whatever was asked for.
    Batch(u64, u64),
    /// Sends a batch whose checksum is another one.
    Damaged,
}

/// What a scripted node has seen and still has to do.
#[derive(Debug, Default)]
struct State {
    /// Replies to come; when there are none left, a node does what one does that leads, or does not.
    script: VecDeque<Reply>,
    /// Requests of any kind except for metadata.
    requests: usize,
    /// It has not heard of any topic.
    knows_nothing: bool,
    /// How far its replica is, to those who ask.
    end: u64,
}

/// What the nodes of one cluster have in common: a log, and who leads.
#[derive(Debug)]
struct Shared {
    partition: Partition,
    leader: usize,
    term: u64,
    addresses: Vec<String>,
}

/// A node on a port and threads of its own.
pub(super) struct Node {
    pub(super) address: String,
    number: usize,
    state: Arc<Mutex<State>>,
    shared: Arc<Mutex<Shared>>,
    runtime: Option<Runtime>,
}

/// Nodes of one cluster; the first one leads.
pub(super) fn cluster<const N: usize>(scripts: [Vec<Reply>; N]) -> [Node; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let addresses = listeners.iter().map(|l| l.local_addr().expect("bound").to_string()).collect::<Vec<_>>();
    let shared = Shared { partition: Partition::default(), leader: 0, term: 1, addresses };
    let shared = Arc::new(Mutex::new(shared));
    let mut parts = listeners.into_iter().zip(scripts).enumerate();
    [(); N].map(|()| {
        let (number, (listener, script)) = parts.next().expect("as many as nodes");
        Node::start(number, listener, script, Arc::clone(&shared))
    })
}

impl Node {
    fn start(number: usize, listener: TcpListener, script: Vec<Reply>, shared: Arc<Mutex<Shared>>) -> Self {
        let address = listener.local_addr().expect("bound").to_string();
        let state = Arc::new(Mutex::new(State { script: script.into(), ..State::default() }));
        let scripted = Scripted { number, state: Arc::clone(&state), shared: Arc::clone(&shared) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread");
        listener.set_nonblocking(true).expect("a socket");
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).expect("a socket"));
            Server::builder().add_service(LogServer::new(scripted)).serve_with_incoming(incoming).await
        });
        Node { address, number, state, shared, runtime: Some(runtime) }
    }

    /// The node is gone, with its connections.
    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// This node leads from now on, and everybody knows.
    pub(super) fn leads(&self, term: u64) {
        let mut shared = self.shared.lock().expect("no panic");
        (shared.leader, shared.term) = (self.number, term);
    }

    pub(super) fn knows(&self, topics: bool) {
        self.state.lock().expect("no panic").knows_nothing = !topics;
    }

    pub(super) fn has(&self, end: u64) {
        self.state.lock().expect("no panic").end = end;
    }

    /// What was appended, anywhere in the cluster.
    pub(super) fn log(&self) -> Vec<String> {
        self.shared.lock().expect("no panic").partition.log.clone()
    }

    pub(super) fn requests(&self) -> usize {
        self.state.lock().expect("no panic").requests
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client of these nodes, with a short deadline.
pub(super) async fn client(nodes: &[&Node]) -> Client {
    client_within(Duration::from_secs(5), nodes).await
}

pub(super) async fn client_within(timeout: Duration, nodes: &[&Node]) -> Client {
    let endpoints = nodes.iter().map(|node| node.address.clone());
    Client::builder().endpoints(endpoints).timeout(timeout).connect().await.expect("they answer")
}

#[derive(Clone)]
struct Scripted {
    number: usize,
    state: Arc<Mutex<State>>,
    shared: Arc<Mutex<Shared>>,
}

impl Scripted {
    /// What is done with a request that only a leader takes.
    fn next_of_leader(&self) -> Reply {
        let scripted = self.scripted();
        let shared = self.shared.lock().expect("no panic");
        scripted.unwrap_or_else(|| match shared.leader == self.number {
            true => Reply::Ok,
            false => Reply::Refuse("NOT_LEADER", Some(shared.addresses[shared.leader].clone())),
        })
    }

    fn scripted(&self) -> Option<Reply> {
        let mut state = self.state.lock().expect("no panic");
        state.requests += 1;
        state.script.pop_front()
    }

    fn append(&self, append: &v1::AppendRequest) -> Result<v1::AppendResponse, Refused> {
        let mut shared = self.shared.lock().expect("no panic");
        let (partition, count) = (append.partition.unwrap_or(0), append.records.len() as u32);
        let first_offset = shared.partition.take(append)?;
        Ok(v1::AppendResponse { partition, first_offset, count, term: shared.term, time: None })
    }

    fn outcome(&self, append: &v1::AppendRequest) -> Outcome {
        self.append(append).map_or_else(|(reason, found)| failed(reason, None, found), Outcome::Ok)
    }
}

fn failed(reason: &str, leader: Option<String>, found: Option<u64>) -> Outcome {
    let (message, reason, leader_grpc) = (reason.to_owned(), reason.to_owned(), leader.unwrap_or_default());
    Outcome::Failed(v1::AppendFailure { message, reason, leader_grpc, found, ..v1::AppendFailure::default() })
}

pub(super) fn status(reason: &str, leader: Option<&str>) -> Status {
    let leader = leader.map(|leader| [("leader", "2".to_owned()), ("leader_grpc", leader.to_owned())]);
    status_with(reason, leader.into_iter().flatten())
}

fn status_with(reason: &str, metadata: impl IntoIterator<Item = (&'static str, String)>) -> Status {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut details = ErrorDetails::with_error_info(reason, "corduroy", metadata);
    details.set_retry_info(Some(Duration::from_millis(1)));
    Status::with_error_details(Code::FailedPrecondition, reason, details)
}

/// A batch of records without values.
fn batch(base: u64, count: u64) -> v1::EncodedBatch {
    let header = BatchHeader {
        kind: Kind::Records,
        count: u32::try_from(count).expect("few"),
        time: 0,
        conditions: Conditions::default(),
        decided: None,
    };
    let mut buffer = bytes::BytesMut::zeroed(header.len());
    (0..count).for_each(|_| put_record(&mut buffer, &Record::default()));
    let batch = Batch::seal(header, buffer);
    v1::EncodedBatch { base_offset: base, bytes: batch.bytes().clone(), crc: batch.crc() }
}

#[tonic::async_trait]
impl Log for Scripted {
    async fn append(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        let append = request.into_inner();
        match self.next_of_leader() {
            Reply::Refuse(reason, leader) => Err(status(reason, leader.as_deref())),
            Reply::Hang => std::future::pending().await,
            Reply::Swallow => {
                let _ = self.append(&append);
                Err(Status::unavailable("the connection is lost"))
            }
            _ => match self.append(&append) {
                Ok(answer) => Ok(Response::new(answer)),
                Err((reason, found)) => Err(status_with(reason, found.map(|found| ("actual", found.to_string())))),
            },
        }
    }

    type AppendStreamStream = BoxStream<'static, Result<v1::AppendStreamResponse, Status>>;

    async fn append_stream(
        &self,
        request: Request<Streaming<v1::AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let (scripted, mut requests) = (self.clone(), request.into_inner());
        let (answers, outgoing) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut broken = false;
            while let Ok(Some(request)) = requests.message().await {
                let append = request.append.unwrap_or_default();
                let reply = if broken { Reply::Refuse("PRECEDING_FAILED", None) } else { scripted.next_of_leader() };
                let outcome = match reply {
                    Reply::Refuse(reason, leader) => {
                        broken |= !reason.ends_with("_TOO_LARGE");
                        failed(reason, leader, None)
                    }
                    Reply::Hang => continue,
                    Reply::End => return,
                    Reply::Swallow => {
                        scripted.outcome(&append);
                        return;
                    }
                    _ => scripted.outcome(&append),
                };
                let answer =
                    v1::AppendStreamResponse { correlation_id: request.correlation_id, outcome: Some(outcome) };
                let _ = answers.send(Ok(answer)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing).boxed()))
    }

    async fn read(&self, _: Request<v1::ReadRequest>) -> Result<Response<v1::ReadResponse>, Status> {
        match self.scripted().unwrap_or(Reply::Ok) {
            Reply::Refuse(reason, leader) => Err(status(reason, leader.as_deref())),
            Reply::Hang => std::future::pending().await,
            _ => Ok(Response::new(v1::ReadResponse::default())),
        }
    }

    type SubscribeStream = BoxStream<'static, Result<v1::SubscribeResponse, Status>>;

    /// One record per scripted `Ok`, then nothing more.
    async fn subscribe(
        &self,
        request: Request<Streaming<v1::SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let mut requests = request.into_inner();
        let Some(Message::Start(start)) = requests.message().await?.and_then(|request| request.message) else {
            return Err(status("INVALID_ARGUMENT", None));
        };
        let (state, (answers, outgoing)) = (Arc::clone(&self.state), mpsc::channel(64));
        tokio::spawn(async move {
            let mut offset = start.offset;
            loop {
                let reply = state.lock().expect("no panic").script.pop_front();
                let mut batch = match reply {
                    None | Some(Reply::Hang) => return std::future::pending::<()>().await,
                    Some(Reply::Refuse(reason, leader)) => {
                        let _ = answers.send(Err(status(reason, leader.as_deref()))).await;
                        return;
                    }
                    Some(Reply::End | Reply::Swallow) => return,
                    Some(Reply::Batch(base, count)) => {
                        offset = base + count;
                        batch(base, count)
                    }
                    Some(Reply::Ok | Reply::Damaged) => {
                        offset += 1;
                        batch(offset - 1, 1)
                    }
                };
                if matches!(reply, Some(Reply::Damaged)) {
                    batch.crc += 1;
                }
                let batches = vec![batch];
                let answer = v1::SubscribeResponse {
                    batches,
                    next_offset: offset,
                    used_bytes: 1,
                    end_offset: offset,
                    ..v1::SubscribeResponse::default()
                };
                let _ = answers.send(Ok(answer)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing).boxed()))
    }

    async fn commit_cursor(&self, _: Request<v1::CommitCursorRequest>) -> Result<Response<v1::CursorResponse>, Status> {
        Ok(Response::new(v1::CursorResponse::default()))
    }

    async fn acquire_cursor(&self, _: Request<v1::CursorRequest>) -> Result<Response<v1::CursorResponse>, Status> {
        Ok(Response::new(v1::CursorResponse::default()))
    }

    async fn delete_cursor(&self, _: Request<v1::CursorRequest>) -> Result<Response<v1::DeleteCursorResponse>, Status> {
        Ok(Response::new(v1::DeleteCursorResponse::default()))
    }

    async fn fetch_cursor(
        &self,
        _: Request<v1::FetchCursorRequest>,
    ) -> Result<Response<v1::FetchCursorResponse>, Status> {
        Ok(Response::new(v1::FetchCursorResponse::default()))
    }

    async fn list_cursors(
        &self,
        _: Request<v1::ListCursorsRequest>,
    ) -> Result<Response<v1::ListCursorsResponse>, Status> {
        Ok(Response::new(v1::ListCursorsResponse::default()))
    }

    async fn offset_for_time(
        &self,
        _: Request<v1::OffsetForTimeRequest>,
    ) -> Result<Response<v1::OffsetForTimeResponse>, Status> {
        Ok(Response::new(v1::OffsetForTimeResponse::default()))
    }

    async fn read_key(&self, _: Request<v1::ReadKeyRequest>) -> Result<Response<v1::ReadKeyResponse>, Status> {
        Ok(Response::new(v1::ReadKeyResponse::default()))
    }

    async fn offsets(&self, _: Request<v1::OffsetsRequest>) -> Result<Response<v1::OffsetsResponse>, Status> {
        let end_offset = self.state.lock().expect("no panic").end;
        Ok(Response::new(v1::OffsetsResponse { end_offset, ..v1::OffsetsResponse::default() }))
    }

    async fn metadata(&self, request: Request<v1::MetadataRequest>) -> Result<Response<v1::MetadataResponse>, Status> {
        if !request.get_ref().topic.is_empty() && self.state.lock().expect("no panic").knows_nothing {
            return Err(status("UNKNOWN_TOPIC", None));
        }
        let shared = self.shared.lock().expect("no panic");
        let (leader, term) = (Some(shared.leader as u64 + 1), shared.term);
        let nodes = (1..).zip(&shared.addresses).map(|(id, grpc)| v1::Endpoint { id, grpc: grpc.clone() });
        let replicas: Vec<u64> = (1..=shared.addresses.len() as u64).collect();
        let partitions = if request.get_ref().topic.is_empty() { 0 } else { 4 };
        let partition = |partition| v1::PartitionMetadata { partition, leader, term, replicas: replicas.clone() };
        let partitions = (0..partitions).map(partition).collect();
        Ok(Response::new(v1::MetadataResponse { nodes: nodes.collect(), partitions }))
    }
}
