use super::*;
use std::fmt::Write as _;

const OWNER: Owner = Owner { cluster: ClusterId(*b"a test's cluster"), node: 7, incarnation: *b"an incarnation !" };
const P: PartitionId = PartitionId::new(3, 1);

fn written(body: &[u8]) -> Bytes {
    [&head(&OWNER, P, body)[..], body].concat().into()
}

#[test]
fn golden_checkpoint() {
    let bytes = written(b"a partition's own state");
    let mut actual = String::new();
    for (name, from, to) in [
        ("header", 0, HEADER_LEN),
        ("chunk checksums", HEADER_LEN, HEADER_LEN + 4),
        ("body", HEADER_LEN + 4, bytes.len()),
    ] {
        writeln!(actual, "{name}").unwrap();
        for line in bytes[from..to].chunks(32) {
            writeln!(actual, "  {}", line.iter().map(|byte| format!("{byte:02x}")).collect::<String>()).unwrap();
        }
    }
    let path = format!("{}/tests/golden/checkpoint-v1.txt", env!("CARGO_MANIFEST_DIR"));
    #[allow(clippy::disallowed_methods, reason = "golden files belong to the source, not to a node")]
    if std::env::var_os("CORDUROY_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &actual).expect("golden files can be written");
    }
    #[allow(clippy::disallowed_methods, reason = "golden files belong to the source, not to a node")]
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(expected, actual, "{path} differs");
}

#[test]
fn a_body_of_any_number_of_chunks_comes_back() {
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
        let content: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let file = written(&content);
        assert_eq!(file.len(), HEADER_LEN + 4 * len.div_ceil(CHUNK) + len);
        assert_eq!(body(&OWNER, P, &file).unwrap(), content);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let file = written(b"a partition's own state");
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut flipped = file.to_vec();
            flipped[at] ^= 1 << bit;
            let found = body(&OWNER, P, &flipped.into());
            assert!(matches!(found, Err(FileError::Damaged(_))), "byte {at}, bit {bit}: {found:?}");
        }
    }
}

#[test]
fn a_file_cut_at_any_byte_or_grown_is_noticed() {
    let file = written(b"a partition's own state");
    for len in 0..file.len() {
        assert!(matches!(body(&OWNER, P, &file.slice(..len)), Err(FileError::Damaged(_))), "{len} bytes were taken");
    }
    let grown = [&file[..], b"x"].concat().into();
    assert!(matches!(body(&OWNER, P, &grown), Err(FileError::Damaged(_))));
}

#[test]
fn a_missing_or_misplaced_chunk_is_noticed() {
    let content: Vec<u8> = (0..3 * CHUNK).map(|at| (at / CHUNK) as u8).collect();
    let file = written(&content);
    let at = |nth: usize| HEADER_LEN + 12 + nth * CHUNK;
    let missing = [&file[..at(1)], &file[at(2)..]].concat().into();
    assert!(matches!(body(&OWNER, P, &missing), Err(FileError::Damaged(_))));
    let mut swapped = file.to_vec();
    swapped[at(0)..at(2)].rotate_left(CHUNK);
    assert!(matches!(body(&OWNER, P, &swapped.into()), Err(FileError::Damaged(what)) if what.contains("chunk 0")));
    // Chunks changed together with their checksums: the whole still tells.
    let mut both = file.to_vec();
    both[at(0)..at(2)].rotate_left(CHUNK);
    both[HEADER_LEN..HEADER_LEN + 8].rotate_left(4);
    assert!(matches!(body(&OWNER, P, &both.into()), Err(FileError::Damaged(what)) if what.contains("whole")));
}

#[test]
fn what_belongs_to_somebody_else_is_said_to() {
    let file = written(b"state");
    let others = [
        Owner { cluster: ClusterId([1; 16]), ..OWNER },
        Owner { node: 8, ..OWNER },
        Owner { incarnation: [1; 16], ..OWNER },
    ];
    for other in others {
        assert!(matches!(body(&other, P, &file), Err(FileError::Foreign(_))), "{other:?}");
    }
    assert!(matches!(body(&OWNER, PartitionId::new(3, 2), &file), Err(FileError::Foreign(_))));
}

#[test]
fn a_later_version_is_not_taken_for_damage() {
    let mut file = written(b"state").to_vec();
    file[4] = 2;
    let crc = crc32c::crc32c(&file[..HEADER_LEN - 4]);
    file[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(body(&OWNER, P, &file.into()), Err(FileError::Newer(2)));
}
