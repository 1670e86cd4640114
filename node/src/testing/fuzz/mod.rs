//! What fuzzers call, as in `corduroy_log::testing::fuzz`: one function per target, over bytes that mean anything or nothing.
//!
//! | target | promises that hold for every input |
//! |---|---|
//! | `decide` | whatever is decided, and however often its leader is deposed, a replica evolves it to what the leader took it for |
//! | `shop` | whatever is asked of the services, and whenever they read each other: no rule fails, money and pieces are conserved, every saga ends |
use arbitrary::Unstructured;

mod decide;
mod shop;

pub use decide::decide;
pub use shop::shop;

/// Takes any bytes; panics when a promise is broken.
pub type Target = fn(&[u8]);

/// All targets, by the name they have in `fuzz/`.
pub const TARGETS: [(&str, Target); 2] = [("decide", decide), ("shop", shop)];

/// A number from 0 up to and without `below`, which is above 0; 0 where the input is used up.
fn number(input: &mut Unstructured<'_>, below: usize) -> usize {
    input.int_in_range(0..=below - 1).unwrap_or(0)
}
