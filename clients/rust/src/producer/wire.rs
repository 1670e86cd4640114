//! One stream of appends to one node.
//!
//! A lane keeps its requests until they are answered, to send them again if need be. So that keeping one costs nothing, the
//! stream takes them by reference: [`Codec`] encodes what it does not own.
use crate::{Client, Error, error::Hint, routes::Leader};
use corduroy_proto::v1;
use prost::Message as _;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{self, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};
use tonic_prost::ProstDecoder;

const METHOD: &str = "/corduroy.v1.Log/AppendStream";
/// Bound on opening a stream: a node that is there answers at once.
const OPEN: Duration = Duration::from_secs(2);

/// An open stream.
pub(super) struct Wire {
    /// Bounded by the requests a lane has under way.
    requests: mpsc::UnboundedSender<Arc<v1::AppendStreamRequest>>,
    answers: Streaming<v1::AppendStreamResponse>,
}

impl Wire {
    /// Opens a stream. It carries nothing before it is open, so an error means that nothing was sent.
    pub(super) async fn open(client: &Client, leader: &Leader) -> Result<Self, Error> {
        let address = &leader.address;
        let mut grpc = Grpc::new(client.pool().channel(address)?);
        let (requests, outgoing) = mpsc::unbounded_channel();
        let opening = async {
            let not_ready = |error: tonic::transport::Error| Status::from_error(error.into());
            grpc.ready().await.map_err(not_ready)?;
            let request = Request::new(UnboundedReceiverStream::new(outgoing));
            grpc.streaming(request, PathAndQuery::from_static(METHOD), Codec).await
        };
        match timeout(OPEN, opening).await {
            Ok(Ok(answers)) => Ok(Wire { requests, answers: answers.into_inner() }),
            Ok(Err(status)) => Err(match Error::from_status(&status, address) {
                Error::Lost(text) | Error::Timeout(text) => Error::Unreachable(text),
                other => other,
            }),
            Err(_) => Err(Error::Unreachable(format!("{address} did not answer within {OPEN:?}"))),
        }
    }

    /// `false`: the stream is over.
    pub(super) fn send(&self, request: Arc<v1::AppendStreamRequest>) -> bool {
        self.requests.send(request).is_ok()
    }

    /// The next answer. An error is the end of the stream.
    pub(super) async fn answer(&mut self, address: &str) -> Result<v1::AppendStreamResponse, Error> {
        match self.answers.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Error::Lost(format!("{address} ended the stream"))),
            Err(status) => Err(Error::from_status(&status, address)),
        }
    }
}

/// What a failure on a stream means.
pub(super) fn failure(failed: v1::AppendFailure) -> Error {
    let leader_grpc = Some(failed.leader_grpc).filter(|address| !address.is_empty());
    let hint = Hint { leader: failed.leader, leader_grpc, replicas_grpc: Vec::new(), found: failed.found };
    let retry_after = failed.retry_after_ms.map(Duration::from_millis);
    Error::from_reason(&failed.reason, failed.message, hint, retry_after)
}

/// The codec of the method, but for requests that are shared.
struct Codec;

impl codec::Codec for Codec {
    type Encode = Arc<v1::AppendStreamRequest>;
    type Decode = v1::AppendStreamResponse;
    type Encoder = Shared;
    type Decoder = ProstDecoder<v1::AppendStreamResponse>;

    fn encoder(&mut self) -> Shared {
        Shared
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

struct Shared;

impl Encoder for Shared {
    type Item = Arc<v1::AppendStreamRequest>;
    type Error = Status;

    fn encode(&mut self, request: Self::Item, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.reserve(request.encoded_len());
        request.encode_raw(into);
        Ok(())
    }
}
