//! Many partitions on one log.
use super::*;
use crate::topic::PartitionId;

const PARTITIONS: u32 = 50;

fn id(n: u32) -> PartitionId {
    PartitionId::new(1 + n % 5, n / 5)
}

#[test]
fn partitions_do_not_see_each_other() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let mut waiting = Vec::new();
        for round in 0..8_u64 {
            for n in 0..PARTITIONS {
                let first = round * u64::from(n % 3 + 1);
                waiting.push(append(&wal.partition(id(n)), entries(u64::from(n), first..first + u64::from(n % 3 + 1))));
                if n % 7 == 0 {
                    wal.partition(id(n)).save_committed(Some(LogId { term: u64::from(n), index: first }));
                }
            }
            if round % 3 == 0 {
                waiting.pop().unwrap().await.unwrap();
            }
        }
        for waiting in waiting {
            waiting.await.unwrap();
        }
        let check = |wal: &TestWal| {
            for n in 0..PARTITIONS {
                let view = view(&wal.partition(id(n)));
                assert_eq!(view.entries, entries(u64::from(n), 0..8 * u64::from(n % 3 + 1)));
                assert_eq!(view.committed.is_some(), n % 7 == 0);
            }
        };
        check(&wal);
        assert!(wal.stats().segment > 3);
        let wal = reopens_as_it_was(&sim, wal).await;
        check(&wal);
        assert_eq!(wal.partitions().len(), PARTITIONS as usize);
    });
}

#[test]
fn equal_logs_have_equal_hashes_wherever_they_lie() {
    let hashes: Vec<_> = (1..4_u32)
        .map(|others| {
            on_node(u64::from(others), move |sim| async move {
                let wal = open(&sim).unwrap();
                for index in 0..20 {
                    for n in 0..others {
                        append(&wal.partition(id(n)), entries(7, index..index + 1)).await.unwrap();
                    }
                }
                wal.partition(id(0)).log_hash()
            })
        })
        .collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
}
