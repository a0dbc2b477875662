//! Quotes of earlier mails, and the header of a mail that is passed on.

use super::phrases::{ATTRIBUTION, BARE_ATTRIBUTION, EXACT, FORWARDED, LABEL, OPENING, ORIGINAL, REPLY_LINE, WHEN_OR_WHO};
use super::{About, Cut, Lines};

/// What a mail says of the one that it passes on.
#[derive(Debug, Default)]
pub struct Forward {
    /// The line at which it begins.
    pub at: Option<usize>,
    pub from: Option<String>,
}

/// How many lines an attribution may be broken over.
const BROKEN_OVER: usize = 3;
/// Names of dates that are not only of mails.
const DATES: &[&str] = &["date", "datum", "data", "fecha", "dato", "дата", "日期", "tarih"];
/// How many lines of a header are looked at.
const HEADER: usize = 8;

/// Marks what was said by others before.
pub fn mark(lines: &mut Lines, about: About) -> Forward {
    let mut forward = Forward::default();
    let mut n = 0;
    while n < lines.lines.len() {
        if forward.at.is_none() && is_forwarded(lines.lines[n]) {
            n = pass_on(lines, n, n + 1, &mut forward);
        } else if let Some(from) = header(&lines.lines[n..]) {
            if about.forward && forward.at.is_none() && !quoted(lines.lines[n]) {
                forward.from.get_or_insert(from);
                n = pass_on(lines, n, n, &mut forward);
            } else {
                let begin = rule_above(lines, n);
                lines.mark(begin..lines.lines.len(), Cut::Quote);
                return forward;
            }
        } else if is_original(lines.lines[n]) || (is_forwarded(lines.lines[n]) && forward.at.is_some()) {
            lines.mark(n..lines.lines.len(), Cut::Quote);
            return forward;
        } else if is_reply_line(lines.lines[n]) {
            // Above it nothing was said: this is the help desk's own mail.
            let above = lines.said().first().is_some_and(|first| *first < n);
            let end = if above { lines.lines.len() } else { n + 1 };
            lines.mark(n..end, Cut::Quote);
            n = end;
        } else if let Some(found) = attribution(&lines.lines[n..]) {
            n = attributed(lines, n, found);
        } else if quoted(lines.lines[n]) {
            n = cited(lines, n, about);
        } else {
            n += 1;
        }
    }
    forward
}

// A pattern of many languages is tried only on lines that have the one sign which all of its forms share.

fn is_forwarded(line: &str) -> bool {
    (line.contains("--") || line.trim_end().ends_with(':')) && FORWARDED.is_match(line)
}

fn is_original(line: &str) -> bool {
    line.contains("--") && ORIGINAL.is_match(line)
}

fn is_reply_line(line: &str) -> bool {
    const LINES: [&str; 9] = ["line", "Zeile", "Linie", "ligne", "línea", "riga", "regel", "lijn", "linha"];
    line.len() < 200 && LINES.iter().any(|word| line.contains(word)) && REPLY_LINE.is_match(line)
}

fn label(line: &str) -> Option<regex::Captures<'_>> {
    line.contains([':', ':']).then(|| LABEL.captures(line))?
}

fn quoted(line: &str) -> bool {
    line.trim_start().starts_with('>')
}

/// Marks the header of a mail that is passed on; what it says stays.
fn pass_on(lines: &mut Lines, at: usize, from: usize, forward: &mut Forward) -> usize {
    forward.at = Some(at);
    let mut end = from;
    let mut named = false;
    while end < lines.lines.len() && end < from + 2 * HEADER {
        let line = lines.lines[end];
        let label = label(line);
        if let Some(found) = label.as_ref().filter(|l| l.name("from").is_some()) {
            forward.from.get_or_insert_with(|| found["value"].trim().to_string());
        }
        let bare = line.trim_matches(['>', ' ', '\t']);
        let folded = named && line.starts_with([' ', '\t']) && !bare.is_empty();
        if label.is_none() && !folded && (named || !bare.is_empty()) {
            break;
        }
        named |= label.is_some();
        end += 1;
    }
    lines.mark(at..end, Cut::ForwardHeader);
    // Apple quotes what it passes on by one level.
    for n in end..lines.lines.len() {
        let line = lines.lines[n].trim_start();
        let Some(inner) = line.strip_prefix('>') else {
            if line.is_empty() {
                continue;
            }
            break;
        };
        lines.lines[n] = inner.strip_prefix(' ').unwrap_or(inner);
    }
    end
}

/// The sender, if these lines begin with the header of a mail as Outlook puts it above a quote.
fn header(lines: &[&str]) -> Option<String> {
    let first = label(lines[0])?;
    let mut kinds = [false; 4];
    let mut sender = first.name("from").map(|_| first["value"].trim().to_string());
    let (mut address, mut timed) = (false, false);
    for line in lines.iter().take(HEADER) {
        let Some(label) = label(line) else {
            if line.trim_matches(['>', ' ', '\t']).is_empty() {
                break;
            }
            continue;
        };
        for (kind, name) in ["from", "date", "to", "subject"].iter().enumerate() {
            kinds[kind] |= label.name(name).is_some();
        }
        if label.name("from").is_some() {
            sender.get_or_insert_with(|| label["value"].trim().to_string());
        }
        // Journeys have dates; only mails are sent.
        let sent = label.name("date").is_some_and(|name| !DATES.contains(&name.as_str().to_lowercase().as_str()));
        address |= sent || (label["value"].contains('@') && label.name("subject").is_none());
        timed |= label.name("date").is_some() && EXACT.is_match(&label["value"]);
    }
    let count = kinds.iter().filter(|k| **k).count();
    // From, to and a date alone may be a journey.
    let is = kinds[0] && (count >= 3 && (kinds[3] || address) || timed && sender.as_ref().is_some_and(|s| s.contains('@')));
    is.then_some(sender).flatten()
}

/// Where the line of underscores or the blank bold marker above a header begins.
fn rule_above(lines: &Lines, header: usize) -> usize {
    let above = (0..header).rev().take(3).find(|n| !lines.lines[*n].trim().is_empty());
    let is_rule = |line: &str| line.trim().len() >= 5 && line.trim().chars().all(|c| matches!(c, '_' | '-' | '=' | '*'));
    above.filter(|n| is_rule(lines.lines[*n]) || is_original(lines.lines[*n])).unwrap_or(header)
}

/// "On … wrote:".
struct Attribution {
    /// How many lines it takes.
    length: usize,
    /// A program wrote it: it gives a time of day or an address.
    exact: bool,
}

fn attribution(lines: &[&str]) -> Option<Attribution> {
    let mut joined = String::new();
    for (n, line) in lines.iter().take(BROKEN_OVER).enumerate() {
        if line.trim().is_empty() || (n > 0 && (quoted(line) != quoted(lines[0]) || !OPENING.is_match(lines[0]))) {
            return None;
        }
        joined.push(' ');
        joined.push_str(line.trim());
        if joined.len() > 400 {
            return None;
        }
        let joined = joined.trim();
        let ends = joined.ends_with([':', ':', '*', '-']);
        if (joined.contains('<') && BARE_ATTRIBUTION.is_match(joined))
            || (ends && WHEN_OR_WHO.is_match(joined) && ATTRIBUTION.is_match(joined))
        {
            return Some(Attribution { length: n + 1, exact: EXACT.is_match(joined) });
        }
    }
    None
}

/// Marks an attribution with what it introduces: lines behind `>`, or else all that follows. A person who says "on 4 May he wrote:"
/// introduces words of the mail itself.
fn attributed(lines: &mut Lines, from: usize, found: Attribution) -> usize {
    let after = from + found.length;
    let next = (after..lines.lines.len()).find(|n| !lines.lines[*n].trim().is_empty());
    let end = match next {
        Some(next) if quoted(lines.lines[next]) => quote_end(lines, next),
        None => after,
        Some(_) if found.exact => lines.lines.len(),
        Some(_) => return after,
    };
    lines.mark(from..end, Cut::Quote);
    end
}

/// The line after a block of quoted lines, over blank ones between them.
fn quote_end(lines: &Lines, from: usize) -> usize {
    let mut end = from;
    for n in from..lines.lines.len() {
        if quoted(lines.lines[n]) {
            end = n + 1;
        } else if !lines.lines[n].trim().is_empty() {
            break;
        }
    }
    end
}

/// Marks a block of quoted lines. One alone in a mail that answers nothing is somebody's arrow.
fn cited(lines: &mut Lines, from: usize, about: About) -> usize {
    let end = quote_end(lines, from);
    if about.reply || end - from > 1 {
        lines.mark(from..end, Cut::Quote);
    }
    end
}
