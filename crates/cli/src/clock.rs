//! The time of day: read here and handed down, so that no library has a clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now() -> u64 {
    // A clock before 1970 is not worth a failure: the run only notes it.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

/// The date in UTC, as `2025-11-23`.
pub fn today() -> String {
    date(now())
}

/// The date of a moment in UTC.
pub fn date(seconds: u64) -> String {
    let m = text::Moment::from_unix(i64::try_from(seconds).unwrap_or(0));
    format!("{:04}-{:02}-{:02}", m.year, m.month, m.day)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_padded() {
        assert_eq!(super::date(951_782_400), "2000-02-29");
        assert_eq!(super::date(0), "1970-01-01");
    }
}
