//! A start that does not read sealed segments, and reads that find their way through footers.
use super::*;
use crate::{
    testing::{Sim, SimDisk, SimFile, SimWorld},
    wal::{
        Wal, WalOptions,
        index::TableCache,
        memory::HotBudget,
        recover::{Depth, recover},
        replay::Files,
        segment::Segments,
    },
    world::{Disk, DiskFile},
};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A disk that counts what is read from segments.
#[derive(Clone, Debug)]
struct Counting(SimDisk, Arc<AtomicU64>);

#[derive(Debug)]
struct CountingFile(SimFile, Arc<AtomicU64>);

impl Counting {
    fn file(&self, file: SimFile) -> CountingFile {
        CountingFile(file, self.1.clone())
    }
}

impl Disk for Counting {
    type File = CountingFile;
    type Lock = <SimDisk as Disk>::Lock;

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }
    fn create_new(&self, path: &Path) -> io::Result<CountingFile> {
        Ok(self.file(self.0.create_new(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<CountingFile> {
        Ok(self.file(self.0.open(path)?))
    }
    fn open_read(&self, path: &Path) -> io::Result<CountingFile> {
        Ok(self.file(self.0.open_read(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
        self.0.lock(path)
    }
    fn total_bytes(&self, path: &Path) -> io::Result<u64> {
        self.0.total_bytes(path)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.0.free_bytes(path)
    }
}

impl DiskFile for CountingFile {
    fn write_all_at(&self, offset: u64, buffers: &[&[u8]]) -> io::Result<()> {
        self.0.write_all_at(offset, buffers)
    }
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.0.read_exact_at(offset, buffer)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    async fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data().await
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

fn bytes_read(disk: &SimDisk, depth: Depth) -> u64 {
    let disk = Counting(disk.clone(), Arc::default());
    let segments = Segments::new(disk.clone(), Path::new(DIR));
    let files = Files { segments: &segments, tables: &TableCache::new(0), cluster: CLUSTER, node: 1 };
    recover(files, depth).unwrap();
    disk.1.load(Ordering::Relaxed)
}

#[test]
fn a_start_reads_headers_footers_and_the_newest_segment() {
    on_node(1, |sim| async move {
        let disk = sim.env(1).disk;
        let wide = || WalOptions { segment_bytes: 64 << 10, ..options() };
        let wal = Wal::<SimWorld>::open(&disk, wide()).unwrap();
        let mut index = 0;
        while wal.stats().segment <= 50 {
            append(&wal.partition(P), vec![payload_entry(1, index, vec![7; 900])]).await.unwrap();
            append(&wal.partition(Q), entries(1, index..index + 1)).await.unwrap();
            index += 1;
        }
        let found = views(&wal);
        wal.close().await;
        drop(wal);
        let (all, newest) = (51 * (64 << 10), 64 << 10);
        // Of each sealed segment a header and a footer's first block, which holds the directory of two partitions.
        let few = newest + 51 * 4096 + 50 * 4096 + 1000;
        let read = bytes_read(&disk, Depth::Footers);
        assert!(read <= few, "{read} bytes read, {few} are enough");
        assert!(bytes_read(&disk, Depth::Frames) > all / 2, "a scan of everything does read everything");
        assert_eq!(views(&open(&sim).unwrap()), found);
    });
}

#[test]
fn the_footer_of_a_cut_segment_is_the_first_batch_of_the_next() {
    let sim = Sim::seed(1);
    sim.run(async {
        for round in 0..12_u64 {
            let node = sim.clone();
            let script = sim.spawn_on(1, async move {
                let disk = node.env(1).disk;
                let wal = open(&node).unwrap();
                assert_eq!(view(&wal.partition(P)).entries, entries(1, 0..20 * round));
                // What was read is the newest segment, which is all but empty, and two blocks of each of the others.
                let read = bytes_read(&disk, Depth::Footers);
                assert!(read <= (48 << 10) + round * 4 * 4096, "round {round}: {read}");
                append(&wal.partition(P), entries(1, 20 * round..20 * (round + 1))).await.unwrap();
                wal
            });
            let wal = script.await.unwrap();
            assert_eq!(wal.stats().segment, round + 1, "every start cuts");
            sim.kill(1);
            drop(wal);
            sim.restart(1);
        }
    });
}

#[test]
fn a_footer_that_does_not_verify_is_replaced_by_the_frames_it_is_about() {
    // Sealed segments whose footer is their last batch, and cut ones whose footer is the first batch of the next.
    let sim = Sim::seed(1);
    let (good, image) = sim.run(async {
        for round in 0..4_u64 {
            let node = sim.clone();
            let script = sim.spawn_on(1, async move {
                let wal = open(&node).unwrap();
                let log = wal.partition(P);
                for index in 10 * round..10 * (round + 1) {
                    append(&log, vec![payload_entry(round, index, vec![round as u8; 900])]).await.unwrap();
                    append(&wal.partition(Q), entries(1, index..index + 1)).await.unwrap();
                }
                log.truncate_after(Some(10 * round + 8)).await.unwrap();
                append(&log, vec![payload_entry(round + 1, 10 * round + 9, "again")]).await.unwrap();
                wal
            });
            drop(script.await.unwrap());
            sim.kill(1);
            sim.restart(1);
        }
        let node = sim.clone();
        let script = async move {
            let wal = open(&node).unwrap();
            append(&wal.partition(Q), entries(1, 40..41)).await.unwrap();
            let good = views(&wal);
            wal.close().await;
            (good, image(&node.env(1).disk))
        };
        sim.spawn_on(1, script).await.unwrap()
    });
    let mut of_each = [0, 0];
    for (name, footer) in super::damage::footers(&image) {
        let carried = footer.start == 4096;
        of_each[usize::from(carried)] += 1;
        // A header, a directory: what a start reads.
        for at in [0, 60, 120, 152 + 20, 152 + 112, 152 + 112 + 30, 152 + 112 + 70] {
            let mut damaged = image.clone();
            damaged.get_mut(&name).unwrap()[footer.start + at] ^= 4;
            // In the newest segment it was durable before the file had its name.
            if carried && image.keys().next_back() == Some(&name) {
                assert!(matches!(halted(recovered(&damaged)), Halt::Corrupt(_)), "byte {at} of {name}");
                continue;
            }
            assert_eq!(recovered(&damaged).unwrap(), good, "byte {at} of the footer in {name}, {footer:?}");
        }
    }
    assert!(of_each[0] > 1 && of_each[1] > 1, "{of_each:?}");
}

#[test]
fn a_log_that_was_truncated_and_purged_into_sealed_segments_is_read_through_its_footers() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let (a, b) = (wal.partition(P), wal.partition(Q));
        let large = |term: u64, range: std::ops::Range<u64>| -> Vec<_> {
            range.map(|index| payload_entry(term, index, vec![index as u8; 1500])).collect()
        };
        for first in (0..60).step_by(4) {
            append(&a, large(1 + first / 16, first..first + 4)).await.unwrap();
        }
        assert!(wal.stats().segment > 6);
        append(&b, large(9, 0..3)).await.unwrap();
        a.truncate_after(Some(21)).await.unwrap();
        append(&a, large(7, 22..30)).await.unwrap();
        a.purge(a.log_id(9).unwrap()).await.unwrap();
        b.install(LogId { term: 9, index: 99 }, [4; 16]).await.unwrap();
        append(&b, large(10, 100..112)).await.unwrap();
        assert_eq!(views(&wal).0[&P].entries.len(), 20);
        let wal = reopens_as_it_was(&sim, wal).await;
        // And into them again, after the start.
        let a = wal.partition(P);
        a.truncate_after(Some(14)).await.unwrap();
        a.purge(a.log_id(12).unwrap()).await.unwrap();
        assert_eq!(views(&wal).0[&P].entries.len(), 2);
        reopens_as_it_was(&sim, wal).await;
    });
}

#[test]
fn a_read_whose_table_rotted_goes_by_the_frames_or_says_so() {
    on_node(1, |sim| async move {
        let disk = sim.env(1).disk;
        let wal = open(&sim).unwrap();
        for index in 0..30 {
            append(&wal.partition(P), vec![payload_entry(1, index, vec![index as u8; 1500])]).await.unwrap();
        }
        wal.close().await;
        drop(wal);
        let wal = open(&sim).unwrap();
        let (name, footer) = super::damage::footers(&image(&disk)).remove(0);
        let path = Path::new(DIR).join("wal").join(name);
        let mut bytes = read_file(&disk, &path);
        // The last table of the payload, before the padding: none is longer than this.
        bytes[footer.end - 12] ^= 1;
        // Of the frames it is about the last.
        bytes[footer.start - 500] ^= 1;
        write_file(&disk, &path, &bytes);
        let error = wal.partition(P).entries(0..1, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("the table of 1/0 does not verify, and neither do its frames"), "{error}");
        bytes[footer.start - 500] ^= 1;
        write_file(&disk, &path, &bytes);
        let read = wal.partition(P).entries(0..30, u64::MAX).unwrap();
        assert_eq!(read, (0..30).map(|index| payload_entry(1, index, vec![index as u8; 1500])).collect::<Vec<_>>());
    });
}

#[test]
fn a_log_hash_that_cannot_be_read_is_no_damage() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 0..10)).await.unwrap();
        log.truncate_after(Some(4)).await.unwrap();
        drop((log, wal));
        sim.sleep(std::time::Duration::from_secs(1)).await;
        let mut failed = 0;
        for nth in 1..12 {
            sim.fail_disk(1, crate::testing::DiskCall::Read, nth, crate::testing::DiskError::Io);
            match Wal::<SimWorld>::open(&sim.env(1).disk, options()) {
                Err(OpenError::Io { .. }) => failed += 1,
                // What is read to be written again.
                Err(OpenError::Halt(Halt::DiskFailed(_))) => {}
                Err(error) => panic!("read {nth}: {error}"),
                Ok(wal) => wal.close().await,
            }
            sim.mend_disk(1);
        }
        assert!(failed >= 3, "{failed}");
    });
}

#[test]
fn tables_of_sealed_segments_are_kept_within_their_budget() {
    on_node(1, |sim| async move {
        let budget = options().index_cache_bytes;
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        for first in (0..2000).step_by(20) {
            append(&log, entries(1, first..first + 20)).await.unwrap();
        }
        assert!(wal.stats().segment > 10);
        let mut fullest = 0;
        for round in 0..2000_u64 {
            let index = round * 1237 % 2000;
            assert_eq!(log.entries(index..index + 1, 1).unwrap(), entries(1, index..index + 1));
            let (bytes, tables) = wal.inner.shared.tables.loaded();
            fullest = fullest.max(bytes);
            assert!(bytes <= budget || tables == 1, "{tables} tables of {bytes} bytes");
        }
        assert!(fullest > budget / 2);
    });
}

#[test]
fn hot_tails_of_a_node_are_bounded_together_and_the_largest_give_first() {
    on_node(1, |sim| async move {
        let wide = WalOptions { hot_tail_bytes: 1 << 20, hot_tail_total_bytes: 64 << 10, ..options() };
        let wal = Wal::<SimWorld>::open(&sim.env(1).disk, wide).unwrap();
        let hot = |id| wal.inner.shared.partitions()[&id].lock().hot_bytes();
        append(&wal.partition(Q), entries(1, 0..20)).await.unwrap();
        let small = hot(Q);
        for index in 0..200 {
            append(&wal.partition(P), vec![payload_entry(1, index, vec![1; 1000])]).await.unwrap();
            assert!(hot(P) + hot(Q) <= 64 << 10);
        }
        assert!(hot(P) > 32 << 10, "{}", hot(P));
        assert_eq!(hot(Q), small, "the small one gives nothing");
        assert_eq!(wal.partition(P).entries(0..200, u64::MAX).unwrap().len(), 200);
    });
}

#[test]
fn a_level_is_what_the_largest_may_keep() {
    let level = |tails: &[u64]| HotBudget::new(0, 800).level(tails.to_vec());
    assert_eq!(level(&[]), u64::MAX);
    assert_eq!(level(&[100, 200]), u64::MAX);
    assert_eq!(level(&[900]), 700);
    assert_eq!(level(&[10, 900, 900]), 345);
    assert_eq!(level(&[u64::MAX, 1]), 699);
}

/// Found by the WAL simulator: the damage was taken for a torn tail, the node went on, and the next start refused.
#[test]
fn damage_in_the_footer_that_begins_the_newest_segment_is_refused_before_anything_is_written() {
    let sim = Sim::seed(1);
    let image = sim.run(async {
        for round in 0..2 {
            let node = sim.clone();
            let script = async move {
                let wal = open(&node).unwrap();
                append(&wal.partition(P), entries(1, 10 * round..10 * (round + 1))).await.unwrap();
                wal
            };
            drop(sim.spawn_on(1, script).await.unwrap());
            sim.kill(1);
            sim.restart(1);
        }
        image(&sim.env(1).disk)
    });
    let (name, footer) = super::damage::footers_at(&image, 4096).remove(0);
    assert_eq!(image.keys().next_back(), Some(&name));
    for len in [4097, 4343] {
        let mut cut = image.clone();
        cut.get_mut(&name).unwrap().truncate(len);
        assert!(matches!(halted(recovered(&cut)), Halt::Corrupt(_)), "cut to {len} bytes");
    }
    // The footer alone is what a crash before the first batch leaves.
    let mut alone = image.clone();
    alone.get_mut(&name).unwrap().truncate(footer.end);
    on_node(1, |sim| async move {
        restore(&sim.env(1).disk, &alone);
        for round in 1..4 {
            let wal = open(&sim).unwrap();
            assert_eq!(view(&wal.partition(P)).entries, entries(1, 0..10 * round));
            append(&wal.partition(P), entries(1, 10 * round..10 * (round + 1))).await.unwrap();
            wal.close().await;
        }
    });
}

/// Found by the WAL simulator: where all entries of a segment were taken back, its footer named the term of one before the
/// segment, which was purged. Whether memory still had that term depended on the last start, so a start did not find the
/// footer in the frames, and refused a log that was whole.
#[test]
fn a_footer_has_no_terms_of_entries_that_are_not_in_its_segment() {
    let mut image = on_node(1, |sim| async move {
        let wide = WalOptions { commit_bytes: 64 << 10, ..options() };
        let wal = Wal::<SimWorld>::open(&sim.env(1).disk, wide).unwrap();
        let log = wal.partition(P);
        append(&log, entries(1, 0..1)).await.unwrap();
        log.purge(LogId { term: 1, index: 0 }).await.unwrap();
        // Alone in the second segment, with what takes it back.
        drop(append(&log, vec![payload_entry(1, 1, vec![1; 14_000])]));
        log.truncate_after(Some(0)).await.unwrap();
        append(&log, vec![payload_entry(1, 1, vec![2; 14_000])]).await.unwrap();
        assert_eq!(wal.stats().segment, 3);
        image(&sim.env(1).disk)
    });
    // Killed when the second one was sealed, and the third one not made.
    image.pop_last();
    let (partitions, _) = recovered(&image).unwrap();
    assert_eq!((partitions[&P].last, &partitions[&P].entries[..]), (Some(LogId { term: 1, index: 0 }), &[][..]));
}
