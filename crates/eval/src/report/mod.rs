//! The report: one HTML file that a manager can read, mail and print.
//!
//! It holds everything it shows (style, script, pictures) and loads nothing; all text from data
//! and models is escaped. Who calls it fills [`Report`]; [`html`] is a pure function of it.

mod chart;
pub mod dataset;
mod examples;
mod page;
pub mod sweep;
mod tables;

use crate::arms::{Arm, Example, Scores};
use crate::verdict::{Finding, Verdict, p_value, percent, points, verdict};
use page::{escape, fill};

/// One optimizer step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub step: u64,
    /// Mean loss over the learned tokens of the step, in nats.
    pub loss: f64,
    /// Learning rate of the step.
    pub rate: f64,
}

/// Everything that the page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Such as "Northwind support tickets".
    pub title: String,
    /// Model, method and day, in one line.
    pub subtitle: String,
    /// What an example is called, in the plural: "tickets".
    pub noun: String,
    pub scores: Scores,
    /// The held-out examples and the arms that `scores` were computed from.
    pub examples: Vec<Example>,
    pub arms: Vec<Arm>,
    /// The training run; empty if none is to be shown.
    pub steps: Vec<Point>,
    /// Losses on held-out examples: step, loss in nats.
    pub held_out: Vec<(u64, f64)>,
    /// Settings of the run, name and value.
    pub settings: Vec<(String, String)>,
    /// Facts about the data.
    pub data: Vec<(String, String)>,
    /// Files and their hashes.
    pub hashes: Vec<(String, String)>,
    /// What to do next: a command and what it does.
    pub next: Vec<(String, String)>,
}

/// The page.
pub fn html(report: &Report) -> String {
    let found = verdict(&report.scores, &report.noun);
    let parts = [
        headline(report, &found),
        tables::arms(report),
        curve(report),
        tables::pairs(report),
        tables::labels(report),
        tables::fields(report),
        tables::confusions(report),
        facts(report),
        READING.to_string(),
        // Last, since the list is long and what follows a long list is not found.
        examples::side_by_side(report),
    ];
    let values = [
        ("eyebrow", "Evaluation report".to_string()),
        ("title", escape(&report.title)),
        ("subtitle", escape(&report.subtitle)),
        ("style", include_str!("style.css").to_string()),
        ("script", include_str!("script.js").to_string()),
        ("body", parts.concat()),
    ];
    fill(include_str!("page.html"), &values.each_ref().map(|(name, value)| (*name, value.as_str())))
}

/// A section with a heading and one line under it.
fn section(title: &str, lead: &str, body: &str) -> String {
    let lead = if lead.is_empty() { String::new() } else { format!("<p class=\"lead\">{lead}</p>") };
    format!("<section><h2>{title}</h2>{lead}{body}</section>\n")
}

fn headline(report: &Report, found: &Verdict) -> String {
    let class = match found.finding {
        Finding::Improved => "improved",
        Finding::Worse => "worse",
        Finding::NotShown => "unsure",
        Finding::NoComparison => "",
    };
    format!(
        "<div class=\"verdict {class}\"><p class=\"sentence\">{}</p><p class=\"detail\">{}</p></div>\n{}",
        escape(&found.sentence),
        escape(&found.detail),
        tiles(&report.scores)
    )
}

/// The four figures that a reader looks for first.
fn tiles(scores: &Scores) -> String {
    let Some(tuned) = scores.tuned.and_then(|at| scores.arms.get(at)) else {
        return String::new();
    };
    let mut tiles = vec![(percent(tuned.exact.share), "exact answers, tuned".to_string())];
    if let Some(pair) = scores.better_base.zip(scores.tuned).and_then(|(base, tuned)| scores.pair(base, tuned)) {
        tiles.push((
            format!("{} points", points(pair.difference.value)),
            format!("against the better base ({})", p_value(pair.p).replace(' ', "\u{a0}")),
        ));
    }
    match tuned.schema_valid {
        Some(rate) => tiles.push((percent(rate.share), "obey the JSON Schema, tuned".to_string())),
        None if scores.structured => tiles.push((percent(tuned.json_valid.share), "are valid JSON, tuned".to_string())),
        None => {}
    }
    tiles.push((page::span(tuned.seconds / scores.n.max(1) as f64), "for one answer, tuned".to_string()));
    let tile =
        |(figure, text): &(String, String)| format!("<div class=\"tile\"><b>{}</b><span>{}</span></div>", escape(figure), escape(text));
    format!("<div class=\"tiles\">{}</div>\n", tiles.iter().map(tile).collect::<String>())
}

fn curve(report: &Report) -> String {
    let Some(art) = chart::loss(&report.steps, &report.held_out) else {
        return String::new();
    };
    let held = if report.held_out.is_empty() { "" } else { " Rings: loss on held-out examples." };
    let body =
        format!("{art}<p class=\"legend\">Dots: the loss of each step. Line: moving average over about a tenth of the run.{held}</p>");
    section("How training went", "", &body)
}

fn facts(report: &Report) -> String {
    let list = |title: &str, class: &str, rows: &[(String, String)]| {
        let row = |(name, value): &(String, String)| format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
        match rows {
            [] => String::new(),
            rows => format!("<div><h3>{title}</h3><dl class=\"{class}\">{}</dl></div>", rows.iter().map(row).collect::<String>()),
        }
    };
    let next = |(command, what): &(String, String)| {
        format!("<tr><td><code>{}</code></td><td class=\"quiet\">{}</td></tr>", escape(command), escape(what))
    };
    let mut out = String::new();
    if !report.next.is_empty() {
        let rows: String = report.next.iter().map(next).collect();
        out.push_str(&section("What to run next", "", &format!("<div class=\"scroll\"><table><tbody>{rows}</tbody></table></div>")));
    }
    let columns = [list("Settings", "", &report.settings), list("Data", "", &report.data)].concat();
    let hashes = list("Hashes", "hashes", &report.hashes);
    if !(columns.is_empty() && hashes.is_empty()) {
        out.push_str(&section("How this was made", "", &format!("<div class=\"columns\">{columns}</div>{hashes}")));
    }
    out
}

const READING: &str = r#"<section class="read"><h2>How to read the numbers</h2>
<p>A Wilson interval is the range of true rates that the counted rate is compatible with: a method that makes such ranges holds the truth in 95 of 100 evaluations, and more examples make the range narrower.</p>
<p>McNemar's test looks only at the examples on which two arms differ and asks how often a fair coin would split them at least this unevenly: a small p says that the difference is hardly chance, not that it is large. The interval of the difference (Newcombe's method 10) says how large it may be.</p>
</section>
"#;

#[cfg(test)]
mod tests;
