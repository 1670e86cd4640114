//! What ids and numbers in a request may look like.
use crate::gateway::{ask::Ask, problem::Problem};

/// Characters of an id.
const MAX: usize = 64;
/// Of what a seed makes, at most.
const MAX_SEED: i64 = 1_000_000_000;

/// Whether a text can be an id.
pub(super) fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
    (1..=MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// An id at this place of a request.
pub(super) fn id<'a>(path: &str, text: &'a str) -> Result<&'a str, Problem> {
    if is_id(text) {
        return Ok(text);
    }
    Err(Problem::malformed(path, "an id has 1 to 64 characters of A-Z a-z 0-9 . _ ~ -"))
}

/// An id in the path of a request.
pub(super) fn param<'a>(ask: &'a Ask, name: &str) -> Result<&'a str, Problem> {
    id(name, ask.param(name))
}

/// A whole number in the path of a request.
pub(super) fn number(ask: &Ask, name: &str) -> Result<i64, Problem> {
    integer(name, ask.param(name))
}

/// One that is not negative.
pub(super) fn amount(ask: &Ask, name: &str) -> Result<i64, Problem> {
    not_negative(name, number(ask, name)?)
}

/// How many a seed makes, or draws from.
pub(super) fn count(ask: &Ask, name: &str) -> Result<u64, Problem> {
    let count = amount(ask, name)?;
    if count > MAX_SEED {
        return Err(Problem::rule(name, format!("it is at most {MAX_SEED}")));
    }
    Ok(count.unsigned_abs())
}

pub(super) fn not_negative(path: &str, number: i64) -> Result<i64, Problem> {
    if number < 0 { Err(Problem::rule(path, "it is negative")) } else { Ok(number) }
}

/// Digits, perhaps behind a minus. What is a number but too large to count with is against a rule.
fn integer(path: &str, text: &str) -> Result<i64, Problem> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::malformed(path, "it is no whole number"));
    }
    text.parse().map_err(|_| Problem::rule(path, "it is more than can be counted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_few_characters_of_a_few_kinds() {
        let longest = "x".repeat(64);
        for good in ["0", "PRODUCT_001", "a.b~c-d_E", &longest] {
            assert!(is_id(good), "{good}");
        }
        let longer = "x".repeat(65);
        for bad in ["", " ", "a b", "ref/1", "\u{e4}", "a%20", "a:b", &longer] {
            assert!(!is_id(bad), "{bad}");
        }
        assert_eq!(id("user", "a b").expect_err("it has a space").name(), "malformed");
    }

    #[test]
    fn numbers_are_digits() {
        for (text, number) in [("0", 0), ("007", 7), ("-3", -3), ("9223372036854775807", i64::MAX)] {
            assert_eq!(integer("n", text).expect(text), number);
        }
        for text in ["", "-", "+1", "1.0", "1e3", " 1", "x"] {
            assert_eq!(integer("n", text).expect_err(text).name(), "malformed");
        }
        assert_eq!(integer("n", "9223372036854775808").expect_err("too large").name(), "rule-violated");
        assert_eq!(not_negative("n", -1).expect_err("it is").name(), "rule-violated");
    }
}
