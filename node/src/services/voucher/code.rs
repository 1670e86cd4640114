//! What vouchers are called: 20 symbols that nobody mistakes for each other. Four name the partition, the others are 80 random bits,
//! drawn by whoever decides and kept in the event.
//!
//! The key of the alias that leads from a code to its voucher is the code behind [`MARK`], with which no order's id begins.
use super::Voucher;
use crate::runtime::Decide;

/// No I, L, O and U.
const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Symbols that name the partition.
const PLACE: usize = 4;
const LENGTH: usize = 20;
const MARK: char = '#';

/// The key of a code's alias. A code may be written in small letters.
pub fn alias(code: &str) -> String {
    format!("{MARK}{}", code.to_ascii_uppercase())
}

pub(super) fn is_alias(key: &str) -> bool {
    key.starts_with(MARK)
}

/// A code, of the key of its alias.
pub(super) fn shown(alias: &str) -> &str {
    alias.strip_prefix(MARK).unwrap_or(alias)
}

/// The partition that a code names; `None`: it is no code.
pub fn partition_of_code(code: &str) -> Option<u32> {
    let digit = |symbol: u8| SYMBOLS.iter().position(|other| *other == symbol.to_ascii_uppercase());
    let digits: Vec<usize> = code.bytes().map(digit).collect::<Option<_>>()?;
    if digits.len() != LENGTH {
        return None;
    }
    let place = digits.iter().take(PLACE).fold(0, |place, digit| place * 32 + digit);
    u32::try_from(place).ok()
}

/// Draws a code that is `free`.
pub(super) fn draw(cx: &mut Decide<'_, Voucher>, free: impl Fn(&str) -> bool) -> String {
    loop {
        let bits = u128::from(cx.random()) << 64 | u128::from(cx.random());
        let code = write(cx.place().partition, bits);
        if free(&code) {
            return code;
        }
    }
}

fn write(partition: u32, bits: u128) -> String {
    let symbol = |digits: u128| char::from(SYMBOLS[(digits & 31) as usize]);
    let place = (0..PLACE).rev().map(|at| symbol(u128::from(partition) >> (5 * at)));
    let random = (0..LENGTH - PLACE).map(|at| symbol(bits >> (5 * at)));
    place.chain(random).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_names_its_partition_in_whatever_case() {
        for partition in [0, 1, 31, 32, 255, (1 << 20) - 1] {
            let code = write(partition, u128::from(partition) * 0x9e37_79b9_7f4a_7c15);
            assert_eq!(code.len(), LENGTH);
            assert_eq!(partition_of_code(&code), Some(partition));
            assert_eq!(partition_of_code(&code.to_lowercase()), Some(partition));
            assert_eq!(shown(&alias(&code.to_lowercase())), code);
        }
        for none in ["", "0", "0000000000000000000I", "0000000000000000000\u{e4}", "000000000000000000000"] {
            assert_eq!(partition_of_code(none), None, "{none}");
        }
    }

    #[test]
    fn all_eighty_random_bits_are_in_a_code() {
        for bit in 0..80 {
            assert_ne!(write(3, 1 << bit), write(3, 0), "bit {bit}");
        }
    }
}
