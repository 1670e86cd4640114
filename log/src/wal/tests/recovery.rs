//! What a restart makes of files that a crash left behind.
use super::*;
use crate::{testing::Sim, wal::batch::BATCH_HEADER_LEN};
use std::{path::Path, time::Duration};

/// A short log of every kind of frame in several batches, as a crash would leave it: no closing mark. With what it holds
/// after each batch, and where in the file each batch ends.
fn script() -> (Image, Vec<Views>, Vec<usize>) {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let (a, b) = (wal.partition(P), wal.partition(Q));
        let mut states = vec![(Default::default(), vec![])];
        let mut ends = vec![4096];
        macro_rules! batch {
            ($done:expr) => {{
                $done.await.unwrap();
                states.push(views(&wal));
                ends.push(4096 + wal.stats().bytes as usize);
            }};
        }
        batch!(append(&a, entries(1, 0..2)));
        batch!(b.save_vote(Vote { term: 3, node: 1, committed: true }));
        batch!(append(&b, vec![WalEntry { kind: EntryKind::Blank, ..payload_entry(3, 0, "") }]));
        batch!(a.truncate_after(Some(0)));
        a.save_committed(Some(LogId { term: 1, index: 0 }));
        let both = append(&b, entries(3, 1..3));
        batch!(async { append(&a, entries(2, 1..4)).await.and(both.await) });
        batch!(a.purge(LogId { term: 2, index: 1 }));
        batch!(wal.save_peer(PeerIdentity { node: 2, incarnation: [2; 16], boot_epoch: 7, confirmed: 9 }));
        batch!(append(&a, vec![payload_entry(2, 4, vec![0xaa; 700])]));
        (image(&sim.env(1).disk), states, ends)
    })
}

/// The empty partitions a test asked for are not in the files.
fn in_files(mut views: Views) -> Views {
    views.0.retain(|_, view| view.last.is_some() || view.vote.is_some());
    views
}

#[test]
fn a_file_torn_at_any_byte_gives_the_batches_that_are_whole() {
    let (image, states, ends) = script();
    let len = *ends.last().unwrap();
    for cut in 4096..len {
        let mut torn = image.clone();
        newest(&mut torn)[cut..].fill(0);
        // A batch that loses nothing but zeros is whole.
        let lost =
            |end: usize| end > cut && image.values().next_back().unwrap()[cut..end].iter().any(|byte| *byte != 0);
        let whole = ends.iter().take_while(|end| !lost(**end)).count() - 1;
        assert_eq!(recovered(&torn).unwrap(), in_files(states[whole].clone()), "cut at byte {cut}");
    }
}

#[test]
fn a_file_that_ends_early_is_as_good_as_one_with_zeros() {
    let (image, states, ends) = script();
    for cut in [4096, 4097, ends[1] - 1, ends[1], ends[1] + 50, ends[3] + 112, *ends.last().unwrap()] {
        let mut torn = image.clone();
        newest(&mut torn).truncate(cut);
        let whole = ends.iter().take_while(|end| **end <= cut).count() - 1;
        assert_eq!(recovered(&torn).unwrap(), in_files(states[whole].clone()), "cut at byte {cut}");
    }
}

#[test]
fn damage_past_the_last_mark_cuts_the_batch_it_is_in() {
    let (image, states, ends) = script();
    let (begin, end) = (ends[ends.len() - 2], ends[ends.len() - 1]);
    for at in begin..end {
        let mut damaged = image.clone();
        newest(&mut damaged)[at] ^= 0x10;
        assert_eq!(recovered(&damaged).unwrap(), in_files(states[states.len() - 2].clone()), "flipped at byte {at}");
    }
}

#[test]
fn a_cut_tail_does_not_come_back() {
    let (image, states, ends) = script();
    let mut torn = image.clone();
    // The last batch loses its header; its frames stay, intact.
    newest(&mut torn)[ends[ends.len() - 2]..][..BATCH_HEADER_LEN as usize].fill(0);
    on_node(1, |sim| async move {
        restore(&sim.env(1).disk, &torn);
        let wal = open(&sim).unwrap();
        assert_eq!(views(&wal), states[states.len() - 2]);
        let cut = image_len(&sim, 1);
        assert_eq!(cut, ends[ends.len() - 2]);
        append(&wal.partition(P), entries(9, 4..6)).await.unwrap();
        assert_eq!(wal.stats().segment, 2, "nothing is appended to a file that was cut");
        assert_eq!(image_len(&sim, 1), cut);
        let before = views(&wal);
        drop(wal);
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(views(&open(&sim).unwrap()), before);
    });
}

fn image_len(sim: &Sim, number: u64) -> usize {
    image(&sim.env(1).disk)[&format!("{number:020}.seg")].len()
}

#[test]
fn a_wal_that_was_closed_goes_on_in_its_segment() {
    on_node(1, |sim| async move {
        for round in 0..5_u64 {
            let wal = open(&sim).unwrap();
            assert_eq!(wal.stats().segment, 1);
            append(&wal.partition(P), entries(1, round..round + 1)).await.unwrap();
            wal.close().await;
        }
        assert_eq!(view(&open(&sim).unwrap().partition(P)).entries, entries(1, 0..5));
    });
}

#[test]
fn a_wal_that_was_not_closed_goes_on_in_a_fresh_segment() {
    let sim = Sim::seed(3);
    sim.run(async {
        for round in 0..10_u64 {
            let node = sim.clone();
            let script = sim.spawn_on(1, async move {
                let wal = open(&node).unwrap();
                assert_eq!(view(&wal.partition(P)).entries, entries(1, 0..round));
                append(&wal.partition(P), entries(1, round..round + 1)).await.unwrap();
                assert_eq!(wal.stats().segment, round + 1);
                wal
            });
            let wal = script.await.unwrap();
            sim.kill(1);
            drop(wal);
            sim.restart(1);
        }
    });
}

#[test]
fn a_half_made_segment_is_forgotten() {
    let (mut image, states, _) = script();
    image.insert("00000000000000000002.seg.new".into(), vec![0; 5000]);
    assert_eq!(recovered(&image).unwrap(), in_files(states.last().unwrap().clone()));
}

#[test]
fn what_was_only_in_the_page_cache_is_durable_after_the_recovery() {
    // The sync fails, so the kernel forgets that the pages are dirty; the process ends, the machine goes on; the next
    // process reads the bytes from the page cache; then the power fails. What the second process saw must stay.
    for seed in 0..50 {
        let sim = Sim::seed(seed);
        sim.run(async {
            let node = sim.clone();
            let script = sim.spawn_on(1, async move {
                let wal = open(&node).unwrap();
                append(&wal.partition(P), entries(1, 0..1)).await.unwrap();
                node.fail_next_sync(1, std::io::ErrorKind::Other);
                append(&wal.partition(P), entries(1, 1..2)).await.unwrap_err();
            });
            drop(script.await);
            sim.sleep(Duration::from_millis(1)).await;
            assert!(matches!(sim.halted(1), Some(Halt::DiskFailed(_))));
            sim.restart(1);
            let node = sim.clone();
            let seen = sim.spawn_on(1, async move { view(&open(&node).unwrap().partition(P)) }).await.unwrap();
            sim.power_cut(1);
            sim.restart(1);
            let node = sim.clone();
            let again = sim.spawn_on(1, async move { view(&open(&node).unwrap().partition(P)) }).await.unwrap();
            assert_eq!(seen.entries, entries(1, 0..2));
            assert_eq!(again, seen, "seed {seed}");
        });
    }
}

#[test]
fn other_files_in_the_folder_are_left_alone() {
    let (image, ..) = script();
    on_node(1, |sim| async move {
        restore(&sim.env(1).disk, &image);
        write_file(&sim.env(1).disk, &Path::new(DIR).join("wal/notes.txt"), b"by hand");
        let wal = open(&sim).unwrap();
        wal.close().await;
        assert_eq!(read_file(&sim.env(1).disk, &Path::new(DIR).join("wal/notes.txt")), b"by hand");
    });
}
