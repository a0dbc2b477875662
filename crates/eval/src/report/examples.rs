//! The examples side by side: question, expected answer, what each arm said, wrong fields marked.

use super::page::{clipped, escape};
use super::{Report, section};
use crate::arms::{ArmScores, Example, Output};
use crate::score::{Mark, parse, plain, same};
use serde_json::{Map, Value};

/// Examples in the page; a longer list would be slow to open and nobody reads it.
const SHOWN: usize = 500;
/// Characters of a question, and of an answer that is not JSON.
const LONG: usize = 4000;
/// Examples that stand open at first.
const OPEN: usize = 2;

/// All examples, or the most telling ones of many.
pub(super) fn side_by_side(report: &Report) -> String {
    let n = report.examples.len().min(report.scores.n);
    let kinds: Vec<Kind> = (0..n).map(|at| Kind::of(report, at)).collect();
    let shown = shown(&kinds);
    let mut open = 0;
    let mut body = controls(report, &kinds, &shown);
    for &at in &shown {
        // What a reader wants to see first is where the models differ or the tuned one fails.
        let telling = kinds[at] != Kind::Rest && open < OPEN;
        open += usize::from(telling);
        body.push_str(&example(report, at, kinds[at], telling));
    }
    let mut lead = format!("What each arm said to each of the {n} held-out {}; wrong values are marked.", escape(&report.noun));
    if shown.len() < n {
        lead.push_str(&format!(" Shown are {}: first those that the tuned model got wrong.", shown.len()));
    }
    section("Examples side by side", &lead, &body)
}

/// Which filters an example passes, besides "all".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The tuned model is wrong.
    Wrong,
    /// The tuned model is right and the better base arm wrong.
    Gained,
    Rest,
}

impl Kind {
    fn of(report: &Report, at: usize) -> Kind {
        let exact = |arm: Option<usize>| Some(report.scores.arms.get(arm?)?.marks.get(at)?.exact);
        match (exact(report.scores.tuned), exact(report.scores.better_base)) {
            (Some(false), _) => Kind::Wrong,
            (Some(true), Some(false)) => Kind::Gained,
            _ => Kind::Rest,
        }
    }
}

/// Indices in their order; of too many, the wrong ones are kept first, then the gained ones.
fn shown(kinds: &[Kind]) -> Vec<usize> {
    let of = |kind: Kind| (0..kinds.len()).filter(move |&at| kinds[at] == kind);
    let mut rows: Vec<usize> = of(Kind::Wrong).chain(of(Kind::Gained)).chain(of(Kind::Rest)).take(SHOWN).collect();
    rows.sort_unstable();
    rows
}

fn controls(report: &Report, kinds: &[Kind], shown: &[usize]) -> String {
    let count = |kind: Kind| shown.iter().filter(|&&at| kinds[at] == kind).count();
    let button = |filter: &str, text: String, pressed: bool| {
        format!("<button type=\"button\" data-filter=\"{filter}\" aria-pressed=\"{pressed}\">{text}</button>")
    };
    let mut out = String::from("<div class=\"controls\">");
    out.push_str(&button("all", format!("All ({})", shown.len()), true));
    if report.scores.tuned.is_some() {
        out.push_str(&button("wrong", format!("Tuned wrong ({})", count(Kind::Wrong)), false));
    }
    if report.scores.tuned.is_some() && report.scores.better_base.is_some() {
        out.push_str(&button("gained", format!("Tuned right, base wrong ({})", count(Kind::Gained)), false));
    }
    out.push_str("<span class=\"gap\"></span><button type=\"button\" data-toggle=\"open\">Open all</button></div>");
    out
}

fn example(report: &Report, at: usize, kind: Kind, open: bool) -> String {
    let example = &report.examples[at];
    let arms: Vec<(&ArmScores, &Mark, &Output)> = report
        .scores
        .arms
        .iter()
        .zip(&report.arms)
        .filter_map(|(scores, arm)| Some((scores, scores.marks.get(at)?, arm.outputs.get(at)?)))
        .collect();
    let mark = |(scores, mark, _): &(&ArmScores, &Mark, &Output)| {
        let (class, sign, word) = if mark.exact { ("yes", "✓", "right") } else { ("no", "✗", "wrong") };
        let why = mark.complaint.as_ref().map_or(String::new(), |complaint| format!(" (schema: {})", clipped_plain(complaint)));
        format!("<i class=\"{class}\" title=\"{}: {word}{}\">{sign}</i>", escape(&scores.name), escape(&why))
    };
    let marks: String = arms.iter().map(mark).collect();
    let filters = match kind {
        Kind::Wrong => "all wrong",
        Kind::Gained => "all gained",
        Kind::Rest => "all",
    };
    let gist: String = example.prompt.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(160).collect();
    format!(
        "<details class=\"ex\" data-in=\"{filters}\"{}><summary><span class=\"marks\">{marks}</span><span class=\"gist\" dir=\"auto\">{}</span><span class=\"id\">{}</span></summary><div class=\"inside\"><div class=\"prompt\" dir=\"auto\">{}</div>{}</div></details>\n",
        if open { " open" } else { "" },
        escape(&gist),
        escape(&example.id),
        clipped(&example.prompt, LONG),
        answers(example, &arms)
    )
}

/// The beginning of a text, for a tooltip.
fn clipped_plain(text: &str) -> String {
    text.chars().take(200).collect()
}

/// A table of the expected answer and all arms: one row a field for objects, else one row.
fn answers(example: &Example, arms: &[(&ArmScores, &Mark, &Output)]) -> String {
    let names: String = arms.iter().map(|(scores, ..)| format!("<th>{}</th>", escape(&scores.name))).collect();
    let body = match parse(&example.expected) {
        Some(Value::Object(wanted)) => fields(&wanted, arms),
        _ => {
            let cells: String = arms.iter().map(|(_, mark, output)| raw(mark, output, "")).collect();
            format!("<tr><th>answer</th><td dir=\"auto\">{}</td>{cells}</tr>", clipped(&example.expected, LONG))
        }
    };
    format!("<div class=\"scroll\"><table><thead><tr><th></th><th>Expected</th>{names}</tr></thead><tbody>{body}</tbody></table></div>")
}

fn fields(wanted: &Map<String, Value>, arms: &[(&ArmScores, &Mark, &Output)]) -> String {
    let found: Vec<Option<Map<String, Value>>> = arms
        .iter()
        .map(|(_, _, output)| match parse(&output.text) {
            Some(Value::Object(fields)) => Some(fields),
            _ => None,
        })
        .collect();
    // Fields that nobody asked for get a row of their own, since they make an answer wrong too.
    let mut names: Vec<&String> = wanted.keys().collect();
    for name in found.iter().flatten().flat_map(Map::keys) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let rows = names.len();
    let mut out = String::new();
    for (row, name) in names.into_iter().enumerate() {
        let value = |fields: &Map<String, Value>| fields.get(name).map_or("—".to_string(), |value| clipped(&plain(value), LONG));
        out.push_str(&format!("<tr><th>{}</th><td dir=\"auto\">{}</td>", clipped(name, 80), value(wanted)));
        for ((_, mark, output), found) in arms.iter().zip(&found) {
            match found {
                Some(fields) => {
                    let agrees = match (wanted.get(name), fields.get(name)) {
                        (Some(wanted), Some(found)) => same(wanted, found),
                        (wanted, found) => wanted.is_none() && found.is_none(),
                    };
                    out.push_str(&format!("<td dir=\"auto\"{}>{}</td>", if agrees { "" } else { " class=\"wrong\"" }, value(fields)));
                }
                None if row == 0 => out.push_str(&raw(mark, output, &format!(" rowspan=\"{rows}\""))),
                None => {}
            }
        }
        out.push_str("</tr>");
    }
    out
}

/// An answer as it was written, with what is wrong with its form.
fn raw(mark: &Mark, output: &Output, span: &str) -> String {
    let mut tags = String::new();
    if !mark.fields.is_empty() && !mark.json {
        tags.push_str("<span class=\"tag\">not JSON</span> ");
    }
    if !output.stopped {
        tags.push_str("<span class=\"tag\">cut off</span> ");
    }
    if !tags.is_empty() {
        tags.push_str("<br>");
    }
    let class = if mark.exact { "" } else { " class=\"wrong\"" };
    let text = if output.text.trim().is_empty() { "<small>(empty)</small>".to_string() } else { clipped(output.text.trim(), LONG) };
    format!("<td{class}{span} dir=\"auto\">{tags}<span class=\"raw\">{text}</span></td>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_examples_the_wrong_ones_stay() {
        let mut kinds = vec![Kind::Rest; 2 * SHOWN];
        kinds[2 * SHOWN - 1] = Kind::Wrong;
        kinds[2 * SHOWN - 2] = Kind::Gained;
        let rows = shown(&kinds);
        assert_eq!((rows.len(), rows[SHOWN - 1], rows[SHOWN - 2], rows[SHOWN - 3]), (SHOWN, 2 * SHOWN - 1, 2 * SHOWN - 2, SHOWN - 3));
    }
}
