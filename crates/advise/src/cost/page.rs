//! The result as one self-contained page with its pictures.

use super::book::Book;
use super::money::{Cents, grouped, plain};
use super::ways::{Bill, Way};
use super::{Cost, hash, named, plot, words};

const STYLE: &str = include_str!("page.css");

/// The page; `again` is the command that makes it again.
pub fn page(cost: &Cost, book: &Book, again: &str) -> String {
    let body = [verdict(cost), volume(cost), months(cost), bills(cost), chances(cost), scenarios(cost), inputs(cost, book)].concat();
    let case = &cost.case;
    let title = format!("What it costs to use a model, over {} months", case.months);
    let subtitle = format!("{} or {} on {}; counted on {}", escape(&case.api), escape(&case.base), escape(&case.gpu), cost.day);
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<p class=\"eyebrow\">Cost</p>\n<h1>{title}</h1>\n\
         <p class=\"subtitle\">{subtitle}</p>\n</header>\n{body}\
         <footer>Made again by <code>{}</code> from inputs whose SHA-256 is <code>{}</code>. This file holds everything it shows and loads nothing.</footer>\n</main>\n</body>\n</html>\n",
        escape(again),
        hash(case)
    )
}

/// Escapes text for element content and for quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn section(title: &str, lead: &str, body: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n<p class=\"lead\">{lead}</p>\n{body}\n</section>\n")
}

fn verdict(cost: &Cost) -> String {
    let details: String = words::details(cost).iter().map(|line| format!("<p>{}</p>\n", escape(line))).collect();
    let tile = |bill: &Bill| {
        format!(
            "<div class=\"tile {}\"><b>{}</b><span>{}</span></div>\n",
            bill.way.text(),
            plain(bill.total),
            escape(&named(cost, bill.way))
        )
    };
    let tiles: String = cost.bills.iter().map(tile).collect();
    let stays = cost.meeting.stays.map_or("never".to_string(), grouped);
    let warned: String = cost.warnings.iter().map(|line| format!("<li>{}</li>\n", escape(line))).collect();
    let warned =
        if warned.is_empty() { warned } else { format!("<div class=\"warned\"><b>Before you believe it</b><ul>\n{warned}</ul></div>\n") };
    format!(
        "<div class=\"verdict {}\">\n<p class=\"sentence\">{}</p>\n{details}</div>\n<div class=\"tiles\">\n{tiles}\
         <div class=\"tile\"><b>{stays}</b><span>calls a month from which self-hosting stays cheaper than the API</span></div>\n</div>\n{warned}",
        cost.cheapest().text(),
        escape(&words::headline(cost)),
    )
}

fn volume(cost: &Cost) -> String {
    let lead = "The whole bill, people included, for other numbers of calls. Both axes are logarithmic. Self-hosting climbs in steps: a GPU more whenever the peak asks for it.";
    section("Cost over volume", lead, &plot::volume(cost))
}

fn months(cost: &Cost) -> String {
    section("Paid by the end of each month", "Preparing data and setting up come first; retraining makes the kinks.", &plot::months(cost))
}

fn bills(cost: &Cost) -> String {
    let one = |bill: &Bill| {
        let rows: String = bill
            .rows
            .iter()
            .filter(|row| row.total() != Cents(0))
            .map(|row| format!("<tr><th>{}</th><td class=\"num\">{}</td></tr>\n", row.title, row.total()))
            .collect();
        format!(
            "<div><h3>{}</h3><table><tbody>\n{rows}</tbody><tfoot><tr><th>all {} months</th><td class=\"num\">{}</td></tr></tfoot></table></div>\n",
            escape(&named(cost, bill.way)),
            cost.case.months,
            bill.total
        )
    };
    let all: String = cost.bills.iter().map(one).collect();
    section(
        "The bills",
        "US dollars. Every amount of a month is rounded to the cent, and all sums are sums of these.",
        &format!("<div class=\"columns\">\n{all}</div>"),
    )
}

fn chances(cost: &Cost) -> String {
    let spread = plot::spread(cost).unwrap_or_else(|| "<p>Every input was said to be certain.</p>".to_string());
    let rows: String = cost
        .chance
        .totals
        .iter()
        .zip(&cost.chance.cheapest)
        .map(|((way, p), (_, share))| {
            let [low, middle, high] = [p.p10, p.p50, p.p90].map(|usd| plain(Cents::round(usd)));
            let cells = [low, middle, high, format!("{:.0} %", 100.0 * share)].map(|cell| format!("<td class=\"num\">{cell}</td>"));
            format!("<tr><th>{}</th>{}</tr>\n", way.title(), cells.concat())
        })
        .collect();
    let head = ["way", "P10", "P50", "P90", "cheapest in"];
    let table = table(&head, &rows, "");
    let what = "All uncertain inputs drawn at once, each from its range. To the right of zero self-hosting pays.";
    let mut out = section("How sure it is", what, &format!("{spread}\n{table}"));
    if let Some(picture) = plot::tornado(cost) {
        let lead = "One input alone, from its tenth percentile (grey) to its ninetieth, the others as they are. The figures at the ends are the input's.";
        out.push_str(&section("What matters most", lead, &picture));
    }
    out
}

fn scenarios(cost: &Cost) -> String {
    let ways: Vec<&str> = cost.bills.iter().map(|bill| bill.way.title()).collect();
    let mut rows = String::new();
    for told in &cost.scenarios {
        if let Some(why) = &told.why_not {
            rows.push_str(&format!(
                "<tr><th>{}</th><td class=\"quiet\" colspan=\"{}\">not counted: {}</td></tr>\n",
                escape(&told.name),
                ways.len() + 1,
                escape(why)
            ));
            continue;
        }
        let least = told.totals.iter().map(|(_, total)| *total).min();
        let cell = |(_, total): &(Way, Cents)| {
            let class = if Some(*total) == least { "num least" } else { "num" };
            format!("<td class=\"{class}\">{}</td>", plain(*total))
        };
        let cells: String = told.totals.iter().map(cell).collect();
        let stays = told.meeting.as_ref().and_then(|meeting| meeting.stays).map_or("never".to_string(), grouped);
        rows.push_str(&format!("<tr><th>{}</th>{cells}<td class=\"num\">{stays}</td></tr>\n", escape(&told.name)));
    }
    let head = [&["scenario"][..], &ways[..], &["self-hosting stays cheaper than the API from"][..]].concat();
    section("What else might be", "One change each, the rest as it is.", &table(&head, &rows, ""))
}

fn inputs(cost: &Cost, book: &Book) -> String {
    let rows: String = cost
        .case
        .values
        .iter()
        .filter(|value| cost.case.counts(value.name))
        .map(|value| {
            let meaning = book.meaning(value.name);
            format!(
                "<tr><th><code>{}</code><br><small>{}, {}</small></th><td class=\"num\">{}</td><td>{}</td><td class=\"quiet\">{}</td></tr>\n",
                value.name.text(),
                escape(&meaning.what),
                escape(&meaning.unit),
                words::figure(value.value),
                escape(&words::range(value)),
                escape(&words::origin(value))
            )
        })
        .collect();
    let lead = "Every figure, its range, and where it is from. Change any of them with <code>--set NAME=VALUE</code>.";
    section("What it is computed from", lead, &table(&["input", "value", "range", "from"], &rows, " class=\"inputs\""))
}

fn table(head: &[&str], rows: &str, class: &str) -> String {
    let numbers = |at: usize, title: &str| at > 0 && !matches!(title, "range" | "from");
    let head: String = head
        .iter()
        .enumerate()
        .map(|(at, title)| format!("<th{}>{title}</th>", if numbers(at, title) { " class=\"num\"" } else { "" }))
        .collect();
    format!("<div class=\"scroll\"><table{class}><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>")
}
