//! Instants and days, as they are written.
use crate::gateway::problem::Problem;
use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

/// Microseconds since 1970, as RFC 3339 in UTC.
pub(in crate::gateway) fn show(micros: u64) -> String {
    let instant = i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    instant.unwrap_or(Timestamp::MAX).to_string()
}

/// Microseconds since 1970, of an instant or of the beginning of a day in UTC.
pub(super) fn parse(path: &str, text: &str) -> Result<u64, Problem> {
    let day = || text.parse::<Date>().and_then(|day| day.to_zoned(TimeZone::UTC)).map(|day| day.timestamp());
    let instant = text.parse::<Timestamp>().or_else(|_| day());
    let instant = instant.map_err(|_| Problem::malformed(path, "it is no date and no instant of RFC 3339"))?;
    u64::try_from(instant.as_microsecond()).map_err(|_| Problem::rule(path, "it is before 1970"))
}

/// Microseconds since 1970, of an instant of RFC 3339 or of one such as `2020/07/01 12:00:00`, which is one in UTC.
pub(super) fn parse_instant(path: &str, text: &str) -> Result<u64, Problem> {
    u64::try_from(instant(path, text)?).map_err(|_| Problem::rule(path, "it is before 1970"))
}

/// The same of a date something is compared with: nothing that is here is before 1970.
pub(super) fn parse_bound(path: &str, text: &str) -> Result<u64, Problem> {
    Ok(u64::try_from(instant(path, text)?).unwrap_or(0))
}

fn instant(path: &str, text: &str) -> Result<i64, Problem> {
    let plain = || plain(text)?.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    let instant = text.parse::<Timestamp>().ok().or_else(plain).map(Timestamp::as_microsecond);
    let reason = "it is no instant of RFC 3339, and none such as 2020/07/01 12:00:00";
    instant.ok_or_else(|| Problem::malformed(path, reason))
}

/// As `yyyy/MM/dd HH:mm:ss` has it, with two digits each and four for the year.
fn plain(text: &str) -> Option<DateTime> {
    const SHAPE: &[u8] = b"0000/00/00 00:00:00";
    let fits = |(is, shape): (u8, &u8)| if *shape == b'0' { is.is_ascii_digit() } else { is == *shape };
    let fits = text.len() == SHAPE.len() && text.bytes().zip(SHAPE).all(fits);
    fits.then(|| text.replace('/', "-").parse().ok())?
}

/// A UTC day, counted from 1970.
pub(super) fn show_day(day: i64) -> Option<String> {
    let days = jiff::Span::new().try_days(day).ok()?;
    Some(EPOCH.checked_add(days).ok()?.to_string())
}

/// The same the other way round.
pub(super) fn parse_day(path: &str, text: &str) -> Result<i64, Problem> {
    let malformed = |_| Problem::malformed(path, "it is no date such as 2020-07-01");
    let day: Date = text.parse().map_err(malformed)?;
    Ok(EPOCH.until(day).map_err(malformed)?.get_days().into())
}

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_they_are_shown() {
        for (text, shown) in [
            ("2020-06-30T23:59:59Z", "2020-06-30T23:59:59Z"),
            ("2020-07-01", "2020-07-01T00:00:00Z"),
            ("2020-07-01T02:00:00+02:00", "2020-07-01T00:00:00Z"),
            ("2021-01-01T00:00:00.25Z", "2021-01-01T00:00:00.25Z"),
        ] {
            assert_eq!(show(parse("at", text).expect(text)), shown);
        }
        for text in ["", "2020-13-01", "yesterday", "12"] {
            assert_eq!(parse("at", text).expect_err(text).name(), "malformed");
        }
        assert_eq!(parse("at", "1969-12-31").expect_err("too early").name(), "rule-violated");
        assert_eq!(show(u64::MAX), Timestamp::MAX.to_string());
    }

    #[test]
    fn dates_of_campaigns_are_instants_in_either_way() {
        for (text, shown) in [
            ("2024-11-29T01:00:00+01:00", "2024-11-29T00:00:00Z"),
            ("2024/11/29 23:59:59", "2024-11-29T23:59:59Z"),
            ("1970/01/01 00:00:00", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(show(parse_instant("at", text).expect(text)), shown);
            assert_eq!(show(parse_bound("at", text).expect(text)), shown);
        }
        let wrong = ["", "2024-11-29", "2024/11/29", "2024/11/29 24:00:00", "2024/13/01 00:00:00", "2024/2/3 1:02:03"];
        for text in wrong.into_iter().chain(["2024/02/30 00:00:00", "2024/11/29T00:00:00", "2024-11-29 00:00:00"]) {
            assert_eq!(parse_instant("at", text).expect_err(text).name(), "malformed");
        }
        assert_eq!(parse_instant("at", "1969/12/31 23:59:59").expect_err("too early").name(), "rule-violated");
        assert_eq!(parse_bound("at", "1969/12/31 23:59:59").ok(), Some(0));
    }

    #[test]
    fn days_are_counted_from_1970() {
        for (text, day) in [("1970-01-01", 0), ("1970-01-02", 1), ("1969-12-31", -1), ("2020-07-01", 18_444)] {
            assert_eq!(parse_day("day", text).expect(text), day);
            assert_eq!(show_day(day).as_deref(), Some(text));
        }
        assert_eq!(parse_day("day", "2024-13-01").expect_err("no month").name(), "malformed");
        assert_eq!(show_day(i64::MAX), None);
    }
}
