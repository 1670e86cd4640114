use crate::{
    error::LogError,
    log::NewTopic,
    partition::Consistency,
    record::NewRecord,
    testing::{Cluster, Sim},
};

/// Batches of a record each, more than a mark is apart.
const BATCHES: u64 = 200;

/// The reader began with the first entry that was left and gave it the offset of one that was gone.
#[test]
fn reading_below_a_purged_prefix_is_refused_and_gives_no_record_another_offset() {
    let sim = Sim::new(0);
    sim.run(async {
        let cluster = Cluster::new(&sim, 1);
        cluster.start().await;
        cluster.create_topic(NewTopic { name: "order".into(), partitions: 1, replication: None }).await.unwrap();
        for offset in 0..BATCHES {
            let ack = cluster.append("order", 0, vec![NewRecord::new(offset.to_string())]).await.unwrap();
            assert_eq!(ack.first_offset, offset);
        }
        let (refused, read) = cluster
            .on(1, async |log| {
                let partition = log.partition("order", 0).unwrap();
                let upto = partition.wal().log_id(BATCHES / 2).unwrap();
                partition.wal().purge(upto).await.unwrap();
                let (mut refused, mut read) = (0, 0);
                for offset in 0..BATCHES {
                    match partition.read(offset, 1, 1, Consistency::Stale).await {
                        Ok(page) => {
                            let record = &page.records[0];
                            assert_eq!((record.offset, &record.value[..]), (offset, offset.to_string().as_bytes()));
                            read += 1;
                        }
                        Err(LogError::Unavailable(why)) => {
                            assert!(why.contains("is not kept here"), "offset {offset}: {why}");
                            refused += 1;
                        }
                        Err(other) => panic!("offset {offset}: {other}"),
                    }
                }
                (refused, read)
            })
            .await
            .unwrap();
        assert!(refused >= BATCHES / 2 - 2, "{refused} refused");
        assert!(read > 0, "everything was refused");
    });
}
