//! A replicated log inside a process. Three nodes, of which one is killed, are in this one; usually each is in one of its own.
//!
//! `cargo run --release -p corduroy-log --example embed`
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "an application has a runtime and a clock")]
use corduroy_log::{Ack, Config, LogError, NewRecord, NewTopic, RealLog};
use corduroy_log::{config::NodeAddress, topic::ClusterId, world::Env};
use std::{collections::BTreeMap, error::Error, time::Duration, time::Instant};
use tokio::{runtime::Runtime, time::sleep};

const PEERS: [(u64, &str); 3] = [(1, "127.0.0.1:7191"), (2, "127.0.0.1:7192"), (3, "127.0.0.1:7193")];

/// Exits with an error where something goes wrong.
pub fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut nodes = BTreeMap::new();
    for (id, _) in PEERS {
        // A runtime each, so that one can be ended without a word to its node.
        let runtime = Runtime::new()?;
        let peers = PEERS.map(|(id, address)| NodeAddress::new(id, address)).into();
        let config = Config::new(dir.path().join(id.to_string()), ClusterId([42; 16]), id, peers);
        let log = runtime.block_on(RealLog::open(config, Env::real()))?;
        nodes.insert(id, (runtime, log));
    }
    Runtime::new()?.block_on(async {
        nodes[&1].1.ready().await;
        nodes[&1].1.create_topic(NewTopic::new("order", 1)).await?;
        for number in 0..3 {
            let Ack { first_offset, .. } = append(&nodes, format!("order {number}")).await?;
            println!("acknowledged at offset {first_offset}: on disk at two of three nodes");
        }
        let leader = nodes[&1].1.partition("order", 0)?.info().leader.ok_or("nobody leads")?;
        let killed = Instant::now();
        nodes.remove(&leader).ok_or("it runs")?.0.shutdown_background();
        let ack = append(&nodes, "one more".into()).await?;
        println!("node {leader} was killed; acknowledged at offset {} after {:?}", ack.first_offset, killed.elapsed());

        let mut orders = nodes.values().next().ok_or("two are left")?.1.subscribe("order", 0, 0)?;
        while orders.next_offset() <= ack.first_offset {
            for record in orders.next().await?.iter().flat_map(|batch| batch.records(0)).flatten() {
                println!("{}: {}", record.offset, String::from_utf8_lossy(&record.value));
            }
        }
        futures::future::join_all(nodes.values().map(|(_, log)| log.shutdown())).await;
        Ok(())
    })
}

/// Appends a record at the node that leads.
async fn append(nodes: &BTreeMap<u64, (Runtime, RealLog)>, order: String) -> Result<Ack, LogError> {
    loop {
        for partition in nodes.values().filter_map(|(_, log)| log.partition("order", 0).ok()) {
            match partition.append(vec![NewRecord::new(order.clone())]).await {
                Err(LogError::NotLeader { .. }) => {}
                answer => return answer,
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
}
