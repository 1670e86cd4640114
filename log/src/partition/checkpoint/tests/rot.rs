//! Damage that no recovery of the WAL reads: it is found while a partition opens.
use super::{node::*, *};
use crate::Log;
use crate::wal::frame::{ALIGN, HEADER_LEN, Header};

/// The file and the byte where the frame of an entry begins.
fn frame(disk: &SimDisk, partition: PartitionId, index: u64) -> (PathBuf, u64) {
    let dir = Path::new("/data/wal");
    for name in disk.list(dir).expect("is there").into_iter().filter(|name| name.ends_with(".seg")) {
        let file = disk.open_read(&dir.join(&name)).expect("is there");
        let mut bytes = vec![0; file.len().expect("has a length") as usize];
        file.read_exact_at(0, &mut bytes).expect("is readable");
        for at in (0..bytes.len() - HEADER_LEN).step_by(ALIGN as usize) {
            let header = bytes[at..].first_chunk().and_then(|header| Header::decode(header).ok());
            let found =
                |header: Header| header.kind.is_entry() && (header.partition, header.index) == (partition.0, index);
            if header.is_some_and(found) {
                return (dir.join(name), at as u64);
            }
        }
    }
    panic!("no frame of entry {index} of {partition}");
}

#[test]
fn damage_found_while_a_partition_opens_halts_the_node() {
    let sim = Sim::seed(17);
    sim.run(async {
        let (inside, env) = (sim.clone(), sim.env(1));
        let id = on_node(&sim, async move {
            let log = open(&inside, env, config()).await;
            append(&log, 0..300).await;
            inside.sleep(Duration::from_secs(7)).await;
            append(&log, 300..700).await;
            log.partition(TOPIC, 0).unwrap().id()
        })
        .await;
        let env = sim.restart(1);
        let checkpoints = names(&env.disk).into_iter();
        let mut of_topic =
            checkpoints.filter_map(|name| name.strip_prefix(&format!("{:016x}-", id.0)).map(str::to_owned));
        let last = of_topic.next_back().expect("a segment was sealed");
        let last: u64 = last.trim_end_matches(".ckpt").parse().unwrap();
        let (inside, disk) = (sim.clone(), env.disk.clone());
        let reopened = sim.spawn_on(1, async move {
            let (segment, at) = frame(&disk, id, last);
            flip(&disk, &segment, at + 50).await;
            let log = Log::open(config(), env).await.expect("a start does not read it");
            inside.sleep(Duration::from_secs(60)).await;
            drop(log);
        });
        assert!(reopened.await.is_err(), "the node goes on without a partition");
        let halted = sim.halted(1);
        assert!(matches!(&halted, Some(Halt::Corrupt(what)) if what.contains("order/0")), "{halted:?}");
    });
}

#[test]
fn damage_behind_what_is_known_to_be_committed_is_found_before_raft_starts() {
    let sim = Sim::seed(18);
    sim.run(async {
        let disk = sim.env(1).disk;
        on_node(&sim, async move {
            let mut replica = Replica::open(disk).await.unwrap();
            replica.feed(entries(0..20)).await.unwrap();
            let (done, answer) = oneshot::channel();
            replica.log.append(entries(20..600), Box::new(move |result| drop(done.send(result))));
            answer.await.unwrap().unwrap();
            assert!(replica.wal.stats().segment >= 3, "{:?}", replica.wal.stats());
            replica.wal.close().await;
        })
        .await;
        let disk = sim.restart(1).disk;
        on_node(&sim, async move {
            let (segment, at) = frame(&disk, PartitionId::CLUSTER, 40);
            flip(&disk, &segment, at + 50).await;
            let replica = Replica::open(disk).await.unwrap();
            assert_eq!(replica.replayed, 20, "what is committed is whole");
            let found = replica.machine.check_tail().await.map_err(|error| error.kind());
            assert_eq!(found, Err(io::ErrorKind::InvalidData));
        })
        .await;
    });
}
