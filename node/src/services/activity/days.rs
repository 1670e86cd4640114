//! The UTC day of a log time.
use jiff::{Timestamp, tz::TimeZone};

/// Such as `2024-07-01`, of microseconds since 1970.
pub(super) fn of(micros: u64) -> String {
    let instant = i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    TimeZone::UTC.to_datetime(instant.unwrap_or(Timestamp::MAX)).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight() {
        for (micros, day) in [
            (0, "1970-01-01"),
            (86_399_999_999, "1970-01-01"),
            (86_400_000_000, "1970-01-02"),
            (1_719_791_999_999_999, "2024-06-30"),
            (1_719_792_000_000_000, "2024-07-01"),
            (u64::MAX, "9999-12-30"),
        ] {
            assert_eq!(of(micros), day, "{micros}");
        }
    }
}
