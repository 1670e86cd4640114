//! What a partition holds, on a node that holds no replica of it: over real sockets, between nodes inside this process.
use corduroy_client::{Admin, Client, Record};
use corduroy_node::testing::{Cluster, block_on};
use std::time::Duration;

const TOPIC: &str = "orders";

/// Takes batches until there are `wanted` values, each in its place.
macro_rules! take {
    ($subscription:expr, $values:expr, $wanted:expr) => {
        while $values.len() < $wanted {
            let next = $subscription.next_offset();
            let batches = tokio::time::timeout(Duration::from_secs(60), $subscription.next()).await??;
            for placed in batches {
                for record in placed.records(next)? {
                    assert_eq!(record.offset, $values.len() as u64, "a gap or a repeat");
                    $values.push(record.value);
                }
            }
        }
    };
}

#[test]
fn a_node_without_replica_is_fed_by_others_across_stops_of_both_sides() -> Result<(), Box<dyn std::error::Error>> {
    block_on(async {
        let mut cluster = Cluster::start(4).await?;
        let admin = Admin::new(cluster.admin(), Duration::from_secs(60))?;
        admin.create_topic(TOPIC, 1, Some(3)).await?;
        let client = Client::builder().endpoints(cluster.grpc()).timeout(Duration::from_secs(60)).connect().await?;
        let replicas = client.topology(TOPIC).await?.partitions[0].replicas.clone();
        let stranger = (1..=4).find(|node| !replicas.contains(node)).expect("three of four hold it");
        let producer = client.producer(TOPIC).partition(0).build();
        let append = async |numbers: std::ops::Range<u32>| {
            for number in numbers {
                // Answered when it is flushed.
                drop(producer.send(Record::new(number.to_string())).await?);
            }
            producer.flush().await;
            Ok::<(), corduroy_client::Error>(())
        };

        append(0..2_000).await?;
        let log = cluster.node(stranger).expect("it runs").log();
        assert!(log.partition(TOPIC, 0).is_err(), "it holds no replica");
        let (mut subscription, mut values) = (log.subscribe(TOPIC, 0, 0)?, Vec::new());
        take!(subscription, values, 2_000);
        let feeder = subscription.fed_by().expect("somebody feeds it");
        assert!(replicas.contains(&feeder));

        cluster.stop_node(feeder).await;
        append(2_000..4_000).await?;
        take!(subscription, values, 4_000);
        assert_ne!(subscription.fed_by(), Some(feeder), "another one has taken over");
        cluster.start_node(feeder).await?;
        cluster.ready().await?;

        let next = subscription.next_offset();
        drop((subscription, log));
        cluster.stop_node(stranger).await;
        append(4_000..5_000).await?;
        cluster.start_node(stranger).await?;
        cluster.ready().await?;
        let log = cluster.node(stranger).expect("it runs again").log();
        let mut subscription = log.subscribe(TOPIC, 0, next)?;
        take!(subscription, values, 5_000);
        let expected: Vec<String> = (0..5_000).map(|number: u32| number.to_string()).collect();
        assert!(values == expected, "the order is another one");
        Ok(())
    })
}
