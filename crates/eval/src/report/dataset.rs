//! The page about a dataset: its worst problem first, then all findings by check, lengths, classes, and each finding.

use super::chart::{Scale, ticks};
use super::page::{clipped, escape, fill};
use super::section;
use std::collections::{BTreeSet, HashSet};

/// Cards of one check that are shown; the others are counted.
const CARDS: usize = 200;
/// Names of examples that a card lists.
const NAMES: usize = 40;
/// Characters of a text that a card shows.
const SHOWN: usize = 1500;
/// Words of a text that are compared; the table of a comparison is as large as the product of both.
const WORDS: usize = 900;

/// What the page shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset {
    pub title: String,
    pub subtitle: String,
    pub rows: usize,
    /// The worst problem: whether it fails the gate, the sentence, an instance, the mend.
    pub worst: Option<(bool, String, String, String)>,
    /// In the order in which they are told: by check, the worst first.
    pub cards: Vec<Card>,
    pub lengths: Vec<Lengths>,
    pub bars: Vec<Bars>,
}

/// One finding.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Card {
    pub check: &'static str,
    /// `error`, `warning` or `note`.
    pub severity: &'static str,
    pub examples: Vec<String>,
    pub score: f64,
    pub evidence: String,
    pub mend: String,
    /// The first examples, whole.
    pub texts: Vec<Text>,
    /// Whether the texts are shown with what differs from the first.
    pub compared: bool,
}

/// One example.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Text {
    pub id: String,
    pub asked: String,
    pub answer: Option<String>,
}

/// Lengths of one kind of text, sorted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lengths {
    pub title: String,
    pub lengths: Vec<usize>,
}

/// Counts by name, the largest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bars {
    pub title: String,
    pub rows: Vec<(String, usize)>,
}

/// The page.
pub fn dataset(d: &Dataset) -> String {
    let body = [headline(d), summary(d), lengths(d), bars(d), cards(d)].concat();
    let style = format!("{}{}", include_str!("style.css"), include_str!("dataset.css"));
    let values = [
        ("eyebrow", "Data check"),
        ("title", &escape(&d.title)),
        ("subtitle", &escape(&d.subtitle)),
        ("style", &style),
        ("script", include_str!("script.js")),
        ("body", &body),
    ];
    fill(include_str!("page.html"), &values)
}

fn headline(d: &Dataset) -> String {
    let verdict = match &d.worst {
        Some((gate, sentence, instance, mend)) => format!(
            "<div class=\"verdict {}\"><p class=\"sentence\">{}</p><p class=\"mend\"><b>To mend it:</b> {}</p><p class=\"detail\">For instance: {}</p></div>\n",
            if *gate { "worse" } else { "unsure" },
            escape(sentence),
            escape(mend),
            clipped(instance, 420)
        ),
        None => "<div class=\"verdict improved\"><p class=\"sentence\">Nothing worse than a note was found</p></div>\n".to_string(),
    };
    let touched: HashSet<&String> = d.cards.iter().filter(|card| card.severity != "note").flat_map(|card| &card.examples).collect();
    let of = |severity: &str| d.cards.iter().filter(|card| card.severity == severity).count().to_string();
    let tiles = [
        (of("error"), "errors: training on them goes wrong"),
        (of("warning"), "warnings: look before training"),
        (of("note"), "notes"),
        (touched.len().to_string(), "examples with an error or a warning"),
    ];
    let tile = |(figure, text): &(String, &str)| format!("<div class=\"tile\"><b>{figure}</b><span>{text}</span></div>");
    format!("{verdict}<div class=\"tiles\">{}</div>\n", tiles.iter().map(tile).collect::<String>())
}

/// A check as people say it.
fn named(check: &str) -> String {
    check.replace('_', " ")
}

fn summary(d: &Dataset) -> String {
    let row = |cards: &[Card]| {
        let of = |severity: &str| cards.iter().filter(|card| card.severity == severity).count();
        let cell = |severity: &str| match of(severity) {
            0 => "<td class=\"num quiet\">—</td>".to_string(),
            n => format!("<td class=\"num {severity}\">{n}</td>"),
        };
        let examples: HashSet<&String> = cards.iter().flat_map(|card| &card.examples).collect();
        format!(
            "<tr><th>{}</th>{}{}{}<td class=\"num\">{}</td><td>{}</td></tr>",
            named(cards[0].check),
            cell("error"),
            cell("warning"),
            cell("note"),
            examples.len(),
            clipped(&cards[0].evidence, 150)
        )
    };
    let rows: String = d.cards.chunk_by(|a, b| a.check == b.check).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let table = format!(
        "<div class=\"scroll\"><table><thead><tr><th>check</th><th class=\"num\">errors</th><th class=\"num\">warnings</th><th class=\"num\">notes</th><th class=\"num\">examples</th><th>the worst of them</th></tr></thead><tbody>{rows}</tbody></table></div>"
    );
    section("What was found", "In the order in which to work: answers that disagree are settled before copies are removed.", &table)
}

fn lengths(d: &Dataset) -> String {
    let pictures: String = d.lengths.iter().filter_map(histogram).collect();
    if pictures.is_empty() {
        pictures
    } else {
        section(
            "Lengths",
            "On a scale on which each step is a factor. The line is the median.",
            &format!("<div class=\"plots\">{pictures}</div>"),
        )
    }
}

/// How many texts are how long, on a logarithmic scale.
fn histogram(of: &Lengths) -> Option<String> {
    const WIDTH: f64 = 480.0;
    const BINS: usize = 32;
    let (first, last) = (*of.lengths.first()?.max(&1) as f64, *of.lengths.last()? as f64);
    let (low, high) = (first.ln(), (last + 1.0).ln().max(first.ln() + 0.1));
    let x = Scale { low, high, from: 44.0, to: WIDTH - 8.0 };
    let mut counts = [0_usize; BINS];
    for length in &of.lengths {
        let at = (((*length).max(1) as f64).ln() - low) / (high - low) * BINS as f64;
        counts[(at as usize).min(BINS - 1)] += 1;
    }
    let most = *counts.iter().max()? as f64;
    let marks = ticks(0.0, most, 3);
    let y = Scale { low: 0.0, high: marks.last().copied()?.max(most), from: 168.0, to: 14.0 };
    let grid: String = marks
        .iter()
        .map(|mark| format!("<line class=\"grid\" x1=\"44\" x2=\"472\" y1=\"{0:.1}\" y2=\"{0:.1}\"/><text x=\"38\" y=\"{1:.1}\" text-anchor=\"end\">{mark}</text>", y.at(*mark), y.at(*mark) + 4.0))
        .collect();
    let step = (x.to - x.from) / BINS as f64;
    let bar = |(at, n): (usize, &usize)| {
        let top = y.at(*n as f64);
        format!(
            "<rect class=\"bin\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            x.from + at as f64 * step,
            step - 1.0,
            y.from - top
        )
    };
    let bars: String = counts.iter().enumerate().filter(|(_, n)| **n > 0).map(bar).collect();
    let powers = (0..10).flat_map(|power| [1.0, 3.0].map(|m| m * 10_f64.powi(power))).filter(|value| (low..=high).contains(&value.ln()));
    let labels: String =
        powers.map(|value| format!("<text x=\"{:.1}\" y=\"186\" text-anchor=\"middle\">{value}</text>", x.at(value.ln()))).collect();
    let median = of.lengths[of.lengths.len() / 2];
    let at = x.at((median.max(1) as f64).ln());
    let art = format!(
        "<svg viewBox=\"0 0 480 192\" role=\"img\" aria-label=\"{}\">{grid}{bars}<line class=\"median\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"14\" y2=\"168\"/>{labels}</svg>",
        escape(&of.title)
    );
    let tenth = |share: usize| of.lengths[(of.lengths.len() - 1) * share / 100];
    Some(format!(
        "<figure><h3>{}</h3>{art}<p class=\"legend\">median {median}, from {} (shortest) to {} (longest); 9 of 10 between {} and {}</p></figure>",
        escape(&of.title),
        of.lengths[0],
        tenth(100),
        tenth(5),
        tenth(95)
    ))
}

fn bars(d: &Dataset) -> String {
    const ROWS: usize = 40;
    let one = |bars: &Bars| {
        let most = bars.rows.first().map_or(1, |(_, n)| *n).max(1) as f64;
        let row = |(name, n): &(String, usize)| {
            format!(
                "<tr><th>{}</th><td><svg class=\"bar\" viewBox=\"0 0 190 12\" preserveAspectRatio=\"none\"><rect class=\"bin\" width=\"{:.1}\" height=\"12\"/></svg></td><td class=\"num\">{n}</td></tr>",
                clipped(name, 60),
                190.0 * *n as f64 / most
            )
        };
        let rows: String = bars.rows.iter().take(ROWS).map(row).collect();
        let more = bars.rows.len().saturating_sub(ROWS);
        let more = if more > 0 { format!("<p class=\"note\">and {more} more, each rarer</p>") } else { String::new() };
        format!(
            "<figure><h3>{}</h3><div class=\"scroll\"><table class=\"counts\"><tbody>{rows}</tbody></table></div>{more}</figure>",
            escape(&bars.title)
        )
    };
    let all: String = d.bars.iter().map(one).collect();
    if all.is_empty() { all } else { section("What there is of each", "", &format!("<div class=\"plots\">{all}</div>")) }
}

fn cards(d: &Dataset) -> String {
    if d.cards.is_empty() {
        return String::new();
    }
    let checks: Vec<&str> = d.cards.iter().map(|card| card.check).collect::<BTreeSet<_>>().into_iter().collect();
    let filters = ["all", "error", "warning", "note"].into_iter().chain(checks);
    let button =
        |name: &str| format!("<button type=\"button\" data-filter=\"{name}\" aria-pressed=\"{}\">{}</button>", name == "all", named(name));
    let buttons: String = filters.map(button).collect();
    let mut list = String::new();
    for group in d.cards.chunk_by(|a, b| a.check == b.check) {
        list.extend(group.iter().take(CARDS).map(card));
        let more = group.len().saturating_sub(CARDS);
        if more > 0 {
            list.push_str(&format!(
                "<p class=\"note\">{more} more of {} are in the output of <code>--json</code>.</p>",
                named(group[0].check)
            ));
        }
    }
    let body = format!(
        "<div class=\"filters\" role=\"group\" aria-label=\"Filter\">{buttons}<button type=\"button\" data-toggle=\"open\">Open all</button></div><div class=\"list\">{list}</div>"
    );
    section("Every finding", "Open one to see its examples whole.", &body)
}

fn card(card: &Card) -> String {
    let names: Vec<String> = card.examples.iter().take(NAMES).map(|id| format!("<code>{}</code>", clipped(id, 60))).collect();
    let more = card.examples.len().saturating_sub(NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = if names.is_empty() { String::new() } else { format!("<p class=\"names\">{}{more}</p>", names.join(" ")) };
    let first = card.texts.first();
    let text = |(at, text): (usize, &Text)| {
        let asked = match first {
            Some(first) if card.compared && at > 0 => difference(&first.asked, &text.asked),
            _ => clipped(&text.asked, SHOWN),
        };
        let answer = match (&text.answer, first.and_then(|first| first.answer.as_ref())) {
            (Some(answer), Some(other)) if card.compared && at > 0 && answer != other => {
                format!("<pre class=\"answer\">{}</pre>", difference(other, answer))
            }
            (Some(answer), _) => format!("<pre class=\"answer\">{}</pre>", clipped(answer, SHOWN)),
            (None, _) => String::new(),
        };
        format!("<div class=\"text\"><h3><code>{}</code></h3><pre>{asked}</pre>{answer}</div>", clipped(&text.id, 60))
    };
    let texts: String = card.texts.iter().enumerate().map(text).collect();
    format!(
        "<details class=\"ex card\" data-in=\"all {0} {1}\"><summary><span class=\"tag {0}\">{0}</span> <b>{2}</b> <span class=\"gist\">{3}</span></summary><div class=\"inside\"><p>{4}</p><p class=\"mend\"><b>To mend it:</b> {5}</p>{names}{texts}</div></details>\n",
        card.severity,
        card.check,
        named(card.check),
        escape(&card.evidence.chars().take(240).collect::<String>()),
        clipped(&card.evidence, 2000),
        escape(&card.mend)
    )
}

/// A text with its words marked where they differ from another's: what is new, and what is gone.
fn difference(old: &str, new: &str) -> String {
    let (a, b) = (words(old), words(new));
    let (rest, a, b) = (&b[b.len().min(WORDS)..], &a[..a.len().min(WORDS)], &b[..b.len().min(WORDS)]);
    let same = |i: usize, j: usize| a[i] == b[j];
    // How many words the rests have in common, from each pair of places on.
    let mut common = vec![vec![0_u16; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if same(i, j) { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = String::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && same(i, j) {
            out.push_str(&escape(b[j]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push_str(&format!("<del>{}</del>", escape(a[i])));
            i += 1;
        } else {
            out.push_str(&format!("<ins>{}</ins>", escape(b[j])));
            j += 1;
        }
    }
    let out = out.replace("</del><del>", "").replace("</ins><ins>", "");
    if rest.is_empty() { out } else { format!("{out}{}", clipped(&rest.concat(), SHOWN)) }
}

/// A text in words, spaces and signs, all of it.
fn words(text: &str) -> Vec<&str> {
    let kind = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '-') { 0 } else { 1 + u8::from(c.is_whitespace()) };
    let mut words = Vec::new();
    let mut from = 0;
    let mut last = None;
    for (at, c) in text.char_indices() {
        // Signs stand alone; letters and spaces join.
        if last.is_some_and(|last| last != kind(c) || last == 1) {
            words.push(&text[from..at]);
            from = at;
        }
        last = Some(kind(c));
    }
    words.extend((from < text.len()).then(|| &text[from..]));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_differ_are_marked() {
        assert_eq!(difference("one two three", "one 2 three"), "one <del>two</del><ins>2</ins> three");
        assert_eq!(difference("a", "a <b>"), "a<ins> &lt;b&gt;</ins>");
    }

    #[test]
    fn the_page_names_the_worst_first_and_shows_no_text_raw() {
        let card = Card {
            check: "near_duplicate",
            severity: "error",
            examples: vec!["<i>".into(), "t2".into()],
            evidence: "<script>alert(1)</script>".into(),
            mend: "keep & decide".into(),
            texts: vec![
                Text { id: "<i>".into(), asked: "<img src=x>".into(), answer: Some("a".into()) },
                Text { id: "t2".into(), asked: "<img src=y>".into(), answer: Some("b".into()) },
            ],
            compared: true,
            ..Card::default()
        };
        let page = dataset(&Dataset {
            title: "train.jsonl".into(),
            rows: 2,
            worst: Some((true, "2 examples disagree".into(), "<b>x".into(), "decide".into())),
            cards: vec![card],
            lengths: vec![Lengths { title: "prompts, characters".into(), lengths: vec![0, 3, 30, 30, 3000] }],
            bars: vec![Bars { title: "Classes".into(), rows: vec![("<x>".into(), 3)] }],
            ..Dataset::default()
        });
        assert!(!page.contains("<script>alert") && !page.contains("<img") && !page.contains("<b>x") && !page.contains("<i>"), "{page}");
        assert!(page.find("2 examples disagree") < page.find("What was found"));
        assert!(page.contains("median 30") && page.contains("data-filter=\"near_duplicate\""));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            let body = page.replace("&lt;img src=", "");
            assert!(!body.contains(outside), "{outside}");
        }
    }

    #[test]
    fn an_empty_dataset_has_a_page_too() {
        assert!(dataset(&Dataset::default()).contains("Nothing worse than a note"));
    }
}
