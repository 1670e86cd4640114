//! `corduroy read`: records of a topic, now or as they come.
use super::moment::moment;
use super::{
    block_on,
    connect::GrpcArgs,
    exit::Failure,
    output::{Format, Output},
    records,
};
use corduroy_client::{Client, Consistency, Error, Offsets, ReadOptions, StoredRecord};
use std::{str::FromStr, time::SystemTime};
use tokio::sync::mpsc;

mod by_key;

/// Prints the records of a topic, or of one of its partitions.
///
/// Without --follow it ends at the end that the partition has when the command starts. All partitions are read one
/// after the other; with --follow their records are printed as they come, each partition's in order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy read orders                              everything
  corduroy read orders/2 --from -10                 the last ten records of partition 2
  corduroy read orders --from end --follow          what is appended from now on
  corduroy read orders --from @2026-11-27T10:00:00Z what was appended since then; also @-5m, five minutes ago
  corduroy read orders --key customer-7             what there is of a key, in its partition, by the topic's key index
  corduroy read orders/2 --node 3 --consistency stale   what node 3 has, even alone

JSON (the default): {\"partition\",\"offset\",\"time\",\"key\",\"value\",\"headers\"} per record. time is RFC 3339 in UTC with
microseconds; key is null when there is none; bytes that are not UTF-8 come as \"keyBase64\" and \"valueBase64\" in place of
\"key\" and \"value\"; headers are {\"name\",\"value\"} or {\"name\",\"valueBase64\"}.")]
pub(super) struct Args {
    /// TOPIC, or TOPIC/PARTITION.
    #[arg(value_name = "TOPIC[/P]")]
    target: Target,
    /// Where to begin: start, end, an offset, -N for the last N records of each partition, or @TIME for the first record of
    /// that log time or later: RFC 3339, or -DURATION for so long ago.
    #[arg(
        long,
        value_name = "start|end|N|-N|@TIME",
        default_value = "start",
        allow_hyphen_values = true,
        env = "CORDUROY_FROM"
    )]
    from: From,
    /// Only the records with this key. The topic must have a key index.
    #[arg(long, value_name = "K", conflicts_with = "follow", env = "CORDUROY_KEY")]
    key: Option<String>,
    /// Go on with records as they are appended, until Ctrl-C.
    #[arg(long, env = "CORDUROY_FOLLOW")]
    follow: bool,
    /// Read from this node and no other.
    #[arg(long, value_name = "N", env = "CORDUROY_NODE")]
    node: Option<u64>,
    /// linearizable: everything acknowledged before the command began; needs a majority. stale: what the node has.
    #[arg(long, value_name = "WHICH", default_value = "linearizable", value_parser = consistency, env = "CORDUROY_CONSISTENCY")]
    consistency: Consistency,
    /// End after this many records.
    #[arg(long, value_name = "N", env = "CORDUROY_MAX")]
    max: Option<u64>,
    #[command(flatten)]
    grpc: GrpcArgs,
}

/// A topic, or one partition of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) topic: String,
    pub(super) partition: Option<u32>,
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            None => Ok(Target { topic: text.to_owned(), partition: None }),
            Some((topic, number)) => {
                let partition = number.parse().map_err(|_| format!("{number:?} is not the number of a partition"))?;
                Ok(Target { topic: topic.to_owned(), partition: Some(partition) })
            }
        }
    }
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Start,
    End,
    Offset(u64),
    Last(u64),
    At(SystemTime),
}

impl FromStr for From {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{text:?} is none of start, end, an offset, -N, or @TIME");
        if let Some(time) = text.strip_prefix('@') {
            return moment(time, SystemTime::now()).map(From::At);
        }
        match (text, text.strip_prefix('-')) {
            ("start", _) => Ok(From::Start),
            ("end", _) => Ok(From::End),
            (_, Some(last)) => last.parse().map(From::Last).map_err(wrong),
            (offset, None) => offset.parse().map(From::Offset).map_err(wrong),
        }
    }
}

impl From {
    /// The first offset to read, in a partition with these bounds. Where a time begins only the partition knows.
    fn first(self, bounds: Offsets) -> u64 {
        match self {
            From::Start | From::At(_) => bounds.start,
            From::End => bounds.end,
            From::Offset(offset) => offset.max(bounds.start),
            From::Last(count) => bounds.end.saturating_sub(count).max(bounds.start),
        }
    }
}

fn consistency(text: &str) -> Result<Consistency, String> {
    match text {
        "linearizable" => Ok(Consistency::Linearizable),
        "stale" => Ok(Consistency::Stale),
        _ => Err("it is linearizable or stale".into()),
    }
}

pub(super) fn run(args: Args, format: Option<Format>) -> Result<(), Failure> {
    let format = format.unwrap_or(Format::Json);
    block_on(async move {
        let client = args.grpc.client().await?;
        let node = match args.node {
            None => None,
            Some(node) => Some(address_of(&client, node).await?),
        };
        let reader = Reader {
            options: ReadOptions { consistency: args.consistency, node, ..ReadOptions::default() },
            client,
            topic: args.target.topic.clone(),
            named: args.target.partition.is_some(),
            from: args.from,
        };
        let partitions = match args.target.partition {
            Some(partition) => vec![partition],
            None => {
                let topology = reader.client.topology(&reader.topic).await?;
                let all = topology.partitions.iter().map(|route| route.partition).collect();
                args.key.as_ref().map_or(all, |key| vec![by_key::home(key, topology.partitions.len())])
            }
        };
        let mut sink = Sink { out: Output::new(), format, left: args.max };
        match (args.follow, &args.key) {
            (true, _) => reader.follow(&partitions, &mut sink).await?,
            (false, None) => reader.read(&partitions, &mut sink).await?,
            (false, Some(key)) => reader.read_key(&partitions, key, &mut sink).await?,
        }
        sink.out.flush()
    })
}

async fn address_of(client: &Client, node: u64) -> Result<String, Failure> {
    let topology = client.topology("").await?;
    let known: Vec<String> = topology.nodes.iter().map(|node| node.id.to_string()).collect();
    let address = topology.address(node).map(str::to_owned);
    address.ok_or_else(|| Failure::usage(format!("no node {node} is known; the cluster has {}", known.join(", "))))
}

/// Prints records until there were enough.
struct Sink {
    out: Output,
    format: Format,
    left: Option<u64>,
}

impl Sink {
    fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    fn take(&mut self, partition: u32, batch: &[StoredRecord]) -> Result<(), Failure> {
        for record in batch {
            if self.is_full() {
                break;
            }
            records::write(&mut self.out, self.format, partition, record)?;
            self.left = self.left.map(|left| left - 1);
        }
        Ok(())
    }
}

struct Reader {
    client: Client,
    topic: String,
    /// One partition was named: an offset beyond its end is a mistake. Of several, some may be shorter.
    named: bool,
    from: From,
    options: ReadOptions,
}

impl Reader {
    /// The bounds of a partition, and the offset to begin at.
    async fn begin(&self, partition: u32) -> Result<(u64, Offsets), Failure> {
        let bounds = self.client.offsets(&self.topic, partition, &self.options).await?;
        let first = match self.from {
            From::At(time) => {
                let found = self.client.offset_for_time(&self.topic, partition, time, &self.options).await?;
                found.offset.min(bounds.end)
            }
            from => from.first(bounds),
        };
        if self.named && first > bounds.end {
            let (topic, end) = (&self.topic, bounds.end);
            return Err(Failure::refused(format!(
                "offset {first} is past the end of {topic}/{partition}, which is {end}"
            )));
        }
        Ok((first, bounds))
    }

    async fn read(&self, partitions: &[u32], sink: &mut Sink) -> Result<(), Failure> {
        for &partition in partitions {
            let (mut next, bounds) = self.begin(partition).await?;
            while next < bounds.end && !sink.is_full() {
                let page = self.client.read(&self.topic, partition, next, &self.options).await?;
                let wanted = page.records.partition_point(|record| record.offset < bounds.end);
                sink.take(partition, &page.records[..wanted])?;
                match page.records.last() {
                    Some(last) => next = last.offset + 1,
                    None => {
                        let text = format!("{}/{partition} ends at {next} at the node that was asked", self.topic);
                        return Err(Failure::refused(text));
                    }
                }
            }
        }
        Ok(())
    }

    async fn follow(&self, partitions: &[u32], sink: &mut Sink) -> Result<(), Failure> {
        let (records, mut incoming) = mpsc::channel(partitions.len().max(1) * 2);
        for &partition in partitions {
            let (first, bounds) = self.begin(partition).await?;
            let mut subscription = self.client.subscribe(&self.topic, partition, first.min(bounds.end));
            if let Some(address) = &self.options.node {
                subscription = subscription.at_node(address);
            }
            let records = records.clone();
            tokio::spawn(async move {
                loop {
                    let batch: Result<Vec<StoredRecord>, Error> = subscription.next().await;
                    let last = batch.is_err();
                    if records.send((partition, batch)).await.is_err() || last {
                        return;
                    }
                }
            });
        }
        drop(records);
        while !sink.is_full() {
            let next = match incoming.try_recv() {
                Ok(next) => Some(next),
                Err(_) => {
                    sink.out.flush()?;
                    incoming.recv().await
                }
            };
            let Some((partition, batch)) = next else { break };
            let mut batch = batch?;
            if let From::Offset(first) = self.from {
                // A partition that is shorter than the offset asked for is followed from its end.
                batch.retain(|record| record.offset >= first);
            }
            if let From::At(time) = self.from {
                batch.retain(|record| record.time >= time);
            }
            sink.take(partition, &batch)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_understood() {
        let bounds = Offsets { start: 10, end: 50 };
        let first = |text: &str| text.parse::<From>().map(|from| from.first(bounds));
        assert_eq!(first("start"), Ok(10));
        assert_eq!(first("end"), Ok(50));
        assert_eq!(first("20"), Ok(20));
        assert_eq!(first("3"), Ok(10), "below the start there is nothing left");
        assert_eq!(first("-5"), Ok(45));
        assert_eq!(first("-500"), Ok(10));
        assert!(first("soon").is_err());
        assert!(matches!("@-5m".parse(), Ok(From::At(time)) if time < SystemTime::now()));
    }

    #[test]
    fn targets_are_a_topic_or_a_partition() {
        let target = |topic: &str, partition| Ok(Target { topic: topic.into(), partition });
        assert_eq!("orders".parse::<Target>(), target("orders", None));
        assert_eq!("orders/3".parse::<Target>(), target("orders", Some(3)));
        assert!("orders/x".parse::<Target>().is_err());
    }
}
