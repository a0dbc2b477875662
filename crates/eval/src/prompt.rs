//! The few-shot prompt: a good choice of training examples, so that the base model gets its honest chance.
//!
//! Prompting comes before tuning, so the rival of the tuned model is the base model with the best
//! examples that a careful person would pick: as many different labels as possible, short and
//! typical ones, nothing from the held-out set.

use crate::labels::{Place, place};
use crate::score::{parse, plain};
use crate::{Error, Result};
use std::collections::{HashMap, HashSet};

/// One training example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick<'a> {
    pub prompt: &'a str,
    pub response: &'a str,
}

/// How to choose.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// Examples wanted; fewer come back only if fewer can be used.
    pub count: usize,
    /// The same seed gives the same examples in the same order.
    pub seed: u64,
    /// The field whose value is the label; without it the label is looked for.
    pub label: Option<&'a str>,
}

/// The chosen examples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shots {
    /// Indices into the training examples, in the order of the prompt.
    pub rows: Vec<usize>,
    /// The conversation before the question: ("user", prompt) and ("assistant", response) by turns.
    pub messages: Vec<(String, String)>,
    /// Different labels among them; 0 where answers have no label.
    pub labels: usize,
}

impl Shots {
    /// The whole conversation for one question: system prompt if there is one, examples, question.
    pub fn ask(&self, system: Option<&str>, question: &str) -> Vec<(String, String)> {
        let turn = |role: &str, content: &str| (role.to_string(), content.to_string());
        let system = system.map(|content| turn("system", content));
        system.into_iter().chain(self.messages.iter().cloned()).chain([turn("user", question)]).collect()
    }
}

/// Chooses examples for the prompt from the training set.
///
/// `held_out` are the questions of the test set: a training example with the same text (case and
/// white space aside) is never chosen. Examples that contradict each other (same text, different
/// answers) are left out too. Errors if nothing is left.
pub fn choose(train: &[Pick], held_out: &[&str], choice: Choice) -> Result<Shots> {
    let usable = usable(train, held_out)?;
    let expected: Vec<&str> = usable.iter().map(|&row| train[row].response).collect();
    let place = choice.label.map(|name| Place::Field(name.to_string())).or_else(|| place(&expected));
    let label = |row: usize| place.as_ref().and_then(|place| place.label(train[row].response)).unwrap_or_default();
    let candidates = candidates(train, &usable, &label, choice.seed);

    let mut rows = greedy(candidates, choice.count);
    // Labels come out by frequency; in a fixed order the model would learn the order, so it is shuffled.
    shuffle(&mut rows, choice.seed);
    let labels = rows.iter().map(|&row| label(row)).filter(|label| !label.is_empty()).collect::<HashSet<_>>().len();
    let turns =
        |&row: &usize| [("user".to_string(), train[row].prompt.to_string()), ("assistant".to_string(), train[row].response.to_string())];
    let messages = rows.iter().flat_map(turns).collect();
    Ok(Shots { rows, messages, labels })
}

/// Rows that may be shown: first of its text, not held out, not contradicted.
fn usable(train: &[Pick], held_out: &[&str]) -> Result<Vec<usize>> {
    let held: HashSet<String> = held_out.iter().map(|text| folded(text)).collect();
    let mut answers: HashMap<String, (usize, bool)> = HashMap::new();
    for (row, pick) in train.iter().enumerate() {
        let seen = answers.entry(folded(pick.prompt)).or_insert((row, true));
        seen.1 &= folded(train[seen.0].response) == folded(pick.response);
    }
    let (mut rows, mut from_test, mut contradicting) = (Vec::new(), 0, 0);
    for (row, pick) in train.iter().enumerate() {
        let text = folded(pick.prompt);
        let (first, agreed) = answers[&text];
        if held.contains(&text) {
            from_test += 1;
        } else if !agreed {
            contradicting += 1;
        } else if first == row && !text.is_empty() {
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return Err(Error::NoShots { found: train.len(), held_out: from_test, contradicting });
    }
    Ok(rows)
}

/// One row with what makes it a good choice.
struct Candidate {
    row: usize,
    label: String,
    /// Examples with this label.
    label_size: usize,
    /// Short and typical, the higher the better; about 0 to 1.
    merit: f64,
    /// Field values that this answer shows.
    values: Vec<String>,
    tie: u64,
}

fn candidates(train: &[Pick], usable: &[usize], label: &dyn Fn(usize) -> String, seed: u64) -> Vec<Candidate> {
    let mut groups: HashMap<String, Vec<usize>> = HashMap::new();
    for &row in usable {
        groups.entry(label(row)).or_default().push(row);
    }
    let words = Words::of(train, usable);
    let mut all: Vec<Candidate> = Vec::with_capacity(usable.len());
    for (label, rows) in &groups {
        let typical = words.typical(train, rows);
        let mut lengths: Vec<usize> = rows.iter().map(|&row| train[row].prompt.chars().count()).collect();
        lengths.sort_unstable();
        let median = lengths[lengths.len() / 2].max(1) as f64;
        for (&row, typical) in rows.iter().zip(typical) {
            let merit = typical * brevity(train[row].prompt.chars().count() as f64 / median);
            let (label, values) = (label.clone(), values(train[row].response));
            all.push(Candidate { row, label, label_size: rows.len(), merit, values, tie: mix(seed ^ row as u64) });
        }
    }
    // Groups come from a hash map; their order must not reach the choice.
    all.sort_by_key(|candidate| candidate.row);
    all
}

/// 1 around half to four fifths of the usual length, less for longer texts and for scraps that say nothing.
fn brevity(length: f64) -> f64 {
    match length {
        l if l < 0.3 => l / 0.3,
        l if l <= 0.8 => 1.0,
        l => (0.8 / l).powi(2),
    }
}

/// The values of fields with a closed set of answers: strings without spaces, true and false.
fn values(response: &str) -> Vec<String> {
    let Some(serde_json::Value::Object(fields)) = parse(response) else {
        return Vec::new();
    };
    let closed = |value: &serde_json::Value| value.is_boolean() || value.as_str().is_some_and(|text| !text.contains(char::is_whitespace));
    fields.iter().filter(|(_, value)| closed(value)).map(|(name, value)| format!("{name}={}", plain(value))).collect()
}

/// Takes one at a time: labels not shown yet first (frequent ones before rare ones), then the best of
/// merit plus a bonus for field values not shown yet.
fn greedy(mut left: Vec<Candidate>, count: usize) -> Vec<usize> {
    let (mut shown_labels, mut shown_values) = (HashMap::<String, usize>::new(), HashSet::<String>::new());
    let mut rows = Vec::new();
    while rows.len() < count && !left.is_empty() {
        let rank = |c: &Candidate| {
            let new = c.values.iter().filter(|value| !shown_values.contains(*value)).count();
            let times = shown_labels.get(&c.label).copied().unwrap_or(0);
            // Merit decides among examples of one label; a new value outweighs a third of its range.
            (std::cmp::Reverse(times), c.label_size, c.label.clone(), c.merit + 0.3 * new as f64, c.tie)
        };
        let best = (0..left.len()).max_by(|&a, &b| {
            let (a, b) = (rank(&left[a]), rank(&left[b]));
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| b.2.cmp(&a.2)).then(a.3.total_cmp(&b.3)).then(a.4.cmp(&b.4))
        });
        let Some(best) = best else { break };
        let taken = left.swap_remove(best);
        rows.push(taken.row);
        shown_values.extend(taken.values);
        *shown_labels.entry(taken.label).or_default() += 1;
    }
    rows
}

/// In how many of the usable examples each word stands.
struct Words {
    documents: HashMap<String, usize>,
    n: usize,
}

impl Words {
    fn of(train: &[Pick], rows: &[usize]) -> Self {
        let mut documents = HashMap::new();
        for &row in rows {
            for word in distinct(train[row].prompt) {
                *documents.entry(word).or_insert(0) += 1;
            }
        }
        Self { documents, n: rows.len() }
    }

    /// For each row of a group, how much its words are the group's words: 0 to 1, the best is 1.
    ///
    /// A word counts by how many of the group use it and how few of the others do; the mean over a
    /// text's words (with two empty ones added, so that a single word does not win) is its score.
    fn typical(&self, train: &[Pick], rows: &[usize]) -> Vec<f64> {
        let group = Words::of(train, rows);
        let weight = |word: &String| {
            let inside = group.documents.get(word).map_or(0, |&n| n - 1) as f64 / rows.len() as f64;
            let everywhere = self.documents.get(word).copied().unwrap_or(1).max(1) as f64;
            inside * (self.n as f64 / everywhere).ln().max(0.0)
        };
        let scores: Vec<f64> = rows
            .iter()
            .map(|&row| {
                let words = distinct(train[row].prompt);
                // Summed in a fixed order: a hash set's order would change the last bits, and with them the choice.
                words.iter().map(weight).sum::<f64>() / (words.len() + 2) as f64
            })
            .collect();
        let best = scores.iter().copied().fold(0.0, f64::max);
        scores.iter().map(|score| if best > 0.0 { 0.2 + 0.8 * score / best } else { 1.0 }).collect()
    }
}

/// The different words of a text, sorted.
fn distinct(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut words: Vec<String> = words.map(str::to_lowercase).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// A text without case and with single spaces.
fn folded(text: &str) -> String {
    text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// SplitMix64's output function: spreads a number over all bits. Source: Steele, Lea, Flood, OOPSLA 2014.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Fisher and Yates' shuffle; the bias of the remainder is far below what a prompt could notice.
fn shuffle(rows: &mut [usize], seed: u64) {
    for at in (1..rows.len()).rev() {
        let other = mix(seed.wrapping_mul(31).wrapping_add(at as u64)) % (at as u64 + 1);
        rows.swap(at, other as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Vec<(String, String)> {
        let stories = [
            ("refund", "where is my refund money please"),
            ("setup", "how do I pair the new camera with my phone"),
            ("cancel", "please cancel my monthly plan now"),
        ];
        let mut all = Vec::new();
        for i in 0..12 {
            for (label, story) in stories {
                let text = if i % 4 == 3 { format!("{story}, {}", "and a long story follows here ".repeat(8)) } else { story.to_string() };
                let answer = format!(r#"{{"intent":"{label}","urgent":{}}}"#, i % 2 == 0);
                all.push((format!("{text} (case {i})"), answer));
            }
        }
        all
    }

    fn picks(data: &[(String, String)]) -> Vec<Pick<'_>> {
        data.iter().map(|(prompt, response)| Pick { prompt, response }).collect()
    }

    fn choice(count: usize, seed: u64) -> Choice<'static> {
        Choice { count, seed, label: None }
    }

    #[test]
    fn all_labels_are_covered_and_texts_are_short() {
        let data = data();
        let train = picks(&data);
        let shots = choose(&train, &[], choice(3, 1)).unwrap();
        assert_eq!((shots.rows.len(), shots.labels), (3, 3));
        assert!(shots.rows.iter().all(|&row| train[row].prompt.len() < 80));
        let six = choose(&train, &[], choice(6, 1)).unwrap();
        for label in ["refund", "setup", "cancel"] {
            let of_label: Vec<_> = six.rows.iter().filter(|&&row| train[row].response.contains(label)).collect();
            assert_eq!(of_label.len(), 2, "{label}");
        }
        let urgent = six.rows.iter().filter(|&&row| train[row].response.contains("true")).count();
        assert!(urgent > 0 && urgent < 6, "both values of urgent are shown");
    }

    #[test]
    fn the_seed_decides_and_nothing_else() {
        let data = data();
        let train = picks(&data);
        let first = choose(&train, &[], choice(6, 7)).unwrap();
        for _ in 0..5 {
            assert_eq!(choose(&train, &[], choice(6, 7)).unwrap(), first);
        }
        assert!((0..20).any(|seed| choose(&train, &[], choice(6, seed)).unwrap().rows != first.rows));
    }

    #[test]
    fn held_out_and_contradicting_texts_are_never_shown() {
        let data = data();
        let mut train = picks(&data);
        let chosen = choose(&train, &[], choice(3, 1)).unwrap();
        let banned: Vec<String> = chosen.rows.iter().map(|&row| format!("  {} ", train[row].prompt.to_uppercase())).collect();
        let held: Vec<&str> = banned.iter().map(String::as_str).collect();
        let other = choose(&train, &held, choice(36, 1)).unwrap();
        assert_eq!(other.rows.len(), 33);
        assert!(chosen.rows.iter().all(|row| !other.rows.contains(row)));

        let twin = Pick { prompt: train[0].prompt, response: r#"{"intent":"setup","urgent":true}"# };
        train.push(twin);
        train.push(train[1]);
        let all = choose(&train, &[], choice(99, 1)).unwrap();
        assert!(!all.rows.contains(&0) && !all.rows.contains(&36), "both sides of a contradiction stay out");
        assert!(all.rows.contains(&1) && !all.rows.contains(&37), "a copy is shown once");
    }

    #[test]
    fn nothing_left_is_an_error() {
        let train = [Pick { prompt: "a", response: "x" }, Pick { prompt: "b", response: "y" }, Pick { prompt: "B", response: "z" }];
        let found = choose(&train, &["A"], choice(2, 0)).unwrap_err().to_string();
        let expected = "no example for the few-shot prompt: of 3 training examples 1 equal a held-out one and 2 contradict each other, expected at least 1 to be left";
        assert_eq!(found, expected);
    }

    #[test]
    fn the_conversation_alternates_and_ends_with_the_question() {
        let data = data();
        let shots = choose(&picks(&data), &[], choice(2, 1)).unwrap();
        let roles: Vec<String> = shots.ask(Some("be brief"), "and this?").into_iter().map(|(role, _)| role).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "assistant", "user"]);
        assert_eq!(shots.ask(None, "and this?").last().unwrap().1, "and this?");
    }

    #[test]
    fn free_text_works_without_labels() {
        let data: Vec<(String, String)> = (0..9).map(|i| (format!("question number {i}"), format!("a free answer {i}"))).collect();
        let shots = choose(&picks(&data), &[], choice(4, 3)).unwrap();
        assert_eq!((shots.rows.len(), shots.labels), (4, 0));
    }
}
