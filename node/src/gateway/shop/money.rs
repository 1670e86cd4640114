//! Decimal amounts with at most two places, and cents. No floats: also not on the way through JSON.
use crate::gateway::problem::Problem;
use serde_json::value::RawValue;

/// Cents, of the text of a decimal: `150`, `150.5`, `-0.05`.
pub(super) fn parse(path: &str, text: &str) -> Result<i64, Problem> {
    let malformed = || Problem::malformed(path, "it is no decimal number with at most two places");
    let (sign, plain) = text.strip_prefix('-').map_or((1, text), |plain| (-1, plain));
    let (whole, places) = match plain.split_once('.') {
        Some((whole, places)) if (1..=2).contains(&places.len()) => (whole, places),
        Some(_) => return Err(malformed()),
        None => (plain, ""),
    };
    if whole.is_empty() || ![whole, places].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(malformed());
    }
    // As many cents as the digits say: "5" places are 50.
    let digits = format!("{whole}{places:0<2}");
    let cents = digits.parse::<i64>().map_err(|_| Problem::rule(path, "it is more than can be counted"))?;
    Ok(sign * cents)
}

/// Of a JSON number or string, by what is written there.
pub(super) fn of_json(path: &str, raw: &RawValue) -> Result<i64, Problem> {
    if raw.get().starts_with('"') {
        let text = serde_json::from_str::<String>(raw.get());
        return parse(path, &text.map_err(|error| Problem::malformed(path, error.to_string()))?);
    }
    parse(path, raw.get())
}

/// With two places.
pub(super) fn show(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_cents() {
        for (text, cents) in [
            ("150", 15_000),
            ("150.00", 15_000),
            ("150.5", 15_050),
            ("0.05", 5),
            ("-0.05", -5),
            ("0", 0),
            ("00.10", 10),
            ("92233720368547758.07", i64::MAX),
        ] {
            assert_eq!(parse("net", text).expect(text), cents, "{text}");
        }
    }

    #[test]
    fn more_places_and_other_texts_are_none() {
        for text in
            ["", "-", ".", ".5", "1.", "99.999", "1e2", "+1", "1,5", "0x1", " 1", "1.-5", "--1", "NaN", "\u{0661}"]
        {
            assert_eq!(parse("net", text).expect_err(text).name(), "malformed", "{text}");
        }
        assert_eq!(parse("net", "92233720368547758.08").expect_err("too large").name(), "rule-violated");
    }

    #[test]
    fn json_is_taken_by_its_letters() {
        let of = |text: &str| {
            let raw: Box<RawValue> = serde_json::from_str(text).expect("it is JSON");
            of_json("net", &raw).map_err(|problem| problem.name())
        };
        assert_eq!(of("84.03"), Ok(8403));
        assert_eq!(of("\"84.03\""), Ok(8403));
        assert_eq!(of("\"8\\u0034\""), Ok(8400));
        assert_eq!(of("0.1000000000000000055"), Err("malformed"), "although a float would take it for 0.1");
        for other in ["true", "[]", "{}", "\"x\""] {
            assert_eq!(of(other), Err("malformed"), "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_what_it_was(cents in (i64::MIN + 1)..) {
            prop_assert_eq!(parse("net", &show(cents)).ok(), Some(cents));
        }
    }
}
