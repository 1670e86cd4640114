//! The bytes on disk, frame by frame, against golden files. What was written once must be readable for ever, so these
//! files change only together with the format version.
//!
//! `CORDUROY_UPDATE_GOLDEN=1 cargo test -p corduroy-log golden` writes them anew.
use super::*;
use crate::wal::{
    Identity,
    batch::BATCH_HEADER_LEN,
    copies::Copied as _,
    footer::Directory,
    frame::{HEADER_LEN, Header, HeaderError, Kind, frame_len, log_hash},
    manifest::Manifest,
    payload::{BatchHeader, Mark, Position, decode_peer, decode_vote, encode_peer, encode_vote},
    segment::{Links, SegmentHeader, SegmentHeaderError, is_unfinished, parse_name},
};
use proptest::prelude::*;
use std::fmt::Write as _;

/// What the golden files have of each.
const VOTE: Vote = Vote { term: 3, node: 2, committed: true };
const PEER: PeerIdentity = PeerIdentity { node: 3, incarnation: *b"an incarnation !", boot_epoch: 5, confirmed: 9 };

/// The header of the first segment of all.
const FIRST: SegmentHeader = SegmentHeader {
    cluster: CLUSTER,
    node: 1,
    number: 1,
    first_sequence: 1,
    previous: Mark { at: NOWHERE, sequence: 0 },
    footer: NOWHERE,
    links: Links { batches: 0, footers: 0 },
};
const NOWHERE: Position = Position { segment: 0, offset: 0 };

/// In the order of their numbers on disk.
const KINDS: [Kind; 10] = [
    Kind::BatchHeader,
    Kind::Blank,
    Kind::Membership,
    Kind::Entry,
    Kind::Vote,
    Kind::Truncate,
    Kind::Purge,
    Kind::Committed,
    Kind::Peer,
    Kind::Footer,
];

fn golden(name: &str, actual: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    #[allow(clippy::disallowed_methods, reason = "golden files belong to the source, not to a node")]
    if std::env::var_os("CORDUROY_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("golden files can be written");
    }
    #[allow(clippy::disallowed_methods, reason = "golden files belong to the source, not to a node")]
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == actual, "{path} differs; this is what was written:\n{actual}");
}

#[test]
fn reserved_bytes_of_a_segment_header_are_not_passed_over() {
    for at in [5, 7, 104, 4091] {
        let mut newer = FIRST.encode();
        newer[at] = 1;
        let crc = crc32c::crc32c(&newer[..4092]);
        newer[4092..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(SegmentHeaderError::Reserved), "byte {at}");
    }
}

fn hex(text: &mut String, bytes: &[u8]) {
    for line in bytes.chunks(32) {
        let line: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "  {line}").unwrap();
    }
}

/// A segment as text: each frame with its place and its bytes.
fn annotated(bytes: &[u8]) -> String {
    let mut text = String::from("segment header, then zeros up to the checksum in its last four bytes\n");
    hex(&mut text, &bytes[..104]);
    assert!(bytes[104..4092].iter().all(|byte| *byte == 0));
    hex(&mut text, &bytes[4092..4096]);
    let mut at = 4096;
    while let Ok(header) = Header::decode(bytes[at..at + HEADER_LEN].try_into().unwrap()) {
        let frame = &bytes[at..at + header.frame_len() as usize];
        writeln!(text, "{at}: frame {} {:?}, payload {} bytes", header.sequence, header.kind, header.len).unwrap();
        hex(&mut text, &frame[..HEADER_LEN]);
        if header.len > 0 {
            text.push_str("  --\n");
            hex(&mut text, &frame[HEADER_LEN..]);
        }
        at += frame.len();
    }
    assert!(bytes[at..].iter().all(|byte| *byte == 0));
    writeln!(text, "{at}: zeros").unwrap();
    text
}

#[test]
fn golden_segment_with_a_frame_of_every_kind() {
    let image = on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let (a, b) = (wal.partition(P), wal.partition(Q));
        a.save_vote(VOTE).await.unwrap();
        let blank = WalEntry { kind: EntryKind::Blank, ..payload_entry(3, 0, "") };
        let membership = WalEntry { kind: EntryKind::Membership, ..payload_entry(3, 1, "voters: 1, 2, 3") };
        append(&a, vec![blank, membership, payload_entry(3, 2, "records")]).await.unwrap();
        b.save_vote(Vote { term: 1, node: 4, committed: false }).await.unwrap();
        a.save_committed(Some(LogId { term: 3, index: 1 }));
        append(&b, entries(1, 0..1)).await.unwrap();
        a.truncate_after(Some(1)).await.unwrap();
        a.purge(LogId { term: 3, index: 0 }).await.unwrap();
        wal.save_peer(PEER).await.unwrap();
        wal.close().await;
        image(&sim.env(1).disk)
    });
    let bytes = image.values().next().unwrap();
    let mut kinds: Vec<Kind> = Vec::new();
    let mut at = 4096;
    while let Ok(header) = Header::decode(bytes[at..at + HEADER_LEN].try_into().unwrap()) {
        kinds.push(header.kind);
        at += header.frame_len() as usize;
    }
    kinds.sort_unstable();
    kinds.dedup();
    // All but the footer, which has a golden file of its own.
    assert_eq!(kinds, KINDS[..KINDS.len() - 1]);
    golden("segment-v1.txt", &annotated(bytes));
}

#[test]
fn golden_second_segment_points_back_to_the_first() {
    let header = SegmentHeader {
        cluster: CLUSTER,
        node: 7,
        number: 2,
        first_sequence: 101,
        previous: Mark { at: Position { segment: 1, offset: 16_000 }, sequence: 100 },
        footer: Position { segment: 1, offset: 15_000 },
        links: Links { batches: 0x0102, footers: 0x0304 },
    };
    let mut text = String::new();
    hex(&mut text, &header.encode()[..104]);
    hex(&mut text, &header.encode()[4092..]);
    golden("segment-header-v1.txt", &text);
    assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
}

#[test]
fn golden_footer() {
    let image = on_node(1, |sim| async move {
        let wal = open(&sim).unwrap();
        let (a, b) = (wal.partition(P), wal.partition(Q));
        a.save_vote(VOTE).await.unwrap();
        append(&a, entries(3, 0..4)).await.unwrap();
        a.save_committed(Some(LogId { term: 3, index: 2 }));
        wal.save_peer(PEER).await.unwrap();
        a.truncate_after(Some(2)).await.unwrap();
        append(&a, entries(4, 3..5)).await.unwrap();
        a.purge(LogId { term: 3, index: 0 }).await.unwrap();
        // Does not fit any more, so it is in the second segment.
        append(&b, vec![payload_entry(1, 0, vec![0; 14_000])]).await.unwrap();
        wal.close().await;
        image(&sim.env(1).disk)
    });
    let (name, footer) = super::damage::footers(&image).remove(0);
    let mut text = String::from("batch header, frame header, directory and tables\n");
    hex(&mut text, &image[&name][footer]);
    golden("footer-v1.txt", &text);
}

#[test]
fn golden_manifest() {
    let manifest = on_node(1, |sim| async move {
        drop(open(&sim).unwrap());
        read_file(&sim.env(1).disk, &std::path::Path::new(DIR).join(Manifest::NAMES[0]))
    });
    let mut text = String::new();
    hex(&mut text, &manifest);
    golden("manifest-v1.txt", &text);
}

#[test]
fn golden_identity() {
    let identity = on_node(1, |sim| async move {
        let dir = std::path::Path::new(DIR);
        let disk = sim.env(1).disk;
        let (mut identity, _lock) = Identity::open(&disk, dir, CLUSTER, 1, *b"an incarnation !").unwrap();
        identity.set_joined(&disk, dir).unwrap();
        read_file(&disk, &dir.join("identity.1"))
    });
    let mut text = String::new();
    hex(&mut text, &identity);
    golden("identity-v1.txt", &text);
}

#[test]
fn the_golden_segment_still_opens() {
    let text = include_str!("../../../tests/golden/segment-v1.txt");
    let lines = |from: &str| -> Vec<u8> {
        let lines = from.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| *line != "--");
        let digits: String = lines.collect();
        (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect()
    };
    let (header, frames) = text.split_once("4096: ").unwrap();
    let mut bytes = lines(header);
    let crc = bytes.split_off(104);
    bytes.resize(4092, 0);
    bytes.extend(crc);
    bytes.extend(lines(frames));
    let image = Image::from([("00000000000000000001.seg".into(), bytes)]);
    let (partitions, peers) = recovered(&image).unwrap();
    let a = &partitions[&P];
    assert_eq!(a.vote, Some(VOTE));
    assert_eq!(a.committed, Some(LogId { term: 3, index: 1 }));
    assert_eq!(a.purged, Some(LogId { term: 3, index: 0 }));
    assert_eq!(a.entries.len(), 1);
    assert_eq!((a.entries[0].kind, &a.entries[0].payload[..]), (EntryKind::Membership, &b"voters: 1, 2, 3"[..]));
    assert_eq!(partitions[&Q].entries, entries(1, 0..1));
    assert_eq!(peers, [PEER]);
}

#[test]
fn zeros_are_never_a_frame() {
    assert_eq!(Header::decode(&[0; HEADER_LEN]), Err(HeaderError::Zeros));
    assert_eq!(SegmentHeader::decode(&[0; 4096]), Err(SegmentHeaderError::Damaged));
    assert_eq!(Identity::decode(&[0; 80]), None);
}

#[test]
fn frames_are_aligned() {
    assert_eq!([0, 1, 7, 8, 9].map(frame_len), [112, 120, 120, 120, 128]);
    assert_eq!(BATCH_HEADER_LEN, 152);
}

#[test]
fn the_log_hash_is_what_the_documentation_says() {
    let hash = log_hash(&[0; 16], 0, 1, crc32c::crc32c(b"a"));
    let text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    golden("log-hash-v1.txt", &format!("{text}\n"));
}

#[test]
fn only_a_segments_own_name_is_a_segment() {
    assert_eq!(parse_name("00000000000000000012.seg"), Some(12));
    for name in
        ["12.seg", "00000000000000000012", "00000000000000000012.seg.new", "+0000000000000000012.seg", ".seg", ""]
    {
        assert_eq!(parse_name(name), None, "{name:?}");
    }
    assert!(is_unfinished("00000000000000000012.seg.new"));
    assert!(!is_unfinished("00000000000000000012.seg"));
    assert!(!is_unfinished("notes.new"));
}

fn header() -> impl Strategy<Value = Header> {
    let places = any::<([u8; 16], u64, u64, u64, u64)>();
    let contents = any::<(u64, u64, u32, u64, [u8; 16])>();
    (proptest::sample::select(&KINDS[..]), places, contents, 0..=1_u32 << 30).prop_map(|(kind, place, content, len)| {
        Header {
            kind,
            cluster: crate::topic::ClusterId(place.0),
            node: place.1,
            segment: place.2,
            sequence: place.3,
            partition: place.4,
            term: content.0,
            index: content.1,
            len,
            crc: content.2,
            link: content.3,
            hash: content.4,
        }
    })
}

proptest! {
    #[test]
    fn a_header_reads_as_it_was_written(header in header()) {
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn a_flipped_bit_of_a_header_is_noticed(header in header(), bit in 0..HEADER_LEN * 8) {
        let mut bytes = header.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Header::decode(&bytes).is_err());
    }

    #[test]
    fn payloads_read_as_they_were_written(
        term: u64, node: u64, committed: bool, incarnation: [u8; 16],
        numbers: (u64, u64, u64), counts: (u32, u32, u32),
    ) {
        let vote = Vote { term, node, committed };
        prop_assert_eq!(decode_vote(&encode_vote(&vote)), Some(vote));
        let peer = PeerIdentity { node: term, incarnation, boot_epoch: numbers.0, confirmed: 9 };
        prop_assert_eq!(decode_peer(&encode_peer(&peer)), Some(peer));
        let batch = BatchHeader {
            mark: Mark { at: Position { segment: numbers.0, offset: numbers.1 }, sequence: numbers.2 },
            frames: counts.0,
            bytes: counts.1,
            headers_crc: counts.2,
        };
        prop_assert_eq!(BatchHeader::decode(&batch.encode()), Some(batch));
    }

    #[test]
    fn arbitrary_payloads_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = (decode_vote(&bytes), decode_peer(&bytes), BatchHeader::decode(&bytes), Identity::decode(&bytes), Manifest::decode(&bytes));
        let _ = Directory::decode(&bytes, Position::default(), bytes.len() as u64);
    }

    #[test]
    fn a_segment_of_arbitrary_bytes_is_recovered_or_refused(
        tail in proptest::collection::vec(any::<u8>(), 0..2000),
        keep in 0..3_usize,
    ) {
        let mut bytes = if keep == 0 { Vec::new() } else { FIRST.encode().to_vec() };
        bytes.extend(tail);
        let found = recovered(&Image::from([("00000000000000000001.seg".into(), bytes)]));
        match found {
            Ok((partitions, peers)) => prop_assert!(partitions.is_empty() && peers.is_empty()),
            Err(error) => prop_assert!(matches!(error, OpenError::Halt(Halt::Corrupt(_)))),
        }
    }
}
