//! Days as written, and how far apart they are.

/// Days since 1970 of a day such as `2026-11-29`; `None` for what is no day.
pub fn number(day: &str) -> Option<i64> {
    let parts: Vec<&str> = day.split('-').collect();
    let [year, month, date] = parts.as_slice() else { return None };
    if (year.len(), month.len(), date.len()) != (4, 2, 2) {
        return None;
    }
    let (year, month, date): (i64, i64, i64) = (year.parse().ok()?, month.parse().ok()?, date.parse().ok()?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=longest).contains(&date) {
        return None;
    }
    // A year that begins in March has its leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + date - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn days_are_counted_and_wrong_ones_refused() {
        assert_eq!([number("1970-01-01"), number("1970-01-02"), number("2000-03-01")], [Some(0), Some(1), Some(11_017)]);
        assert_eq!(number("2026-11-29").unwrap() - number("2025-11-29").unwrap(), 365);
        for wrong in ["2026-02-29", "2026-13-01", "2026-1-1", "yesterday", "2026-00-10", "2026-11-31"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
        assert!(number("2024-02-29").is_some());
    }
}
