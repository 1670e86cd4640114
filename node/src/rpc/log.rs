//! The Log service: thin shells over the partitions of this node.
use super::{append_stream, convert, failure::Failure, lookup, subscribe};
use crate::{
    routing,
    shared::Shared,
    world::{Log, Partition},
};
use corduroy_log::{AppendOptions, LogError};
use corduroy_proto::v1::{self, log_server};
use futures::stream::BoxStream;
use std::time::Instant;
use tonic::{Request, Response, Status, Streaming};

/// A page when the reader names no size.
pub(super) const PAGE: u64 = 1 << 20;
/// The largest page: what a client may ask for is bounded, what it gets fits in its message limit.
pub(super) const LARGEST_PAGE: u64 = 16 << 20;

/// Implements the service for one node.
pub(super) struct LogApi {
    shared: Shared,
}

impl LogApi {
    pub(super) fn new(shared: Shared) -> Self {
        LogApi { shared }
    }

    fn log(&self) -> Result<&Log, Status> {
        self.shared.log().map_err(|error| Failure::new(&error, None).into_status())
    }

    fn status(&self, error: &LogError) -> Status {
        Failure::new(error, self.shared.opened()).into_status()
    }

    async fn append_batch(&self, request: v1::AppendRequest) -> Result<v1::AppendResponse, LogError> {
        let Admitted { number, partition, records, options } = admit(&self.shared, request)?;
        let ack = partition.append_with(&convert::new_records(records), &options).await?;
        Ok(convert::appended(number, ack))
    }

    /// The partition of a change that is no append.
    fn writable(&self, topic: &str, partition: u32) -> Result<Partition, Status> {
        routing::check_writable(topic).map_err(|error| self.status(&error))?;
        if self.shared.is_stopping() {
            let error = LogError::Stopped(format!("node {} is shutting down", self.shared.node()));
            return Err(self.status(&error));
        }
        self.partition(topic, partition)
    }

    fn partition(&self, topic: &str, partition: u32) -> Result<Partition, Status> {
        self.log()?.partition(topic, partition).map_err(|error| self.status(&error))
    }
}

/// An append, and the partition that is to take it.
pub(super) struct Admitted {
    pub(super) number: u32,
    pub(super) partition: Partition,
    pub(super) records: Vec<v1::Record>,
    pub(super) options: AppendOptions,
}

/// Finds the partition of an append; refuses what no partition would take. The name is checked first: after any other
/// refusal it is a short one.
pub(super) fn admit(shared: &Shared, request: v1::AppendRequest) -> Result<Admitted, LogError> {
    routing::check_writable(&request.topic)?;
    if shared.registry().owns(&request.topic) {
        let why = format!("{} is the topic of a service, which alone writes it: ask the service", request.topic);
        return Err(LogError::Invalid(why));
    }
    if shared.is_stopping() {
        return Err(LogError::Stopped(format!("node {} is shutting down", shared.node())));
    }
    let v1::AppendRequest { topic, partition, records, producer, expect } = request;
    let Some(first) = records.first() else {
        return Err(LogError::Invalid("an append needs at least one record".into()));
    };
    let options = convert::append_options(producer, expect)?;
    let (number, partition) = routing::to_append(shared.log()?, &topic, partition, first.key.as_deref())?;
    Ok(Admitted { number, partition, records, options })
}

#[tonic::async_trait]
impl log_server::Log for LogApi {
    async fn append(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        let (since, request) = (Instant::now(), request.into_inner());
        let (count, bytes) = (request.records.len() as u64, convert::payload_bytes(&request.records));
        match self.append_batch(request).await {
            Ok(answer) => {
                self.shared.metrics().appended(count, bytes, since);
                Ok(Response::new(answer))
            }
            Err(error) => {
                self.shared.metrics().append_failed();
                Err(self.status(&error))
            }
        }
    }

    type AppendStreamStream = BoxStream<'static, Result<v1::AppendStreamResponse, Status>>;

    async fn append_stream(
        &self,
        request: Request<Streaming<v1::AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        self.log()?;
        Ok(Response::new(append_stream::serve(self.shared.clone(), request.into_inner())))
    }

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<v1::ReadResponse>, Status> {
        let request = request.into_inner();
        let partition = self.partition(&request.topic, request.partition)?;
        let max_bytes = request.max_bytes.unwrap_or(PAGE).min(LARGEST_PAGE);
        let max_records = request.max_records.unwrap_or(u32::MAX);
        let consistency = convert::consistency(request.consistency, request.session_offset);
        let page = partition.read(request.offset, max_bytes, max_records, consistency).await;
        let page = page.map_err(|error| self.status(&error))?;
        let (records, bytes) = convert::stored_records(page.records);
        self.shared.metrics().sent(records.len() as u64, bytes);
        Ok(Response::new(v1::ReadResponse { records, start_offset: page.start, end_offset: page.end }))
    }

    type SubscribeStream = BoxStream<'static, Result<v1::SubscribeResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<v1::SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let mut requests = request.into_inner();
        let start = subscribe::first(&mut requests).await?;
        let partition = self.partition(&start.topic, start.partition)?;
        Ok(Response::new(subscribe::serve(self.shared.clone(), partition, start, requests)))
    }

    async fn commit_cursor(
        &self,
        request: Request<v1::CommitCursorRequest>,
    ) -> Result<Response<v1::CursorResponse>, Status> {
        let v1::CommitCursorRequest { topic, partition, name, offset, fence } = request.into_inner();
        let partition = self.writable(&topic, partition)?;
        let cursor = partition.commit_cursor(&name, offset, fence).await.map_err(|error| self.status(&error))?;
        Ok(Response::new(v1::CursorResponse { cursor: Some(convert::cursor(name, cursor)) }))
    }

    async fn acquire_cursor(
        &self,
        request: Request<v1::CursorRequest>,
    ) -> Result<Response<v1::CursorResponse>, Status> {
        let v1::CursorRequest { topic, partition, name } = request.into_inner();
        let partition = self.writable(&topic, partition)?;
        let cursor = partition.acquire_cursor(&name).await.map_err(|error| self.status(&error))?;
        Ok(Response::new(v1::CursorResponse { cursor: Some(convert::cursor(name, cursor)) }))
    }

    async fn delete_cursor(
        &self,
        request: Request<v1::CursorRequest>,
    ) -> Result<Response<v1::DeleteCursorResponse>, Status> {
        let v1::CursorRequest { topic, partition, name } = request.into_inner();
        let partition = self.writable(&topic, partition)?;
        partition.delete_cursor(&name).await.map_err(|error| self.status(&error))?;
        Ok(Response::new(v1::DeleteCursorResponse {}))
    }

    async fn fetch_cursor(
        &self,
        request: Request<v1::FetchCursorRequest>,
    ) -> Result<Response<v1::FetchCursorResponse>, Status> {
        let request = request.into_inner();
        let partition = self.partition(&request.topic, request.partition)?;
        let consistency = convert::consistency(request.consistency, request.session_offset);
        let cursor = partition.cursor(&request.name, consistency).await.map_err(|error| self.status(&error))?;
        let cursor = cursor.map(|cursor| convert::cursor(request.name, cursor));
        Ok(Response::new(v1::FetchCursorResponse { cursor }))
    }

    async fn list_cursors(
        &self,
        request: Request<v1::ListCursorsRequest>,
    ) -> Result<Response<v1::ListCursorsResponse>, Status> {
        let request = request.into_inner();
        let partition = self.partition(&request.topic, request.partition)?;
        let consistency = convert::consistency(request.consistency, request.session_offset);
        let cursors = partition.cursors(consistency).await.map_err(|error| self.status(&error))?;
        let cursors = cursors.into_iter().map(|(name, cursor)| convert::cursor(name, cursor)).collect();
        Ok(Response::new(v1::ListCursorsResponse { cursors }))
    }

    async fn offset_for_time(
        &self,
        request: Request<v1::OffsetForTimeRequest>,
    ) -> Result<Response<v1::OffsetForTimeResponse>, Status> {
        let request = request.into_inner();
        let partition = self.partition(&request.topic, request.partition)?;
        let found = lookup::offset_for_time(&partition, request).await;
        Ok(Response::new(found.map_err(|error| self.status(&error))?))
    }

    async fn read_key(&self, request: Request<v1::ReadKeyRequest>) -> Result<Response<v1::ReadKeyResponse>, Status> {
        let request = request.into_inner();
        let partition = self.partition(&request.topic, request.partition)?;
        let page = lookup::read_key(&partition, request, self.shared.metrics()).await;
        Ok(Response::new(page.map_err(|error| self.status(&error))?))
    }

    async fn offsets(&self, request: Request<v1::OffsetsRequest>) -> Result<Response<v1::OffsetsResponse>, Status> {
        let request = request.into_inner();
        let partition = self.partition(&request.topic, request.partition)?;
        let bounds = partition.offsets(convert::consistency(request.consistency, request.session_offset)).await;
        let (start_offset, end_offset) = bounds.map_err(|error| self.status(&error))?;
        Ok(Response::new(v1::OffsetsResponse { start_offset, end_offset }))
    }

    async fn metadata(&self, request: Request<v1::MetadataRequest>) -> Result<Response<v1::MetadataResponse>, Status> {
        let (log, topic) = (self.log()?, request.into_inner().topic);
        let partitions = if topic.is_empty() { Vec::new() } else { self.routes(log, &topic)? };
        let nodes = log.nodes().into_iter().map(|node| v1::Endpoint { id: node.id, grpc: node.grpc }).collect();
        Ok(Response::new(v1::MetadataResponse { nodes, partitions }))
    }
}

impl LogApi {
    /// The partitions of a topic and who leads those that this node hosts.
    fn routes(&self, log: &Log, name: &str) -> Result<Vec<v1::PartitionMetadata>, Status> {
        let replicas: Vec<Vec<u64>> = match log.topics().into_iter().find(|topic| topic.name == name) {
            Some(topic) => topic.partitions,
            None if name == routing::CLUSTER_TOPIC => vec![log.nodes().iter().map(|node| node.id).collect()],
            None => return Err(self.status(&LogError::UnknownTopic(name.to_owned()))),
        };
        let known = |partition: u32| {
            let info = log.partition(name, partition).ok().map(|hosted| hosted.info());
            info.map_or((None, 0), |info| (info.leader, info.term))
        };
        let route = |(partition, replicas)| {
            let (leader, term) = known(partition);
            v1::PartitionMetadata { partition, leader, replicas, term }
        };
        Ok((0..).zip(replicas).map(route).collect())
    }
}
