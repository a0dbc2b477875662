//! The result in sentences, the same on a terminal, in a document and on a page.

use super::Cost;
use super::meet::Meeting;
use super::money::{grouped, plain};
use super::name::Name;
use super::value::{Spread, Value};
use super::ways::Way;

/// What costs least.
pub fn headline(cost: &Cost) -> String {
    let least = cost.cheapest();
    let calls = cost.case.value(Name::Calls).value;
    let (way, months) = (least.title(), cost.case.months);
    let whole =
        format!("At {} calls a month {} costs least: {} over {months} months.", grouped(calls as u64), the(way), plain(cost.total(least)));
    whole
}

/// How far the others are, where they meet, how sure it is; a sentence or two each.
pub fn details(cost: &Cost) -> Vec<String> {
    let mut lines = vec![others(cost), meeting(cost)];
    lines.extend(cost.managed.as_ref().map(|meeting| {
        let from = "Managed fine-tuning is no dearer than the API";
        format!("{from} {}; {}.", volumes(meeting), paid_back(cost.managed_payback))
    }));
    lines.push(chances(cost));
    lines.extend(matters(cost));
    lines
}

fn others(cost: &Cost) -> String {
    let least = cost.cheapest();
    let rest = cost.bills.iter().filter(|bill| bill.way != least);
    let rest: Vec<String> = rest
        .map(|bill| format!("{} costs {}, {} more", the(bill.way.title()), plain(bill.total), plain(bill.total - cost.total(least))))
        .collect();
    let mut line = rest.join("; ");
    line.push('.');
    capital(&line)
}

fn meeting(cost: &Cost) -> String {
    let calls = cost.case.value(Name::Calls).value;
    let times = match cost.meeting.stays {
        Some(stays) if calls > 0.0 && stays > 0 => format!(" ({} times yours)", figure(stays as f64 / calls)),
        _ => String::new(),
    };
    format!("Self-hosting is no dearer than the API {}{times}; {}.", volumes(&cost.meeting), paid_back(cost.payback))
}

/// `from 5,551,736 calls a month on`, with the islands before.
pub fn volumes(meeting: &Meeting) -> String {
    let islands = meeting.intervals.iter().filter_map(|(from, to)| to.map(|to| format!("{} to {}", grouped(*from), grouped(to))));
    let islands: Vec<String> = islands.collect();
    let between = match islands.len() {
        0 => String::new(),
        1..=4 => islands.join(", "),
        n => format!("{} and {} more such intervals", islands[..3].join(", "), n - 3),
    };
    match (meeting.stays, between.as_str()) {
        (Some(0), _) => "at any volume".to_string(),
        (Some(stays), "") => format!("from {} calls a month on", grouped(stays)),
        (Some(stays), between) => format!("from {} calls a month on, and before that where its GPUs are full ({between})", grouped(stays)),
        (None, "") => match meeting.searched {
            Some(all) => format!("at no volume up to {} calls a month, and nobody looked further", grouped(all)),
            None => "at no volume".to_string(),
        },
        (None, between) => match meeting.searched {
            Some(all) => format!("at {between} calls a month, and nobody looked beyond {}", grouped(all)),
            None => format!("at {between} calls a month, and at no other volume"),
        },
    }
}

fn paid_back(month: Option<usize>) -> String {
    match month {
        Some(month) => format!("at your volume it has paid back by the end of month {month}"),
        None => format!("at your volume it does not pay back within {} months", super::PAYBACK_MONTHS),
    }
}

fn chances(cost: &Cost) -> String {
    let chance = &cost.chance;
    let calls = |n: Option<u64>| n.map_or("never".to_string(), grouped);
    let meets = &chance.break_even;
    format!(
        "As uncertain as the inputs are, self-hosting is no dearer at your volume in {} of {} draws; it begins to stay so at {} calls a month (P10), {} (P50), {} (P90).",
        grouped((chance.pays * cost.case.draws as f64).round() as u64),
        grouped(cost.case.draws as u64),
        calls(meets.p10),
        calls(meets.p50),
        calls(meets.p90),
    )
}

fn matters(cost: &Cost) -> Option<String> {
    let first: Vec<&str> = cost.tornado.iter().take(3).map(|swing| swing.name.text()).collect();
    let flips: Vec<&str> = cost.tornado.iter().filter(|swing| swing.flips()).map(|swing| swing.name.text()).collect();
    let flips = match flips.as_slice() {
        [] => "none of the inputs alone, within its range, changes which of API and self-hosting is cheaper".to_string(),
        names => format!("each of these alone can change which of API and self-hosting is cheaper: {}", names.join(", ")),
    };
    (!first.is_empty()).then(|| format!("What matters most: {}; {flips}.", first.join(", ")))
}

/// What a value is worth: its basis, its reason, its source and day.
pub fn origin(value: &Value) -> String {
    let day = value.as_of.as_ref().map_or(String::new(), |day| format!(", {day}"));
    let region = value.region.as_ref().map_or(String::new(), |region| format!(", {region}"));
    let why = if value.why.is_empty() { String::new() } else { format!("{}; ", value.why) };
    format!("{}: {why}{}{day}{region}", value.basis.text(), value.source)
}

/// The range of a value: `2.5 to 7`.
pub fn range(value: &Value) -> String {
    match value.spread {
        Spread::Certain => String::new(),
        Spread::Lognormal { low, high } => format!("{} to {} (P10, P90)", figure(low), figure(high)),
        Spread::Triangle { least, most } => format!("{} to {} (triangle)", figure(least), figure(most)),
    }
}

/// A number with four digits that count, and its thousands apart.
pub fn figure(x: f64) -> String {
    if x == 0.0 {
        return "0".to_string();
    }
    let digits = (3 - x.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{x:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let rest = rest.trim_end_matches('0');
    let sign = if whole.starts_with('-') { "-" } else { "" };
    let whole = whole.trim_start_matches('-').parse().map_or_else(|_| whole.to_string(), grouped);
    if rest.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
}

/// Titles with their article where they need one.
fn the(title: &str) -> String {
    match title {
        title if title == Way::Api.title() => format!("the {title}"),
        title if title == Way::Hosted.title() => "self-hosting".to_string(),
        title => title.to_string(),
    }
}

fn capital(line: &str) -> String {
    let mut letters = line.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let all = [0.0, 0.023, 1.5, 10_186.0, 206_000.0, 5.551_736, 0.3, 1e9, -0.05, 123.456, 1.0];
        let said = all.map(figure);
        assert_eq!(said, ["0", "0.023", "1.5", "10,186", "206,000", "5.552", "0.3", "1,000,000,000", "-0.05", "123.5", "1"]);
    }

    #[test]
    fn volumes_are_told_with_their_islands() {
        let of = |stays, intervals: &[(u64, Option<u64>)], searched| volumes(&Meeting { stays, intervals: intervals.to_vec(), searched });
        assert_eq!(of(Some(1_000), &[(1_000, None)], None), "from 1,000 calls a month on");
        assert!(of(Some(90), &[(10, Some(20)), (90, None)], None).contains("where its GPUs are full (10 to 20)"));
        assert_eq!(of(None, &[], None), "at no volume");
        assert!(of(None, &[(5, Some(6))], None).ends_with("5 to 6 calls a month, and at no other volume"));
        assert!(of(None, &[], Some(7)).contains("up to 7 calls"));
    }
}
