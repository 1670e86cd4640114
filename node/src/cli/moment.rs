//! Points in time, as people write them.
use std::time::SystemTime;

/// RFC 3339 (`2026-11-27T10:00:00Z`), or `-5m` for five minutes before `now`.
pub(super) fn moment(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let wrong =
        |why: String| format!("@{text} is no time: {why}; try @2026-11-27T10:00:00Z, or @-5m for five minutes ago");
    match text.strip_prefix('-') {
        Some(ago) => {
            let ago = humantime::parse_duration(ago).map_err(|error| wrong(error.to_string()))?;
            now.checked_sub(ago).ok_or_else(|| wrong("so long ago there was no time".into()))
        }
        None => {
            let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
            Ok(time.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_are_rfc_3339_or_so_long_ago() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(moment("-5m", now), Ok(now - Duration::from_secs(300)));
        assert_eq!(moment("-1h 30s", now), Ok(now - Duration::from_secs(3630)));
        assert_eq!(moment("1970-01-01T00:00:01.5Z", now), Ok(UNIX_EPOCH + Duration::from_millis(1500)));
        assert_eq!(moment("1970-01-01T02:00:00+02:00", now), Ok(UNIX_EPOCH));
        for wrong in ["yesterday", "5m", "-", "-soon", "2026-11-27", "2026-11-27T10:00:00", ""] {
            let why = moment(wrong, now).expect_err("it is no time");
            assert!(why.starts_with(&format!("@{wrong} is no time: ")) && why.contains("try @2026"), "{why}");
        }
    }
}
