//! The tables of figures: arms, pairs, labels, fields, confusions.

use super::page::{escape, span};
use super::{Report, chart, section};
use crate::arms::{ArmScores, Pair, Rate, Role};
use crate::labels::{Labels, NO_LABEL, Place};
use crate::verdict::{p_value, percent, points};

/// Confusions shown.
const CONFUSIONS: usize = 12;

fn class(role: Role) -> &'static str {
    match role {
        Role::Base => "base",
        Role::Tuned => "tuned",
    }
}

fn interval(rate: &Rate) -> String {
    format!("{:.1} – {:.1}", 100.0 * rate.low, 100.0 * rate.high)
}

fn table(kind: &str, head: &str, body: &str, foot: &str) -> String {
    let foot = if foot.is_empty() { String::new() } else { format!("<tfoot>{foot}</tfoot>") };
    format!("<div class=\"scroll\"><table class=\"{kind}\"><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table></div>")
}

/// One row an arm: exact match with its interval, the format rates, length and time.
pub(super) fn arms(report: &Report) -> String {
    let scores = &report.scores;
    let with_schema = scores.arms.iter().any(|arm| arm.schema_valid.is_some());
    let mut head = String::from(
        "<th>Arm</th><th>Exact match, with 95 % interval</th><th class=\"num\">Exact</th><th class=\"num\">95 % interval</th>",
    );
    if scores.structured {
        head.push_str("<th class=\"num\">Valid JSON</th>");
    }
    if with_schema {
        head.push_str("<th class=\"num\">Obeys schema</th>");
    }
    head.push_str("<th class=\"num\">Tokens an answer</th><th class=\"num\">Time for all</th>");
    let row = |arm: &ArmScores| {
        let mut row = format!(
            "<tr class=\"{}\"><th>{}</th><td>{}</td><td class=\"num main\">{}</td><td class=\"num quiet\">{}</td>",
            class(arm.role),
            escape(&arm.name),
            chart::bar(&arm.exact, class(arm.role)),
            percent(arm.exact.share),
            interval(&arm.exact)
        );
        if scores.structured {
            row.push_str(&format!("<td class=\"num\">{}</td>", percent(arm.json_valid.share)));
        }
        if with_schema {
            row.push_str(&format!("<td class=\"num\">{}</td>", arm.schema_valid.map_or("—".into(), |rate| percent(rate.share))));
        }
        row.push_str(&format!("<td class=\"num\">{:.1}</td><td class=\"num\">{}</td></tr>", arm.mean_tokens, span(arm.seconds)));
        row
    };
    let body: String = scores.arms.iter().map(row).collect();
    let lead =
        format!("Each arm answered the same {} held-out {}. The share of exactly right answers decides.", scores.n, escape(&report.noun));
    section("The arms", &lead, &(table("", &head, &body, "") + &arm_notes(report)))
}

/// What the columns leave out: cut-off answers, and answers that are right but wrapped in prose.
fn arm_notes(report: &Report) -> String {
    let scores = &report.scores;
    let mut notes = Vec::new();
    if scores.structured {
        notes.push(
            "Answers are compared as JSON: the order of keys and white space do not count. An answer must be JSON and nothing else."
                .to_string(),
        );
    }
    for arm in &scores.arms {
        let wrapped = arm.found_exact.hits - arm.exact.hits.min(arm.found_exact.hits);
        if wrapped > 0 {
            let share = percent(arm.found_exact.share);
            notes.push(format!(
                "{}: {wrapped} more would be exact ({share} in all) if the JSON were dug out of the text around it.",
                escape(&arm.name)
            ));
        }
        if arm.cut_off > 0 {
            notes.push(format!("{}: {} of {} answers were cut off by the length limit.", escape(&arm.name), arm.cut_off, scores.n));
        }
    }
    notes.iter().map(|note| format!("<p class=\"note\">{note}</p>")).collect()
}

/// Every two arms, example by example; base against tuned reads as a gain.
pub(super) fn pairs(report: &Report) -> String {
    let scores = &report.scores;
    let name = |at: usize| scores.arms.get(at).map_or(String::new(), |arm| escape(&arm.name));
    let row = |pair: &Pair| {
        format!(
            "<tr><th>{} <span class=\"quiet\">against</span> {}</th><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td>{}</td><td class=\"num\">{}<br><small>{} to {}</small></td><td class=\"num\">{}</td></tr>",
            name(pair.b),
            name(pair.a),
            pair.both,
            pair.only_b,
            pair.only_a,
            pair.neither,
            chart::difference(&pair.difference),
            points(pair.difference.value),
            points(pair.difference.low),
            points(pair.difference.high),
            escape(&p_value(pair.p)),
        )
    };
    if scores.pairs.is_empty() {
        return String::new();
    }
    let head = "<th>First against second</th><th class=\"num\">Both right</th><th class=\"num\">Only first</th><th class=\"num\">Only second</th><th class=\"num\">Both wrong</th><th>−100 to +100 points</th><th class=\"num\">Difference, points<br>95 % interval</th><th class=\"num\">McNemar</th>";
    // What is asked first comes first: the tuned arm against the others.
    let (asked, rest): (Vec<&Pair>, Vec<&Pair>) = scores.pairs.iter().partition(|pair| Some(pair.b) == scores.tuned);
    let body: String = asked.into_iter().chain(rest).map(row).collect();
    let lead = "The same examples, arm against arm. Only the examples on which two arms differ can tell them apart.";
    section("Pair by pair", lead, &table("", head, &body, ""))
}

/// One row a label, with the averages at the foot.
pub(super) fn labels(report: &Report) -> String {
    let Some(labels) = &report.scores.labels else {
        return String::new();
    };
    let arms = &report.scores.arms;
    let names: String = arms.iter().map(|arm| format!("<th class=\"num\">{}</th>", escape(&arm.name))).collect();
    let head = format!("<th>Label</th><th class=\"num\">n</th>{names}");
    let cell = |at: usize, rate: &Rate, best: f64| {
        let role = arms.get(at).map_or(Role::Base, |arm| arm.role);
        let mark = if rate.share == best && rate.hits > 0 { " best" } else { "" };
        let title = format!("{} of {}, 95 % interval {}", rate.hits, rate.n, interval(rate));
        let bar = chart::mini(rate.share, class(role));
        format!("<td class=\"num{mark}\" data-v=\"{:.6}\" title=\"{title}\">{}{bar}</td>", rate.share, percent(rate.share))
    };
    let row = |row: &crate::labels::LabelRow| {
        let best = row.arms.iter().map(|rate| rate.share).fold(0.0, f64::max);
        let cells: String = row.arms.iter().enumerate().map(|(at, rate)| cell(at, rate, best)).collect();
        let label = escape(&row.label);
        format!("<tr><th data-v=\"{label}\" dir=\"auto\">{label}</th><td class=\"num\" data-v=\"{}\">{}</td>{cells}</tr>", row.n, row.n)
    };
    let body: String = labels.rows.iter().map(row).collect();
    section("Label by label", &labels_lead(labels), &table("sortable", &head, &body, &labels_foot(labels)))
}

fn labels_lead(labels: &Labels) -> String {
    let place = match &labels.place {
        Place::Whole => "the answer is the label".to_string(),
        Place::Field(name) => format!("the label is the field <code>{}</code>", escape(name)),
    };
    format!("How often each arm finds the right label; {place}. Labels with few examples have wide intervals (hover over a figure).")
}

fn labels_foot(labels: &Labels) -> String {
    // The gap keeps the averages in line with the figures above, which have a bar behind them.
    let gap = "<svg class=\"mini\" viewBox=\"0 0 72 8\" aria-hidden=\"true\"></svg>";
    let macros: String = labels.macro_average.iter().map(|share| format!("<td class=\"num\">{}{gap}</td>", percent(*share))).collect();
    let micros: String = labels.micro_average.iter().map(|rate| format!("<td class=\"num\">{}{gap}</td>", percent(rate.share))).collect();
    let n: usize = labels.rows.iter().map(|row| row.n).sum();
    format!(
        "<tr><th>All examples <small>(micro average)</small></th><td class=\"num\">{n}</td>{micros}</tr><tr><th>All labels alike <small>(macro average)</small></th><td class=\"num\">{}</td>{macros}</tr>",
        labels.rows.len()
    )
}

/// Agreement field by field.
pub(super) fn fields(report: &Report) -> String {
    let arms = &report.scores.arms;
    let Some(first) = arms.first().filter(|arm| !arm.fields.is_empty()) else {
        return String::new();
    };
    let names: String = arms.iter().map(|arm| format!("<th class=\"num\">{}</th>", escape(&arm.name))).collect();
    let row = |at: usize| {
        let cells: String =
            arms.iter().map(|arm| arm.fields.get(at).map_or("<td></td>".to_string(), |field| field_cell(arm, &field.rate))).collect();
        format!(
            "<tr><th><code>{}</code></th><td class=\"num\">{}</td>{cells}</tr>",
            escape(&first.fields[at].field),
            first.fields[at].rate.n
        )
    };
    let body: String = (0..first.fields.len()).map(row).collect();
    let lead = "Agreement on each field of the answer. An answer that is not JSON agrees on none.";
    section("Field by field", lead, &table("", &format!("<th>Field</th><th class=\"num\">n</th>{names}"), &body, ""))
}

fn field_cell(arm: &ArmScores, rate: &Rate) -> String {
    let bar = chart::mini(rate.share, class(arm.role));
    format!("<td class=\"num\">{}{bar}<br><small>{}</small></td>", percent(rate.share), interval(rate))
}

/// What the tuned model takes for what.
pub(super) fn confusions(report: &Report) -> String {
    let Some(labels) = report.scores.labels.as_ref().filter(|labels| !labels.confusions.is_empty()) else {
        return String::new();
    };
    let label = |text: &str| match text {
        NO_LABEL => format!("<span class=\"quiet\">{NO_LABEL}</span>"),
        text => format!("<span dir=\"auto\">{}</span>", super::page::clipped(text, 80)),
    };
    let row = |confusion: &crate::labels::Confusion| {
        let ids = confusion.examples.iter().take(4).filter_map(|&at| report.examples.get(at)).map(|example| escape(&example.id));
        let mut ids = ids.collect::<Vec<_>>().join(", ");
        if confusion.examples.len() > 4 {
            ids.push_str(", …");
        }
        let (expected, given) = (label(&confusion.expected), label(&confusion.given));
        format!("<tr><td>{expected}</td><td>{given}</td><td class=\"num\">{}</td><td class=\"quiet\">{ids}</td></tr>", confusion.count)
    };
    let body: String = labels.confusions.iter().take(CONFUSIONS).map(row).collect();
    let arm = report.scores.arms.get(labels.confused_arm).map_or(String::new(), |arm| escape(&arm.name));
    let all: usize = labels.confusions.iter().map(|confusion| confusion.count).sum();
    let lead =
        format!("Labels that {arm} takes for another: {all} examples in {} pairs, the most frequent first.", labels.confusions.len());
    section(
        "Most frequent confusions",
        &lead,
        &table("", "<th>Expected</th><th>Given</th><th class=\"num\">Times</th><th>Examples</th>", &body, ""),
    )
}
