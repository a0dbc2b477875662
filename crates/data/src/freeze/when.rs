//! Times as RFC 3339 writes them, to seconds since 1970.

/// `2026-03-01`, `2026-03-01T12:00:00Z` or with an offset; nothing where it is no time.
pub fn seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let days = days(date)?;
    if rest.is_empty() {
        return Some(days * 86_400);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let clock = rest.get(..8)?;
    let [hour, minute, second] = numbers(clock, ':')?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = rest[8..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?)
}

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between).map(|part| part.parse::<u32>().ok().map(i64::from));
    let all = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(all)
}

/// Days since 1970 in the Gregorian calendar, by whole cycles of 400 years.
fn days(date: &str) -> Option<i64> {
    let [year, month, day] = numbers(date, '-')?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let long = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *long.get(usize::try_from(month - 1).ok()?)?;
    if !(1..=length).contains(&day) {
        return None;
    }
    let before = |year: i64| year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let months: i64 = long[..month as usize - 1].iter().sum();
    Some(before(year) - before(1970) + months + day - 1)
}

fn offset(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match zone.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (hours.parse::<u32>().ok()?, minutes.parse::<u32>().ok()?);
    (hours <= 23 && minutes <= 59).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_of_all_spellings() {
        assert_eq!(seconds("1970-01-01"), Some(0));
        assert_eq!(seconds("2000-03-01T00:00:00Z"), Some(951_868_800));
        assert_eq!(seconds("2026-11-29T18:34:07Z"), Some(1_795_977_247));
        assert_eq!(seconds("2026-11-29T20:34:07.25+02:00"), Some(1_795_977_247));
        assert_eq!(seconds("2024-02-29 00:00:00"), Some(1_709_164_800));
        for bad in
            ["", "yesterday", "2023-02-29", "2026-13-01", "2026-01-01T25:00:00Z", "2026-01-01T10:00:00+2", "2026-01-01Tzz", "äöüäöüäöüä"]
        {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
