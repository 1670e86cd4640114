//! Nodes that answer by script, over real connections.
use crate::Client;
use corduroy_proto::v1::{
    self,
    append_stream_response::Outcome,
    log_server::{Log, LogServer},
    subscribe_request::Message,
};
use futures::{StreamExt as _, stream::BoxStream};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
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
    /// Sends this offset next, whatever was asked for.
    Skip(u64),
}

/// What a scripted node has seen and still has to do.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Replies to come; `Ok` when there are none left.
    pub(super) script: VecDeque<Reply>,
    /// Values appended, in order.
    pub(super) log: Vec<String>,
    /// Requests of any kind except for metadata.
    pub(super) requests: usize,
}

/// A node on a port of its own. Nodes of one cluster may share their log by sharing their state.
pub(super) struct Node {
    pub(super) address: String,
    pub(super) state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Node {
    pub(super) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let state = Arc::new(Mutex::new(State { script: script.into_iter().collect(), ..State::default() }));
        let service = LogServer::new(Scripted { state: Arc::clone(&state) });
        let serving = Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { serving.await.expect("it serves") });
        Node { address, state, server }
    }

    /// The node is gone, with its connections.
    pub(super) fn kill(&self) {
        self.server.abort();
    }

    pub(super) fn then(&self, script: impl IntoIterator<Item = Reply>) {
        self.state.lock().expect("no panic").script.extend(script);
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.state.lock().expect("no panic").log.clone()
    }

    pub(super) fn requests(&self) -> usize {
        self.state.lock().expect("no panic").requests
    }
}

/// A client of these nodes, with a short deadline.
pub(super) async fn client(nodes: &[&Node]) -> Client {
    let endpoints = nodes.iter().map(|node| node.address.clone());
    let timeout = Duration::from_secs(2);
    Client::builder().endpoints(endpoints).timeout(timeout).connect().await.expect("they answer")
}

struct Scripted {
    state: Arc<Mutex<State>>,
}

impl Scripted {
    fn next(&self) -> Reply {
        next(&self.state)
    }
}

fn next(state: &Mutex<State>) -> Reply {
    let mut state = state.lock().expect("no panic");
    state.requests += 1;
    state.script.pop_front().unwrap_or(Reply::Ok)
}

fn append(state: &Mutex<State>, request: v1::AppendRequest) -> v1::AppendResponse {
    let mut state = state.lock().expect("no panic");
    let (first_offset, count) = (state.log.len() as u64, request.records.len() as u32);
    state.log.extend(request.records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()));
    v1::AppendResponse { partition: request.partition.unwrap_or(0), first_offset, count, term: 1, time: None }
}

pub(super) fn status(reason: &str, leader: Option<&str>) -> Status {
    let mut metadata = HashMap::new();
    if let Some(leader) = leader {
        metadata.insert("leader".to_owned(), "2".to_owned());
        metadata.insert("leader_grpc".to_owned(), leader.to_owned());
    }
    let mut details = ErrorDetails::with_error_info(reason, "corduroy", metadata);
    details.set_retry_info(Some(Duration::from_millis(1)));
    Status::with_error_details(Code::FailedPrecondition, reason, details)
}

#[tonic::async_trait]
impl Log for Scripted {
    async fn append(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        match self.next() {
            Reply::Refuse(reason, leader) => Err(status(reason, leader.as_deref())),
            Reply::Hang => std::future::pending().await,
            _ => Ok(Response::new(append(&self.state, request.into_inner()))),
        }
    }

    type AppendStreamStream = BoxStream<'static, Result<v1::AppendStreamResponse, Status>>;

    async fn append_stream(
        &self,
        request: Request<Streaming<v1::AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let (state, mut requests) = (Arc::clone(&self.state), request.into_inner());
        let (answers, outgoing) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let outcome = match next(&state) {
                    Reply::Refuse(reason, leader) => Outcome::Failed(v1::AppendFailure {
                        message: reason.to_owned(),
                        reason: reason.to_owned(),
                        leader_grpc: leader.unwrap_or_default(),
                        ..v1::AppendFailure::default()
                    }),
                    Reply::Hang => continue,
                    Reply::End => return,
                    _ => Outcome::Ok(append(&state, request.append.unwrap_or_default())),
                };
                let answer =
                    v1::AppendStreamResponse { correlation_id: request.correlation_id, outcome: Some(outcome) };
                let _ = answers.send(Ok(answer)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing).boxed()))
    }

    async fn read(&self, _: Request<v1::ReadRequest>) -> Result<Response<v1::ReadResponse>, Status> {
        match self.next() {
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
                let reply = {
                    let mut state = state.lock().expect("no panic");
                    state.script.pop_front()
                };
                match reply {
                    None | Some(Reply::Hang) => return std::future::pending::<()>().await,
                    Some(Reply::End) => return,
                    Some(Reply::Refuse(reason, leader)) => {
                        let _ = answers.send(Err(status(reason, leader.as_deref()))).await;
                        return;
                    }
                    Some(Reply::Ok) => {}
                    Some(Reply::Skip(to)) => offset = to,
                }
                let records = vec![v1::StoredRecord { offset, ..v1::StoredRecord::default() }];
                offset += 1;
                let answer = v1::SubscribeResponse { records, next_offset: offset, used_bytes: 1 };
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
        Ok(Response::new(v1::OffsetsResponse::default()))
    }

    async fn metadata(&self, _: Request<v1::MetadataRequest>) -> Result<Response<v1::MetadataResponse>, Status> {
        Ok(Response::new(v1::MetadataResponse::default()))
    }
}
