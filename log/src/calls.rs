//! Calls from node to node, of what is built on the log: it has the connections, and looks into nothing.
use crate::{log::Log, peer::PeerError, topic::NodeId, world::World};
use bytes::Bytes;
use corduroy_proto::v1::{peer_request, peer_response};
use futures::future::BoxFuture;
use std::{fmt, sync::Arc, time::Duration};

type Answer = BoxFuture<'static, Result<Bytes, String>>;

/// Answers what other nodes call ([`Log::call`]): `None` for a node that answers nothing.
#[derive(Clone, Default)]
pub struct Calls(Option<Arc<dyn Fn(Bytes) -> Answer + Send + Sync>>);

impl Calls {
    /// `answer` gets what was called; an error says, for people, why there is no answer.
    pub fn new(answer: impl Fn(Bytes) -> Answer + Send + Sync + 'static) -> Self {
        Calls(Some(Arc::new(answer)))
    }

    pub(crate) fn are_taken(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) async fn answer(&self, call: Bytes) -> Result<Bytes, String> {
        match &self.0 {
            Some(answer) => answer(call).await,
            None => Err("this node takes no calls".into()),
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_taken() { "Calls(..)" } else { "Calls(none)" })
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It did not get there, or was not taken: nothing happened.
    #[error("{0}")]
    NotTaken(String),
    /// The answer did not come: whatever was asked may have happened, or happen yet.
    #[error("{0}")]
    NoAnswer(String),
}

impl<W: World> Log<W> {
    /// Calls another node and waits for its answer, for so long at most.
    ///
    /// # Errors
    /// Which of them says whether the call may have had an effect.
    pub async fn call(&self, node: NodeId, call: Bytes, deadline: Duration) -> Result<Bytes, CallError> {
        let unknown = || CallError::NotTaken(format!("there is no line to node {node}"));
        let line = self.peers().calls(node).ok_or_else(unknown)?;
        match line.request(Default::default(), peer_request::Body::Call(call), deadline).await {
            Ok(peer_response::Body::Answer(answer)) => Ok(answer),
            Ok(_) => Err(CallError::NoAnswer(format!("node {node} answered something else than was asked"))),
            Err(error @ (PeerError::NotConnected(_) | PeerError::Silent(_) | PeerError::Unavailable(..))) => {
                Err(CallError::NotTaken(error.to_string()))
            }
            Err(error) => Err(CallError::NoAnswer(error.to_string())),
        }
    }
}
