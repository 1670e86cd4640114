//! What fuzzers call: one function per target, over bytes that mean anything or nothing.
//!
//! Each panics when a promise is broken, and on nothing else. `fuzz/` drives them with libFuzzer and keeps what it found
//! worth keeping in `fuzz/corpus`; a test of this crate plays that again on every change.
//!
//! | target | promises that hold for every input |
//! |---|---|
//! | `frame` | what decodes encodes to the same bytes; what was encoded decodes to the same; a flipped bit is found |
//! | `decided` | what counts of decided batches is one chain, by a model; a void one changes nothing |
//! | `records` | the same for batches of records, of any content a client may send |
//! | `wal` | a damaged log gives a state it once had, not older than the damage, or is refused; opening and looking agree |
//! | `identity` | damaged copies give the identity or the one before it, or are refused; nobody else's, ever |
//! | `checkpoint` | a checkpoint file reads as it was written, or is refused; another directory's always is |
//! | `peer` | anything in place of packets is refused or ignored; limits hold |
//!
//! **Invariant**: a target is a function of its input alone.
use arbitrary::Unstructured;

mod checkpoint;
mod decided;
mod frame;
mod identity;
mod peer;
mod records;
mod wal;

pub use checkpoint::checkpoint;
pub use decided::decided;
pub use frame::frame;
pub use identity::identity;
pub use peer::peer;
pub use records::records;
pub use wal::wal;

/// Takes any bytes; panics when a promise is broken.
pub type Target = fn(&[u8]);

/// All targets, by the name they have in `fuzz/`.
pub const TARGETS: [(&str, Target); 7] = [
    ("checkpoint", checkpoint),
    ("decided", decided),
    ("frame", frame),
    ("identity", identity),
    ("peer", peer),
    ("records", records),
    ("wal", wal),
];

/// A number from 0 up to and without `below`, which is above 0; 0 where the input is used up.
fn number(input: &mut Unstructured<'_>, below: usize) -> usize {
    input.int_in_range(0..=below - 1).unwrap_or(0)
}

/// The next bytes of the input, zeros behind its end.
fn array<const N: usize>(input: &mut Unstructured<'_>) -> [u8; N] {
    input.arbitrary().unwrap_or([0; N])
}

/// A damage of bytes: what storage does to them, and what an editor would. Does nothing where there are none.
fn damage(input: &mut Unstructured<'_>, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = number(input, bytes.len());
    let len = (1 + number(input, 1024)).min(bytes.len() - at);
    match number(input, 6) {
        0 => bytes[at] ^= 1 << number(input, 8),
        1 => bytes[at..at + len].fill(number(input, 256) as u8),
        // A sector that was never written, or written and lost.
        2 => {
            let begin = at / 512 * 512;
            let end = (begin + 512).min(bytes.len());
            bytes[begin..end].fill(0);
        }
        // A misdirected write.
        3 => {
            let from = number(input, bytes.len() - len + 1);
            bytes.copy_within(from..from + len, at);
        }
        4 => bytes.truncate(at),
        _ => {
            let new: [u8; 16] = array(input);
            let len = len.min(new.len());
            bytes[at..at + len].copy_from_slice(&new[..len]);
        }
    }
}
