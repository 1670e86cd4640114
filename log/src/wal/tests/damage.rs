//! Rot: bytes that were durable and do not verify. The node must refuse, and leave everything as it is.
use super::*;
use crate::{
    testing::SimWorld,
    topic::ClusterId,
    wal::{Wal, frame::Header},
};
use std::path::Path;

/// Some segments, closed in order: everything in them is covered by a mark.
fn closed() -> Image {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        for index in 0..20_u64 {
            append(&wal.partition(P), vec![payload_entry(1, index, vec![index as u8; 1500])]).await.unwrap();
            append(&wal.partition(Q), entries(1, index..index + 1)).await.unwrap();
        }
        wal.close().await;
        image(&sim.env(1).disk)
    })
}

/// Where the batch of each sealed segment's footer begins and ends: the name of its file, and the bytes in it.
pub(super) fn footers(image: &Image) -> Vec<(String, std::ops::Range<usize>)> {
    let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let at = |next: &Vec<u8>| {
        let (segment, offset, end) = (number(next, 72), number(next, 80) as usize, number(next, 56) as usize);
        (format!("{segment:020}.seg"), offset..end)
    };
    image.values().skip(1).map(at).collect()
}

/// Those whose batch begins at an offset, and where it ends by its own header.
pub(super) fn footers_at(image: &Image, offset: usize) -> Vec<(String, std::ops::Range<usize>)> {
    let end =
        |bytes: &[u8]| offset + 152 + u32::from_le_bytes(bytes[offset + 112 + 28..][..4].try_into().unwrap()) as usize;
    let begins = footers(image).into_iter().filter(|(_, footer)| footer.start == offset);
    begins.map(|(name, _)| (name.clone(), offset..end(&image[&name]))).collect()
}

/// The same files, and no start can go by their footers.
fn without_footers(image: &Image) -> Image {
    let mut image = image.clone();
    for (name, footer) in footers(&image) {
        image.get_mut(&name).unwrap()[footer.start + 152 + 112 + 50] ^= 1;
    }
    image
}

/// Opens these files, every frame of which is read. It must fail, and must not change them.
fn refused(image: &Image) -> Halt {
    let image =
        if footers(image).iter().all(|(name, footer)| image.get(name).is_some_and(|file| footer.end <= file.len())) {
            without_footers(image)
        } else {
            image.clone()
        };
    on_node(0, |sim| async move {
        restore(&sim.env(1).disk, &image);
        let halt = halted(open(&sim));
        assert!(super::image(&sim.env(1).disk) == image, "evidence is kept");
        halt
    })
}

/// Opens these files and reads everything; what the first refusal says.
fn recovered_or_read_error(image: &Image) -> Result<Views, String> {
    let image = image.clone();
    on_node(0, |sim| async move {
        restore(&sim.env(1).disk, &image);
        let wal = Wal::<SimWorld>::open(&sim.env(1).disk, options()).map_err(|error| error.to_string())?;
        for id in wal.partitions() {
            wal.partition(id).entries(0..u64::MAX, u64::MAX).map_err(|error| error.to_string())?;
        }
        Ok(views(&wal))
    })
}

/// Where the last frame of a file ends.
fn end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[test]
fn one_flipped_bit_before_the_last_mark_is_never_passed_over() {
    let image = closed();
    let (footers, good) = (footers(&image), recovered(&image).unwrap());
    let (mut tried, mut beside) = (0, 0);
    for (i, (name, bytes)) in image.iter().enumerate() {
        let last = i + 1 == image.len();
        // The closing mark itself is covered by no mark.
        let covered = if last { end(bytes) - 152 } else { end(bytes) };
        for at in (0..covered).step_by(if last { 53 } else { 331 }) {
            let mut damaged = image.clone();
            damaged.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            let in_footer = footers.iter().any(|(file, bytes)| file == name && bytes.contains(&at));
            match recovered_or_read_error(&damaged) {
                // Found by a start, or by a read of what the start did not read.
                Err(what) => assert!(what.contains(name), "byte {at} of {name}: {what}"),
                // Or by neither, and then nothing that anybody reads depends on it.
                Ok(found) => assert!(found == good, "byte {at} of {name} is passed over"),
            }
            if !in_footer {
                let halt = refused(&damaged);
                assert!(matches!(&halt, Halt::Corrupt(what) if what.contains(name)), "byte {at} of {name}: {halt}");
            }
            tried += 1;
            beside += u32::from(in_footer);
        }
    }
    assert!(tried > 300 && beside > 5, "{tried} {beside}");
}

#[test]
fn a_damaged_header_names_the_file_and_the_byte() {
    let mut image = closed();
    image.values_mut().next().unwrap()[4096 + 50] ^= 1;
    assert_eq!(
        refused(&image),
        Halt::Corrupt(
            "/data/wal/00000000000000000001.seg at byte 4096: the checksum of the frame header does not match; \
             nothing was changed"
                .into()
        )
    );
}

#[test]
fn zeros_in_a_sealed_segment_are_damage() {
    let mut image = closed();
    let first = image.values_mut().next().unwrap();
    let end = end(first);
    first[end - 2500..].fill(0);
    assert!(matches!(refused(&image), Halt::Corrupt(_)));
}

#[test]
fn a_sealed_segment_that_lost_its_end_is_damage() {
    let mut image = closed();
    image.values_mut().next().unwrap().truncate(9000);
    assert!(matches!(refused(&image), Halt::Corrupt(_)));
}

#[test]
fn a_batch_of_zeros_before_the_last_mark_is_damage() {
    let mut image = closed();
    let bytes = newest(&mut image);
    bytes[4096..4096 + 800].fill(0);
    let halt = refused(&image);
    assert!(matches!(&halt, Halt::Corrupt(what) if what.contains("zeros")), "{halt}");
}

#[test]
fn a_missing_segment_is_damage() {
    for gone in [0, 1] {
        let mut image = closed();
        assert!(image.len() > 2);
        let name = image.keys().nth(gone).unwrap().clone();
        image.remove(&name);
        assert!(matches!(refused(&image), Halt::Corrupt(_)));
    }
}

#[test]
fn a_segment_in_the_place_of_another_is_damage() {
    let mut image = closed();
    let first = image.values().next().unwrap().clone();
    *image.values_mut().nth(1).unwrap() = first;
    assert!(matches!(refused(&image), Halt::Corrupt(_)));
}

#[test]
fn a_segment_shorter_than_its_header_is_damage() {
    let mut image = closed();
    newest(&mut image).truncate(100);
    assert!(matches!(refused(&image), Halt::Corrupt(_)));
}

#[test]
fn another_nodes_or_clusters_files_are_refused_by_name() {
    let image = closed();
    for (cluster, node) in [(CLUSTER, 2), (ClusterId([1; 16]), 1)] {
        let image = image.clone();
        let halt = on_node(0, |sim| async move {
            restore(&sim.env(1).disk, &image);
            halted(crate::wal::Wal::<crate::testing::SimWorld>::open(
                &sim.env(1).disk,
                crate::wal::WalOptions { cluster, node, ..options() },
            ))
        });
        assert!(matches!(&halt, Halt::WrongIdentity(what) if what.contains("node 1 of cluster")), "{halt}");
    }
}

/// Changes a header in a file and makes its checksum right again.
fn forge(bytes: &mut [u8], at: usize, change: impl FnOnce(&mut [u8])) {
    change(&mut bytes[at..at + 112]);
    let crc = crc32c::crc32c(&bytes[at..at + 108]);
    bytes[at + 108..at + 112].copy_from_slice(&crc.to_le_bytes());
}

/// The first batch of a file, its only frame changed, everything that covers it made right again.
fn forge_entry(bytes: &mut [u8], change: impl FnOnce(&mut [u8])) {
    forge(bytes, 4096 + 152, change);
    let headers_crc = crc32c::crc32c(&bytes[4096 + 152..][..108]);
    bytes[4096 + 112 + 32..][..4].copy_from_slice(&headers_crc.to_le_bytes());
    let payload_crc = crc32c::crc32c(&bytes[4096 + 112..][..40]);
    forge(bytes, 4096, |header| header[76..80].copy_from_slice(&payload_crc.to_le_bytes()));
}

#[test]
fn a_frame_that_does_not_link_to_the_one_before_is_damage() {
    let mut image = closed();
    forge_entry(image.values_mut().next().unwrap(), |header| header[80] ^= 1);
    assert!(matches!(refused(&image), Halt::Corrupt(what) if what.contains("does not link")));
}

#[test]
fn an_entry_with_another_log_hash_is_damage() {
    let mut image = closed();
    forge_entry(image.values_mut().next().unwrap(), |header| header[88] ^= 1);
    assert!(matches!(refused(&image), Halt::Corrupt(what) if what.contains("log hash")));
}

#[test]
fn an_entry_out_of_order_is_damage() {
    let mut image = closed();
    // An empty log may begin anywhere; the second segment's does not begin.
    forge_entry(image.values_mut().nth(1).unwrap(), |header| header[64] ^= 1);
    assert!(matches!(refused(&image), Halt::Corrupt(what) if what.contains("follows")));
}

#[test]
fn a_segment_under_another_ones_name_is_refused() {
    let image = closed();
    let (newest, _) = image.last_key_value().unwrap();
    for number in [image.len() as u64 + 1, image.len() as u64 + 7, u64::MAX] {
        let mut renamed = image.clone();
        let bytes = renamed.remove(newest).unwrap();
        renamed.insert(format!("{number:020}.seg"), bytes);
        assert!(matches!(refused(&renamed), Halt::Corrupt(_)), "named {number}");
    }
}

#[test]
fn a_frame_of_another_segment_is_damage() {
    let mut image = closed();
    forge_entry(image.values_mut().next().unwrap(), |header| header[32] ^= 2);
    assert!(matches!(refused(&image), Halt::Corrupt(what) if what.contains("belongs to segment 3")));
}

#[test]
fn a_frame_of_another_node_is_refused_by_name() {
    let mut image = closed();
    forge_entry(image.values_mut().next().unwrap(), |header| header[24] = 9);
    assert!(matches!(refused(&image), Halt::WrongIdentity(what) if what.contains("written by node 9")));
}

#[test]
fn what_is_newer_than_this_build_is_not_called_damage() {
    for (at, value) in [(4, 2), (5, 9), (5, 12), (6, 1), (104, 1)] {
        let mut image = closed();
        forge_entry(image.values_mut().next().unwrap(), |header| header[at] = value);
        let halt = refused(&image);
        assert!(matches!(halt, Halt::UnknownEntry(_)), "byte {at} = {value}: {halt}");
    }
}

#[test]
fn a_read_verifies_what_it_reads() {
    on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let log = wal.partition(P);
        for index in 0..10 {
            append(&log, vec![payload_entry(1, index, vec![index as u8; 1500])]).await.unwrap();
        }
        let disk = &sim.env(1).disk;
        let path = Path::new(DIR).join("wal/00000000000000000001.seg");
        let good = read_file(disk, &path);
        assert_eq!(log.entries(0..1, 1).unwrap().len(), 1);
        // The second frame of the file: header, then payload.
        for (at, what) in [(4096 + 152 + 40, "header"), (4096 + 152 + 112 + 700, "payload of entry 0@1")] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            write_file(disk, &path, &bad);
            let error = log.entries(0..1, 1).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(what), "{error}");
        }
        // An intact frame of the same partition, in the wrong place.
        let mut bad = good.clone();
        let frame = good[4096 + 152..][..112 + 1504].to_vec();
        let header = Header::decode(frame[..112].try_into().unwrap()).unwrap();
        assert_eq!(header.frame_len(), frame.len() as u64);
        let second = 4096 + 152 + frame.len() + 152;
        bad[second..][..frame.len()].copy_from_slice(&frame);
        write_file(disk, &path, &bad);
        assert!(log.entries(1..2, 1).unwrap_err().to_string().contains("expected (cluster"), "a misdirected write");
        write_file(disk, &path, &good);
        assert_eq!(log.entries(0..10, 1 << 20).unwrap().len(), 10);
    });
}

/// Found by the WAL simulator: the checksum over the headers of a batch was the same for all headers, as each ends in its own.
#[test]
fn a_frame_of_another_batch_in_its_place_is_damage() {
    let with_vote = |term: u64| {
        on_node(1, move |sim| async move {
            let wal = open(&sim).unwrap();
            wal.partition(P).save_vote(Vote { term, node: 1, committed: false }).await.unwrap();
            wal.close().await;
            image(&sim.env(1).disk)
        })
    };
    let (mut ours, mut theirs) = (with_vote(5), with_vote(6));
    let vote = 4096 + 152..4096 + 152 + 136;
    assert_ne!(newest(&mut ours)[vote.clone()], newest(&mut theirs)[vote.clone()]);
    newest(&mut ours)[vote.clone()].copy_from_slice(&newest(&mut theirs)[vote]);
    assert!(matches!(refused(&ours), Halt::Corrupt(_)), "both frames are intact, and the first of their partition");
}

#[test]
fn a_segment_header_that_says_more_than_this_build_knows_is_not_opened() {
    for at in [5, 7, 104, 2000, 4091] {
        let mut image = closed();
        let header = &mut newest(&mut image)[..4096];
        header[at] = 1;
        let crc = crc32c::crc32c(&header[..4092]);
        header[4092..].copy_from_slice(&crc.to_le_bytes());
        let halt = refused(&image);
        assert!(matches!(halt, Halt::UnknownEntry(_)), "byte {at}: {halt}");
    }
}
