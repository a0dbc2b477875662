//! Points in time: what sources write, as RFC 3339.

/// Seconds since 1970 from which a number is a time, and not a count: 2001-09-09.
const EARLIEST: i64 = 1_000_000_000;
/// Up to here it is seconds: 2100-01-01.
const LATEST: i64 = 4_102_444_800;

/// A time as it is written into rows. Where none is named, the zone is taken to be UTC.
pub(crate) fn rfc3339(date: [u32; 3], time: [u32; 3], zone: &str) -> String {
    let ([year, month, day], [hour, minute, second]) = (date, time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")
}

/// Reads `2024-03-01`, with or without time, fraction and zone; `1.3.2024 14:05`; seconds or milliseconds since 1970.
///
/// Dates with slashes are left alone: what comes first, day or month, cannot be told.
pub(crate) fn parse(text: &str) -> Option<String> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        let seconds = if number > LATEST { number / 1000 } else { number };
        return (EARLIEST..LATEST).contains(&seconds).then(|| of_seconds(seconds));
    }
    let end = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let date = date(&text[..end])?;
    let (time, zone) = clock(text[end..].trim_start_matches(['T', 't', ' ']))?;
    Some(rfc3339(date, time, &zone))
}

/// Seconds since 1970 in UTC.
pub(crate) fn of_seconds(seconds: i64) -> String {
    // Days to a date by the calendar that repeats every 400 years, counted from the first of March.
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    rfc3339([year as u32, month as u32, date as u32], [rest / 3600, rest / 60 % 60, rest % 60], "Z")
}

fn date(text: &str) -> Option<[u32; 3]> {
    let parts = |sign: char| -> Option<Vec<u32>> { text.split(sign).map(|part| part.parse().ok()).collect() };
    let [year, month, day] = match (parts('-').as_deref(), parts('.').as_deref()) {
        (Some([year, month, day]), _) => [*year, *month, *day],
        (_, Some([day, month, year])) => [*year, *month, *day],
        _ => return None,
    };
    ((1900..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)).then_some([year, month, day])
}

/// Time of day and zone; nothing is midnight.
fn clock(text: &str) -> Option<([u32; 3], String)> {
    if text.is_empty() {
        return Some(([0; 3], "Z".into()));
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let whole = text[..end].split('.').next().unwrap_or_default();
    let parts: Vec<u32> = whole.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let time = match parts[..] {
        [hour, minute] => [hour, minute, 0],
        [hour, minute, second] => [hour, minute, second],
        _ => return None,
    };
    let valid = time[0] < 24 && time[1] < 60 && time[2] <= 60;
    valid.then_some(()).and(zone(text[end..].trim())).map(|zone| (time, zone))
}

fn zone(text: &str) -> Option<String> {
    if ["", "Z", "z", "UTC", "GMT"].contains(&text) {
        return Some("Z".into());
    }
    let digits: String = text.get(1..)?.chars().filter(|c| *c != ':').collect();
    let offset = match digits.len() {
        2 => format!("{digits}00"),
        4 => digits,
        _ => return None,
    };
    let valid = matches!(text.as_bytes()[0], b'+' | b'-') && offset.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| format!("{}{}:{}", &text[..1], &offset[..2], &offset[2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_that_exports_have() {
        for (text, expected) in [
            ("2024-03-01", "2024-03-01T00:00:00Z"),
            ("2024-03-01 14:05", "2024-03-01T14:05:00Z"),
            ("2024-03-01T14:05:06.789+02:00", "2024-03-01T14:05:06+02:00"),
            ("2024-03-01 14:05:06.789+00", "2024-03-01T14:05:06+00:00"),
            ("2024-03-01 14:05:06 UTC", "2024-03-01T14:05:06Z"),
            ("1.3.2024 9:05", "2024-03-01T09:05:00Z"),
            ("1709301906", "2024-03-01T14:05:06Z"),
            ("1709301906789", "2024-03-01T14:05:06Z"),
        ] {
            assert_eq!(parse(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["3/1/2024", "42", "yesterday", "2024-13-01", "2024-03-01 25:00", "", "2024-03-01T14:05:06 PST"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn days_are_dates_over_leap_years() {
        assert_eq!(of_seconds(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(of_seconds(-1), "1969-12-31T23:59:59Z");
        assert_eq!(of_seconds(4_107_542_399), "2100-02-28T23:59:59Z");
    }
}
