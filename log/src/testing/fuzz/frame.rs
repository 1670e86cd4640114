//! Headers of frames and segments, and the payloads the WAL itself reads.
use super::{array, number};
use crate::{
    topic::ClusterId,
    wal::{
        frame::{HEADER_LEN, Header, MAGIC},
        payload::{BatchHeader, decode_peer, decode_vote, encode_peer, encode_vote},
        segment::{Links, SEGMENT_HEADER_LEN, SegmentHeader},
    },
};
use arbitrary::Unstructured;

/// A frame header, a segment header, or a payload, from any bytes; with a checksum that fits or with the input's.
pub fn frame(data: &[u8]) {
    let mut input = Unstructured::new(data);
    match number(&mut input, 3) {
        0 => frame_header(&mut input),
        1 => segment_header(&mut input),
        _ => payloads(input.take_rest()),
    }
}

fn frame_header(input: &mut Unstructured<'_>) {
    let (sealed, begins_right) = (number(input, 4) > 0, number(input, 8) > 0);
    let mut bytes: [u8; HEADER_LEN] = array(input);
    if begins_right {
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = 1;
        bytes[6..8].fill(0);
        bytes[104..108].fill(0);
    }
    if sealed {
        seal(&mut bytes);
    }
    let Ok(header) = Header::decode(&bytes) else { return };
    assert_eq!(header.encode(), bytes, "what decodes has one form");
    flips_are_found(&bytes, input, |bytes| Header::decode(bytes).is_err());
}

fn segment_header(input: &mut Unstructured<'_>) {
    let header = SegmentHeader {
        cluster: ClusterId(array(input)),
        node: u64::from_le_bytes(array(input)),
        number: u64::from_le_bytes(array(input)),
        first_sequence: u64::from_le_bytes(array(input)),
        previous: crate::wal::payload::Mark {
            at: crate::wal::payload::Position {
                segment: u64::from_le_bytes(array(input)),
                offset: u64::from_le_bytes(array(input)),
            },
            sequence: u64::from_le_bytes(array(input)),
        },
        footer: crate::wal::payload::Position {
            segment: u64::from_le_bytes(array(input)),
            offset: u64::from_le_bytes(array(input)),
        },
        links: Links { batches: u64::from_le_bytes(array(input)), footers: u64::from_le_bytes(array(input)) },
    };
    let mut bytes = header.encode();
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
    flips_are_found(&bytes, input, |bytes| SegmentHeader::decode(bytes).is_err());
    bytes[number(input, SEGMENT_HEADER_LEN as usize)] = number(input, 256) as u8;
    seal(&mut bytes);
    if let Ok(header) = SegmentHeader::decode(&bytes) {
        assert_eq!(header.encode(), bytes, "what decodes has one form");
    }
}

fn payloads(bytes: &[u8]) {
    if let Some(header) = BatchHeader::decode(bytes) {
        assert_eq!(header.encode(), bytes);
    }
    if let Some(vote) = decode_vote(bytes) {
        assert_eq!(encode_vote(&vote), bytes);
    }
    if let Some(peer) = decode_peer(bytes) {
        assert_eq!(encode_peer(&peer), bytes);
    }
}

/// Puts the checksum that fits at the end.
fn seal<const N: usize>(bytes: &mut [u8; N]) {
    let crc = crc32c::crc32c(&bytes[..N - 4]);
    bytes[N - 4..].copy_from_slice(&crc.to_le_bytes());
}

fn flips_are_found<const N: usize>(
    bytes: &[u8; N],
    input: &mut Unstructured<'_>,
    refused: impl FnOnce(&[u8; N]) -> bool,
) {
    let (at, bit) = (number(input, N), number(input, 8));
    let mut flipped = *bytes;
    flipped[at] ^= 1 << bit;
    assert!(refused(&flipped), "bit {bit} of byte {at} was flipped, and nobody saw it");
}
