//! The result as a document for the manager, in Markdown.

use super::Cost;
use super::money::{Cents, grouped};
use super::retold;
use super::ways::Way;
use super::words;

/// The document; `again` is the command that makes it again.
pub fn markdown(cost: &Cost, again: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let case = &cost.case;
    out.push(format!("# What it costs to use a model, over {} months\n", case.months));
    out.push(format!("**{}**\n", words::headline(cost)));
    words::details(cost).iter().for_each(|line| out.push(format!("- {line}")));
    out.push("\nThese are costs. They say nothing about how well each way does the task: measure that with `tunesmith eval`.\n".into());
    warned(cost, &mut out);
    for bill in &cost.bills {
        out.push(format!("\n## {}\n\n| paid for | USD |\n|---|--:|", named(cost, bill.way)));
        let rows = bill.rows.iter().filter(|row| row.total() != Cents(0));
        rows.for_each(|row| out.push(format!("| {} | {} |", row.title, row.total())));
        out.push(format!("| **all {} months** | **{}** |", case.months, bill.total));
    }
    matters(cost, &mut out);
    scenarios(cost, &mut out);
    inputs(cost, &mut out);
    out.push(format!("\n## Made again\n\nOn {} by `{again}`, from inputs whose SHA-256 is `{}`.", cost.day, retold::hash(case)));
    out.push(String::new());
    out.join("\n")
}

/// The title of a way with what it runs on.
pub fn named(cost: &Cost, way: Way) -> String {
    let case = &cost.case;
    match way {
        Way::Api => format!("API: {}", case.api),
        Way::Managed => format!("Managed fine-tuning: {}", case.managed.as_deref().unwrap_or("none")),
        Way::Hosted => format!("Self-hosted: {} on {}", case.base, case.gpu),
    }
}

fn warned(cost: &Cost, out: &mut Vec<String>) {
    if !cost.warnings.is_empty() {
        out.push("## Before you believe it\n".into());
        cost.warnings.iter().for_each(|line| out.push(format!("- {}", cell(line))));
    }
}

fn matters(cost: &Cost, out: &mut Vec<String>) {
    out.push("\n## What matters most\n\nWhat self-hosting saves over the API when one input alone goes from its tenth to its ninetieth percentile.\n".into());
    out.push("| input | from | to | saves at the first | at the second |\n|---|--:|--:|--:|--:|".into());
    for swing in cost.tornado.iter().take(10) {
        let (low, high) = (words::figure(swing.low), words::figure(swing.high));
        let (first, second) = (Cents::round(swing.at_low), Cents::round(swing.at_high));
        out.push(format!("| {} | {low} | {high} | {first} | {second} |", swing.name.text()));
    }
}

fn scenarios(cost: &Cost, out: &mut Vec<String>) {
    let ways: Vec<&str> = cost.bills.iter().map(|bill| bill.way.title()).collect();
    out.push(format!("\n## What else might be\n\n| scenario | {} | self-hosting stays cheaper than the API from |", ways.join(" | ")));
    out.push(format!("|---|{}--:|", "--:|".repeat(ways.len())));
    for told in &cost.scenarios {
        if let Some(why) = &told.why_not {
            out.push(format!("| {} | {} not counted: {} |", cell(&told.name), "| ".repeat(ways.len()), cell(why)));
            continue;
        }
        let totals: Vec<String> = told.totals.iter().map(|(_, total)| total.to_string()).collect();
        let from = told.meeting.as_ref().and_then(|meeting| meeting.stays).map_or("never".to_string(), grouped);
        out.push(format!("| {} | {} | {from} |", cell(&told.name), totals.join(" | ")));
    }
}

fn inputs(cost: &Cost, out: &mut Vec<String>) {
    out.push("\n## What it is computed from\n\nAnything here can be changed with `--set NAME=VALUE`.\n\n| input | value | range | from |\n|---|--:|---|---|".into());
    for value in cost.case.values.iter().filter(|value| cost.case.counts(value.name)) {
        let (name, range) = (value.name.text(), words::range(value));
        out.push(format!("| {name} | {} | {range} | {} |", words::figure(value.value), cell(&words::origin(value))));
    }
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ").replace('<', "&lt;")
}
