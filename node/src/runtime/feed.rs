//! What a leader reads of the partitions it listens to: a little ahead, and how far.
use super::{
    decider::{Decider, Taken},
    leader::Mail,
    service::Service,
};
use corduroy_log::{Log, PlacedBatch, topic::PartitionId, world::World};
use corduroy_proto::runtime as pb;
use openraft_rt::{AsyncRuntime, Instant, Select2};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Batches of one source that wait, or are being read.
const AHEAD: usize = 2;
/// What was read of sources and came to nothing here is noted after so long, or with the next batch that has something in it.
const NOTE: Duration = Duration::from_millis(200);

type InstantOf<W> = <<W as World>::Tasks as AsyncRuntime>::Instant;

/// Some of a source's log.
pub(crate) struct Events {
    source: PartitionId,
    topic: Arc<str>,
    range: Range<u64>,
    batches: VecDeque<PlacedBatch>,
    _ahead: OwnedSemaphorePermit,
}

/// The sources of one term.
pub(crate) struct Sources<W: World> {
    /// How far each source was read by what was proposed.
    noted: BTreeMap<PartitionId, u64>,
    /// How far each was read.
    read: BTreeMap<PartitionId, u64>,
    /// Sources that are being read.
    feeds: BTreeSet<PartitionId>,
    events: VecDeque<Events>,
    /// Since when something was read that is not noted.
    unnoted: Option<InstantOf<W>>,
}

impl<W: World> Sources<W> {
    /// Read on from here.
    pub(crate) fn new(cursors: BTreeMap<PartitionId, u64>) -> Self {
        let (feeds, events) = (BTreeSet::new(), VecDeque::new());
        Sources { noted: cursors.clone(), read: cursors, feeds, events, unnoted: None }
    }

    /// Has a partition read whose events go to `mail`, unless it is read already.
    pub(crate) fn follow(
        &mut self,
        log: &Log<W>,
        topic: &str,
        source: PartitionId,
        mail: &mpsc::UnboundedSender<Mail>,
    ) {
        if self.feeds.insert(source) {
            let from = self.read.get(&source).copied().unwrap_or_default();
            let feeding = feed(log.clone(), topic.into(), source, from, mail.clone());
            drop(<W::Tasks as AsyncRuntime>::spawn(feeding));
        }
    }

    /// Some of a source came.
    pub(crate) fn push(&mut self, events: Events) {
        self.events.push_back(events);
    }

    /// Whether nothing waits to be decided.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Decides what came until the draft is full.
    pub(crate) fn fill<S: Service>(&mut self, decider: &mut Decider<S>) -> Taken {
        while !decider.is_full() {
            let Some(mut events) = self.events.pop_front() else { break };
            let taken = self.take_events(decider, &mut events);
            if !events.batches.is_empty() {
                self.events.push_front(events);
            }
            if taken == Taken::Poison {
                return Taken::Poison;
            }
        }
        Taken::Yes
    }

    /// Decides batches of a source until the draft is full.
    fn take_events<S: Service>(&mut self, decider: &mut Decider<S>, events: &mut Events) -> Taken {
        while !decider.is_full() {
            let Some(placed) = events.batches.pop_front() else {
                // What comes behind the last one is known to be nothing.
                self.advance(events.source, events.range.end);
                break;
            };
            let from = self.read.get(&events.source).copied().unwrap_or_default();
            let records = match placed.records(from) {
                Ok(records) => records,
                Err(error) => {
                    // It was verified when it was appended, and again when it came here.
                    tracing::error!(topic = %events.topic, %error, "a batch cannot be read");
                    return Taken::Poison;
                }
            };
            for record in records {
                let source = pb::SourceCause {
                    topic: events.topic.to_string(),
                    partition: events.source.partition(),
                    offset: record.offset,
                    time: record.time.0,
                };
                if decider.event(&source, &record) == Taken::Poison {
                    return Taken::Poison;
                }
            }
            self.advance(events.source, placed.end());
        }
        Taken::Yes
    }

    fn advance(&mut self, source: PartitionId, to: u64) {
        let read = self.read.entry(source).or_default();
        if to > *read {
            *read = to;
            self.unnoted.get_or_insert_with(<InstantOf<W> as Instant>::now);
        }
    }

    /// In how long what was read has to be noted, whatever else there is to do. `None`: nothing has.
    pub(crate) fn note_in(&self) -> Option<Duration> {
        Some(NOTE.saturating_sub(self.unnoted.as_ref()?.elapsed()))
    }

    /// What was read since the last batch: it goes into this one.
    pub(crate) fn note(&mut self) -> BTreeMap<PartitionId, Range<u64>> {
        let mut sources = BTreeMap::new();
        for (source, read) in &self.read {
            let noted = self.noted.entry(*source).or_default();
            if read > noted {
                sources.insert(*source, *noted..*read);
                *noted = *read;
            }
        }
        self.unnoted = None;
        sources
    }
}

/// Reads a source for its leader, a little ahead of it, until nobody takes it any more.
async fn feed<W: World>(
    log: Log<W>,
    topic: Arc<str>,
    source: PartitionId,
    from: u64,
    mail: mpsc::UnboundedSender<Mail>,
) {
    let ahead = Arc::new(Semaphore::new(AHEAD));
    let Ok(mut subscription) = log.subscribe(&topic, source.partition(), from) else { return };
    let mut at = from;
    loop {
        let reading = async {
            let permit = ahead.clone().acquire_owned().await.ok()?;
            Some((subscription.next().await.ok()?, permit))
        };
        let read = <W::Tasks as AsyncRuntime>::select2(pin!(mail.closed()), pin!(reading)).await;
        let Select2::Second(Some((batches, permit))) = read else { return };
        let end = subscription.next_offset();
        let events = Events { source, topic: topic.clone(), range: at..end, batches: batches.into(), _ahead: permit };
        if mail.send(Mail::Events(events)).is_err() {
            return;
        }
        at = end;
    }
}
