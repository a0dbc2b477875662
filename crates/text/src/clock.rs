//! The date that a template may ask for; given by the caller, never read here.

use std::fmt::Write;

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment of local time, to the second, in the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
}

impl Moment {
    /// The moment that lies this many seconds after 1970-01-01 00:00 UTC, in UTC.
    pub fn from_unix(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
        // Civil date from a day count: years are taken to begin in March, so that the leap day comes last.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year: year as i32,
            month: month as u32,
            day: (day_of_year - (153 * march_month + 2) / 5 + 1) as u32,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// Python's `strftime` for the directives that chat templates use; an unknown one is returned as the error.
    pub(crate) fn format(&self, pattern: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = chars.next().unwrap_or('%');
            let unpadded = directive == '-';
            if unpadded {
                directive = chars.next().unwrap_or('%');
            }
            self.directive(&mut out, directive, unpadded).ok_or_else(|| format!("%{}{directive}", if unpadded { "-" } else { "" }))?;
        }
        Ok(out)
    }

    fn directive(&self, out: &mut String, directive: char, unpadded: bool) -> Option<()> {
        let month = MONTHS.get(self.month.checked_sub(1)? as usize)?;
        let weekday = DAYS[self.weekday()];
        let twelve = (self.hour + 11) % 12 + 1;
        let (number, width) = match directive {
            'd' => (self.day, 2),
            'm' => (self.month, 2),
            'H' => (self.hour, 2),
            'I' => (twelve, 2),
            'M' => (self.minute, 2),
            'S' => (self.second, 2),
            'y' => (self.year.rem_euclid(100) as u32, 2),
            'j' => (self.day_of_year(), 3),
            _ => {
                match directive {
                    'Y' => write!(out, "{}", self.year).ok()?,
                    'B' => out.push_str(month),
                    'b' | 'h' => out.push_str(&month[..3]),
                    'A' => out.push_str(weekday),
                    'a' => out.push_str(&weekday[..3]),
                    'e' => write!(out, "{:2}", self.day).ok()?,
                    'p' => out.push_str(if self.hour < 12 { "AM" } else { "PM" }),
                    'F' => write!(out, "{}-{:02}-{:02}", self.year, self.month, self.day).ok()?,
                    'T' => write!(out, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second).ok()?,
                    '%' => out.push('%'),
                    _ => return None,
                }
                return Some(());
            }
        };
        let width = if unpadded { 1 } else { width };
        write!(out, "{number:0width$}").ok()
    }

    /// Sunday is 0 (Sakamoto's method).
    fn weekday(&self) -> usize {
        const SHIFT: [i32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = if self.month < 3 { self.year - 1 } else { self.year };
        let month = SHIFT[(self.month as usize).saturating_sub(1) % 12];
        (year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + month + self.day as i32).rem_euclid(7) as usize
    }

    fn day_of_year(&self) -> u32 {
        const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        BEFORE[(self.month as usize).saturating_sub(1) % 12] + self.day + u32::from(leap && self.month > 2)
    }
}

#[cfg(test)]
mod tests {
    use super::Moment;

    #[test]
    fn a_unix_time_becomes_the_date_python_prints() {
        // Python: datetime.fromtimestamp(s, timezone.utc).strftime("%d %b %Y %A %j %I%p %H:%M:%S %-d %y").
        let pattern = "%d %b %Y %A %j %I%p %H:%M:%S %-d %y";
        for (seconds, expected) in [
            (0, "01 Jan 1970 Thursday 001 12AM 00:00:00 1 70"),
            (951_827_696, "29 Feb 2000 Tuesday 060 12PM 12:34:56 29 00"),
            (1_722_038_400, "27 Jul 2024 Saturday 209 12AM 00:00:00 27 24"),
            (4_102_444_799, "31 Dec 2099 Thursday 365 11PM 23:59:59 31 99"),
        ] {
            assert_eq!(Moment::from_unix(seconds).format(pattern).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn an_unknown_directive_is_named() {
        assert_eq!(Moment::from_unix(0).format("%Y %-Q"), Err("%-Q".to_string()));
    }
}
