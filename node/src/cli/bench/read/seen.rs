//! How soon a record that is appended is seen by a subscriber at another node.
use super::{
    super::{
        cluster::Cluster,
        lanes::Lane,
        latencies::Latencies,
        leads::Leads,
        numbered::{number_of, value_of},
        pace::{Due, Pace},
    },
    Args, EMBEDDED,
};
use crate::cli::exit::Failure;
use corduroy_client::{Client, Record, Subscription};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::timeout,
};

/// Not counted.
const WARM_UP: Duration = Duration::from_secs(1);
/// A record that is not seen by then never will be.
const SEEN: Duration = Duration::from_secs(30);

/// Times from when an append was due: until it was seen, until it was acknowledged.
pub(super) async fn measure(
    args: &Args,
    cluster: &mut Cluster,
    topic: String,
) -> Result<(Latencies, Latencies), Failure> {
    let lane = Lane { number: 0, topic, partition: 0 };
    let leads = Leads::look(&cluster.admin()?, std::slice::from_ref(&lane)).await?;
    let elsewhere = cluster.ids().into_iter().find(|id| *id != EMBEDDED && leads.of(*id).is_empty());
    let elsewhere = elsewhere.ok_or_else(|| Failure::refused("no other process follows"))?;
    let (reader, writer) = (cluster.client(8 << 20).await?, cluster.client(8 << 20).await?);
    let subscription = reader.subscribe(&lane.topic, 0, 0).at_node(cluster.grpc_of(elsewhere));
    let pace = Pace { begin: Instant::now() + Duration::from_millis(50), per_second: args.rate.into() };
    let count = (args.seconds + WARM_UP.as_secs()) * u64::from(args.rate);
    let counted = WARM_UP.as_secs() * u64::from(args.rate);
    let due = pace.keep(move |due| due.number < count);
    let mut tasks = JoinSet::new();
    tasks.spawn(see(subscription, pace, counted..count));
    tasks.spawn(append(due, Arc::new((writer, lane.topic, args.record_bytes)), counted));
    let both = async {
        let mut results = [Latencies::new(), Latencies::new()];
        while let Some(done) = tasks.join_next().await {
            let (which, times) = done.map_err(|error| Failure::refused(format!("the bench failed: {error}")))??;
            results[which] = times;
        }
        Ok(results)
    };
    let [seen, ack] = cluster.while_whole(both).await?;
    Ok((seen, ack))
}

/// Until all are seen, in whichever order they were appended.
async fn see(
    mut subscription: Subscription,
    pace: Pace,
    counted: std::ops::Range<u64>,
) -> Result<(usize, Latencies), Failure> {
    let mut times = Latencies::new();
    let mut left = counted.end;
    while left > 0 {
        let records = timeout(SEEN, subscription.next()).await;
        let records =
            records.map_err(|_| Failure::refused(format!("{left} records were not seen within {SEEN:?}")))??;
        let now = Instant::now();
        for record in records {
            left -= 1;
            let number =
                number_of(0, &record.value).ok_or_else(|| Failure::refused("a record nobody sent was seen"))?;
            if counted.contains(&number) {
                times.record(now - pace.due(number).at);
            }
        }
    }
    Ok((0, times))
}

/// Appends what is due; each by itself, whatever became of those before.
async fn append(
    mut due: mpsc::Receiver<Due>,
    to: Arc<(Client, String, u32)>,
    counted: u64,
) -> Result<(usize, Latencies), Failure> {
    let mut flying: JoinSet<Result<(Due, Instant), Failure>> = JoinSet::new();
    let mut times = Latencies::new();
    let mut answered = |done: Result<Result<(Due, Instant), Failure>, JoinError>| {
        let (due, now) = done.map_err(|error| Failure::refused(format!("an append failed: {error}")))??;
        if due.number >= counted {
            times.record(now - due.at);
        }
        Ok::<(), Failure>(())
    };
    while let Some(next) = due.recv().await {
        let to = to.clone();
        flying.spawn(async move {
            let (client, topic, record_bytes) = &*to;
            client.append(topic, Some(0), vec![Record::new(value_of(0, next.number, *record_bytes))]).await?;
            Ok((next, Instant::now()))
        });
        while let Some(done) = flying.try_join_next() {
            answered(done)?;
        }
    }
    while let Some(done) = flying.join_next().await {
        answered(done)?;
    }
    Ok((1, times))
}
