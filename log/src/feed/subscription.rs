//! The side that is fed: where it reads from, when it doubts that, and where it goes then.
use super::{
    consistency_to_wire, cost,
    line::{Fed, Feed},
};
use crate::{
    batch::Batch,
    error::LogError,
    log::Log,
    partition::{Consistency, PlacedBatch},
    topic::{NodeId, Offset, PartitionId},
    world::World,
};
use corduroy_proto::v1::{FeedBatch, bounds_response, peer_request, peer_response};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft_rt::{AsyncRuntime, Select2};
use std::{fmt, pin::pin, time::Duration};

/// About the bytes of one item where a replica is here.
const ITEM: u64 = 256 << 10;
/// Pause before the second attempt to be fed; doubles up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(320);
/// A feed that says nothing for so long is doubted; doubles up to `DOUBT_MAX` while nobody knows more.
const DOUBT_MIN: Duration = Duration::from_secs(1);
const DOUBT_MAX: Duration = Duration::from_secs(8);
/// One that is behind another has so long to catch up.
const GRACE: Duration = Duration::from_millis(200);
/// Bound on asking a replica how far it is.
const ASK: Duration = Duration::from_millis(500);

/// The batches of one partition from an offset on, as they become readable: on any node of the cluster, whether it holds a
/// replica or not. Made by [`Log::subscribe`].
///
/// It reads from the replica of its node, where there is one, else from another node that holds one; when that dies, stops
/// or falls behind, from the next. Every record comes once and in order, without gap. What is not asked for stays where it
/// is, but for 4 MiB.
pub struct Subscription<W: World> {
    log: Log<W>,
    topic: String,
    partition: u32,
    next: Offset,
    source: Option<Source>,
    /// Which of the replicas is tried next.
    turn: usize,
    retry: Duration,
    doubt: Duration,
}

enum Source {
    Here(BoxStream<'static, Result<Vec<PlacedBatch>, LogError>>),
    Elsewhere(PartitionId, Feed),
}

/// Why nothing comes from a source any more.
enum Trouble {
    /// It ended, or never began.
    Ended(String),
    /// This node has more.
    Behind(NodeId),
}

impl<W: World> fmt::Debug for Subscription<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl<W: World> Subscription<W> {
    pub(crate) fn new(log: Log<W>, topic: String, partition: u32, next: Offset) -> Self {
        // Subscribers of one partition do not all begin at the same replica.
        let turn = log.node() as usize;
        Subscription { log, topic, partition, next, source: None, turn, retry: RETRY_MIN, doubt: DOUBT_MIN }
    }

    /// The offset that comes next: where to resume after dropping this.
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// The node that feeds it at the moment; `None`: there is none, or its own does.
    pub fn fed_by(&self) -> Option<NodeId> {
        match &self.source {
            Some(Source::Elsewhere(_, feed)) => Some(feed.node()),
            _ => None,
        }
    }

    /// The next batches, at least one; waits until there are some. The very first one may begin before the offset that was
    /// asked for: see [`PlacedBatch::records`]. Cancelling loses nothing; but whoever never waits for a second does not find
    /// out that the node that feeds it is cut off from the others.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`] when the topic has been deleted; [`LogError::Stopped`] when this node stops. As long as no
    /// replica can be reached it waits.
    pub async fn next(&mut self) -> Result<Vec<PlacedBatch>, LogError> {
        loop {
            if self.source.is_none() {
                match self.open().await? {
                    Ok(source) => self.source = Some(source),
                    Err(why) => {
                        self.give_up(Trouble::Ended(why)).await;
                        continue;
                    }
                }
            }
            let source = self.source.as_mut().expect("it was opened above");
            let took = match source {
                Source::Here(batches) => match batches.next().await {
                    Some(Ok(batches)) => Ok(batches),
                    Some(Err(error)) => Err(Trouble::Ended(error.to_string())),
                    None => Err(Trouble::Ended("the partition has ended here".into())),
                },
                Source::Elsewhere(..) => self.fed().await,
            };
            match took {
                Ok(batches) if batches.is_empty() => {}
                Ok(batches) => {
                    (self.retry, self.doubt) = (RETRY_MIN, DOUBT_MIN);
                    self.next = batches.last().map_or(self.next, PlacedBatch::end);
                    return Ok(batches);
                }
                Err(trouble) => self.give_up(trouble).await,
            }
        }
    }

    /// The same as a [`Stream`]. Ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Vec<PlacedBatch>, LogError>> + Send {
        stream::unfold(Some(self), |subscription| async {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(batches) => Some((Ok(batches), Some(subscription))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// A source, or why there is none just now.
    async fn open(&mut self) -> Result<Result<Source, String>, LogError> {
        if self.log.is_stopping() {
            return Err(LogError::Stopped(format!("node {} stops", self.log.node())));
        }
        let (id, replicas) = self.log.find(&self.topic, self.partition)?;
        if replicas.contains(&self.log.node()) {
            let here = self.log.partition(&self.topic, self.partition);
            return Ok(here
                .map(|here| Source::Here(here.subscribe_batches(self.next, ITEM)))
                .map_err(|e| e.to_string()));
        }
        let node = replicas[self.turn % replicas.len()];
        let feed = self.log.lines().open(node, id, self.next).await;
        Ok(feed.map(|feed| Source::Elsewhere(id, feed)))
    }

    /// Leaves a source, and waits before the next one where that would be in vain.
    async fn give_up(&mut self, trouble: Trouble) {
        let from = self.fed_by();
        self.source = None;
        match trouble {
            Trouble::Ended(why) => {
                tracing::debug!(partition = %self.name(), node = from, why, "not fed any more");
                self.turn = self.turn.wrapping_add(1);
                <W::Tasks as AsyncRuntime>::sleep(self.retry).await;
                self.retry = (self.retry * 2).min(RETRY_MAX);
            }
            Trouble::Behind(ahead) => {
                tracing::info!(partition = %self.name(), node = from, ahead, "a replica is behind, another one feeds now");
                self.turn = self.turn_of(ahead);
            }
        }
    }

    fn turn_of(&self, node: NodeId) -> usize {
        let replicas = self.log.find(&self.topic, self.partition).map(|(_, replicas)| replicas).unwrap_or_default();
        replicas.iter().position(|replica| *replica == node).unwrap_or(0)
    }

    /// Batches from another node, unless it has none and somebody else does.
    async fn fed(&mut self) -> Result<Vec<PlacedBatch>, Trouble> {
        let Some(Source::Elsewhere(id, feed)) = &mut self.source else { return Ok(Vec::new()) };
        let (id, node, next, doubt) = (*id, feed.node(), self.next, &mut self.doubt);
        let (log, topic, partition) = (&self.log, &self.topic, self.partition);
        let doubting = async {
            for asked in 0.. {
                <W::Tasks as AsyncRuntime>::sleep(*doubt).await;
                *doubt = (*doubt * 2).min(DOUBT_MAX);
                let replicas = log.find(topic, partition).map(|(_, replicas)| replicas).unwrap_or_default();
                let others: Vec<NodeId> = replicas.into_iter().filter(|replica| *replica != node).collect();
                let Some(other) = others.get(asked % others.len().max(1)) else { continue };
                if log.end_at(*other, id).await.is_some_and(|end| end > next) {
                    <W::Tasks as AsyncRuntime>::sleep(GRACE).await;
                    return *other;
                }
            }
            unreachable!("there is no end of numbers")
        };
        let heard = <W::Tasks as AsyncRuntime>::select2(pin!(feed.next()), pin!(doubting)).await;
        match heard {
            Select2::First(Some(Fed::Batches(batches))) => {
                let batches = accept(batches, next).map_err(Trouble::Ended)?;
                feed.grant(cost(&batches));
                Ok(batches)
            }
            Select2::First(Some(Fed::End(why))) => Err(Trouble::Ended(why)),
            Select2::First(None) => Err(Trouble::Ended(format!("the connection to node {node} is lost"))),
            Select2::Second(ahead) => Err(Trouble::Behind(ahead)),
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }
}

/// Verifies batches, and that they go on where the subscriber is: the first one holds the record that comes next.
pub(super) fn accept(batches: Vec<FeedBatch>, next: Offset) -> Result<Vec<PlacedBatch>, String> {
    let mut accepted: Vec<PlacedBatch> = Vec::with_capacity(batches.len());
    for FeedBatch { base, payload, crc } in batches {
        let batch = Batch::verify(payload, crc).map_err(|error| error.to_string())?;
        let placed = PlacedBatch { base, batch };
        let follows = match accepted.last() {
            Some(before) => base == before.end(),
            None => (base..base.saturating_add(placed.batch.records().into())).contains(&next),
        };
        if !follows || base.checked_add(placed.batch.records().into()).is_none() {
            return Err(format!("{} came at offset {base} where {next} was next", placed.batch));
        }
        accepted.push(placed);
    }
    Ok(accepted)
}

impl<W: World> Log<W> {
    /// How far a replica on another node has come, by its own word and at once.
    async fn end_at(&self, node: NodeId, partition: PartitionId) -> Option<Offset> {
        let question = peer_request::Body::Bounds(consistency_to_wire(Consistency::Stale));
        match self.peers().link(node)?.request(partition, question, ASK).await {
            Ok(peer_response::Body::Bounds(answer)) => match answer.outcome {
                Some(bounds_response::Outcome::Bounds(bounds)) => Some(bounds.end),
                _ => None,
            },
            _ => None,
        }
    }

    /// The bounds of a partition as one of its replicas elsewhere knows them.
    pub(crate) async fn offsets_elsewhere(
        &self,
        name: &str,
        id: PartitionId,
        replicas: &[NodeId],
        consistency: Consistency,
    ) -> Result<(Offset, Offset), LogError> {
        let mut said = format!("none of its nodes {replicas:?} is connected");
        for node in replicas {
            let Some(link) = self.peers().link(*node) else { continue };
            let question = peer_request::Body::Bounds(consistency_to_wire(consistency));
            match link.request(id, question, self.timing().read_timeout).await {
                Ok(peer_response::Body::Bounds(answer)) => match answer.outcome {
                    Some(bounds_response::Outcome::Bounds(bounds)) => return Ok((bounds.start, bounds.end)),
                    Some(bounds_response::Outcome::Failed(why)) => said = why,
                    None => said = format!("node {node} answered something else than was asked"),
                },
                Ok(_) => said = format!("node {node} answered something else than was asked"),
                Err(error) => said = error.to_string(),
            }
        }
        Err(LogError::Unavailable(format!("{name}: {said}")))
    }
}
