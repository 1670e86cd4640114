//! Checkpoint files: as they were written, damaged, or of arbitrary content under fitting checksums.
use super::{array, damage, number};
use crate::{
    partition::{
        checkpoint::file::{Owner, body, head},
        fold::{Fold, FoldOptions},
    },
    topic::{ClusterId, PartitionId},
};
use arbitrary::Unstructured;
use bytes::Bytes;
use corduroy_proto::v1::PartitionSnapshot;
use prost::Message as _;

const OWNER: Owner = Owner { cluster: ClusterId([1; 16]), node: 1, incarnation: [7; 16] };
const P: PartitionId = PartitionId::new(1, 0);

/// Writes a checkpoint, damages it or not, and reads it.
pub fn checkpoint(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let damages = number(&mut input, 3);
    let owner = match number(&mut input, 4) {
        0 => Owner { node: 2, ..OWNER },
        1 => Owner { incarnation: array(&mut input), ..OWNER },
        _ => OWNER,
    };
    let len = number(&mut input, 2048).min(input.len());
    let content = Bytes::copy_from_slice(input.bytes(len).unwrap_or_default());
    let written = [&head(&owner, P, &content)[..], &content].concat();
    let mut file = written.clone();
    for _ in 0..damages {
        damage(&mut input, &mut file);
    }
    match body(&OWNER, P, &Bytes::from(file.clone())) {
        Ok(found) => {
            assert!(file == written, "damage was passed over");
            assert!(owner == OWNER, "the checkpoint of another directory was taken");
            assert_eq!(found, content);
            restore(&found);
        }
        Err(error) => assert!(file != written || owner != OWNER, "an undamaged checkpoint was refused: {error}"),
    }
}

/// What a checkpoint says is taken as it is, or refused.
fn restore(content: &[u8]) {
    let Ok(snapshot) = PartitionSnapshot::decode(content) else { return };
    for options in [FoldOptions::default(), FoldOptions { key_index: true }] {
        let Ok(fold) = Fold::restore(&snapshot, options) else { continue };
        let again = fold.frozen().expect("a restored fold has a last entry").encode();
        assert_eq!(Fold::restore(&again, options).expect("what was restored once"), fold);
    }
}
