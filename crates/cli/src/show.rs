//! Things as lines for people; nothing is printed here.

use data::{Sample, Segment};
use eval::Scores;
use eval::arms::Rate;
use flow::{Measured, Merged, Prepared};
use plan::Buffer;
use record::Recipe;
use record::recipe::{Line, Origin};
use serde_json::{Value, json};
use train::End;

/// Longest stretch of the first sample that is not trained and still shown whole, in characters.
const WHOLE: usize = 4000;
/// The same for the others, which mostly begin alike.
const LONG: usize = 480;
/// The settings that decide most about a result.
const SHOWN: [&str; 12] = [
    "model.base",
    "model.storage",
    "train.method",
    "train.objective",
    "adapter.rank",
    "adapter.alpha",
    "adapter.targets",
    "train.lr",
    "train.schedule",
    "train.epochs",
    "train.batch",
    "train.precision",
];

/// What was read, what will be learned, and a few rendered examples.
pub fn prepared(p: &Prepared, colour: bool) -> Vec<String> {
    let f = &p.facts;
    let mut lines = vec!["\nData".to_string()];
    let share = 100.0 * f.learned_share();
    lines.push(format!(
        "  training     {} examples, {} tokens, the longest {}",
        count(f.examples as u64),
        count(f.tokens as u64),
        f.longest
    ));
    lines.push(format!(
        "  supervised   {} tokens ({share:.1} %): the answers; all others are read, not learned",
        count(f.learned_tokens as u64)
    ));
    lines.push(match f.ends_with_eot {
        n if n == f.examples => "  end of turn  learned in every example".to_string(),
        n => format!("  end of turn  learned in {n} of {} examples only; the others may not stop", f.examples),
    });
    lines.push("  truncated    no answer (an example that is too long is refused or dropped whole)".to_string());
    match f.too_long.as_slice() {
        [] => lines.push("  dropped      none".to_string()),
        [(line, tokens), ..] => {
            lines.push(format!(
                "  dropped      {} examples too long for the context, the first in line {line} ({tokens} tokens)",
                f.too_long.len()
            ));
        }
    }
    if !f.rewritten.is_empty() {
        lines.push(format!(
            "  rewritten    {} conversations, one example an answer: the template shows earlier answers otherwise",
            f.rewritten.len()
        ));
    }
    if f.pairs > 0 {
        lines.push(format!("  pairs        {}: a chosen and a rejected answer each; the loss compares the two", count(f.pairs as u64)));
    }
    if !p.replay.is_empty() {
        lines.push(format!("  replay       {} examples of older tasks are mixed in", count((p.replay.len() / p.kind.width()) as u64)));
    }
    if !p.validation.is_empty() {
        let n = count((p.validation.len() / p.kind.width()) as u64);
        lines.push(format!("  validation   {n} examples, never trained on; their loss decides which adapter is kept"));
    }
    lines.push(format!("  held out     {} examples, none of them in the training data", count(p.held_out.len() as u64)));
    let marks = if colour { "what is trained is green" } else { "what is trained stands in «»" };
    lines.push(format!("\nSamples as the model reads them; {marks}"));
    for (at, s) in p.samples.iter().enumerate() {
        lines.extend(sample(s, colour, if at == 0 { WHOLE } else { LONG }));
    }
    lines
}

fn sample(s: &Sample, colour: bool, long: usize) -> Vec<String> {
    let file = s.source.file.file_name().unwrap_or_default().to_string_lossy();
    let head = format!("  {file} line {}: {} tokens, {} trained", s.source.line, s.tokens, s.learned_tokens);
    let text: String = s.segments.iter().map(|g| segment(g, colour, long)).collect();
    let body = text.trim_end_matches('\n').lines().map(|l| format!("  | {l}"));
    std::iter::once(head).chain(body).collect()
}

fn segment(g: &Segment, colour: bool, long: usize) -> String {
    let text: String = g.text.chars().map(visible).collect();
    match (g.learned, colour) {
        // Each line is coloured by itself, so that what stands before it keeps its own colour.
        (true, true) => text
            .split('\n')
            .map(|l| if l.is_empty() { String::new() } else { format!("\x1b[32m{l}\x1b[0m") })
            .collect::<Vec<_>>()
            .join("\n"),
        (true, false) => format!("«{text}»"),
        (false, _) => shortened(&text, long),
    }
}

/// Control characters of the data must not steer the terminal.
fn visible(c: char) -> char {
    if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }
}

fn shortened(text: &str, long: usize) -> String {
    let n = text.chars().count();
    if n <= long {
        return text.to_string();
    }
    let (head, tail) = (long / 3, long / 2);
    let first: String = text.chars().take(head).collect();
    let last: String = text.chars().skip(n - tail).collect();
    format!("{first} [... {} characters ...] {last}", n - head - tail)
}

/// What happened on the way that a reader of the result must know.
pub fn course(end: &End) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some((_, first)), Some((step, Some(loss)))) = (end.validations.first(), end.published) {
        let early = if end.stopped_early { "; it got no better, so the run ended early" } else { "" };
        lines.push(format!("Validation loss {first:.4} to {loss:.4} at step {step}, whose adapter is the result{early}."));
    }
    if end.skipped > 0 {
        lines.push(format!("{} steps were skipped; events.jsonl names their examples.", end.skipped));
    }
    if end.rewound > 0 {
        lines.push(format!("{} times the run went back to a checkpoint; events.jsonl names the examples.", end.rewound));
    }
    lines.extend(end.advice.iter().map(|(finding, text, _)| format!("{}: {text}.", capital(finding))));
    lines
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// The settings that matter most, with who chose them and why.
pub fn settings(recipe: &Recipe) -> Vec<String> {
    let all = recipe.explain();
    let lines: Vec<&Line> = all.iter().filter(|l| SHOWN.contains(&l.key)).collect();
    let mut out = vec!["\nSettings".to_string()];
    out.extend(setting_lines(&lines));
    let refused = "refused: none. What cannot work (such as full fine-tuning of quantised weights) ends a run before it starts";
    out.push(format!("  {refused}; all settings: tunesmith recipe"));
    out
}

/// One line a setting, in columns.
pub fn setting_lines(lines: &[&Line]) -> Vec<String> {
    let key = lines.iter().map(|l| l.key.len()).max().unwrap_or(0);
    let value = lines.iter().map(|l| l.value.chars().count().min(32)).max().unwrap_or(0);
    let one = |l: &&Line| match l.from {
        Origin::Default => format!("  {:key$}  {:value$}  default: {}", l.key, l.value, l.reason),
        Origin::File => format!("  {:key$}  {:value$}  from the recipe", l.key, l.value),
        Origin::Flag => format!("  {:key$}  {:value$}  from --set", l.key, l.value),
    };
    lines.iter().map(one).collect()
}

/// The arms as a table, and what they allow to be said.
pub fn measured(m: &Measured) -> Vec<String> {
    let mut lines = vec![format!("\nHeld-out examples: {} (95 % intervals in brackets)", m.scores.n)];
    lines.extend(table(&m.scores));
    lines.push(String::new());
    lines.push(m.sentence.clone());
    lines.push(m.detail.clone());
    lines
}

fn table(scores: &Scores) -> Vec<String> {
    let schema = scores.arms.iter().any(|a| a.schema_valid.is_some());
    let width = scores.arms.iter().map(|a| a.name.chars().count()).max().unwrap_or(0).max(4);
    let mut head = format!("  {:width$}  {:>22}", "", "exact match");
    let titles = [(scores.structured, "valid JSON"), (schema, "obeys the schema")];
    titles.iter().filter(|(on, _)| *on).for_each(|(_, title)| head.push_str(&format!("  {title:>22}")));
    let row = |a: &eval::arms::ArmScores| {
        let mut line = format!("  {:width$}  {}", a.name, rate(&a.exact));
        if scores.structured {
            line.push_str(&format!("  {}", rate(&a.json_valid)));
        }
        if let Some(s) = &a.schema_valid {
            line.push_str(&format!("  {}", rate(s)));
        }
        line
    };
    std::iter::once(head).chain(scores.arms.iter().map(row)).collect()
}

fn rate(r: &Rate) -> String {
    let text = format!("{:.1} % [{:.1}, {:.1}]", 100.0 * r.share, 100.0 * r.low, 100.0 * r.high);
    format!("{text:>22}")
}

/// The proof of a merge.
pub fn merged(m: &Merged) -> String {
    let p = &m.proof;
    format!(
        "Merged and verified: reloaded, its logits differ from base with adapter by at most {:.1e} of their size (KL {:.1e}), same top token at {:.1} % of {} positions.",
        p.logit,
        p.kl,
        100.0 * p.same_top,
        p.positions
    )
}

/// Buffers as a table, in their order.
pub fn buffers(all: &[Buffer]) -> Vec<String> {
    let width = all.iter().map(|b| b.name.chars().count()).max().unwrap_or(0);
    all.iter().map(|b| format!("{:>10}  {:width$}  {:19}  {}", bytes(b.bytes), b.name, b.life.title(), b.why)).collect()
}

/// Buffers for programs.
pub fn buffer_figures(all: &[Buffer]) -> Vec<Value> {
    all.iter().map(|b| json!({ "name": b.name, "bytes": b.bytes, "lives": b.life.title(), "why": b.why })).collect()
}

/// `38.05 GiB`, `512.0 MiB`, `1.5 KiB`.
pub fn bytes(n: u64) -> String {
    let n = n as f64;
    match n {
        _ if n >= 1024.0 * 1024.0 * 1024.0 => format!("{:.2} GiB", n / 1024.0 / 1024.0 / 1024.0),
        _ if n >= 1024.0 * 1024.0 => format!("{:.1} MiB", n / 1024.0 / 1024.0),
        _ => format!("{:.1} KiB", n / 1024.0),
    }
}

/// `7.2 s`, `3 min 05 s`, `2 h 10 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// A whole number with its thousands apart: `1,200`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_readers() {
        assert_eq!([count(7), count(1200), count(1_234_567)], ["7", "1,200", "1,234,567"]);
        assert_eq!([duration(3.25), duration(59.4), duration(185.0), duration(7800.0)], ["3.2 s", "59 s", "3 min 05 s", "2 h 10 min"]);
    }

    #[test]
    fn what_is_trained_is_marked_and_the_rest_shortened() {
        let part = |text: &str, learned| Segment { text: text.into(), learned };
        let sample_of = |colour| {
            let segments = vec![part(&"x".repeat(2000), false), part("yes\x1b[0m\n", true)];
            sample(
                &Sample { source: data::Source { file: "a/b.jsonl".into(), line: 7 }, segments, tokens: 9, learned_tokens: 2 },
                colour,
                LONG,
            )
            .join("\n")
        };
        let plain = sample_of(false);
        assert!(plain.starts_with("  b.jsonl line 7: 9 tokens, 2 trained\n  | xxx"), "{plain}");
        assert!(plain.contains("[... 1600 characters ...]") && plain.contains("«yes\u{fffd}[0m"), "{plain}");
        assert!(sample_of(true).contains("\x1b[32myes\u{fffd}[0m\x1b[0m"));
    }
}
