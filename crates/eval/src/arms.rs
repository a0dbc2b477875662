//! Arms: several ways to answer the same questions, counted and compared pair by pair.

use crate::labels::Labels;
use crate::score::{Mark, Schema, mark, parse};
use crate::uncertainty::{Difference, mcnemar, paired_difference, wilson};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One held-out question with its expected answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Where it comes from, such as `test.jsonl:17`.
    pub id: String,
    /// The question alone, without system prompt and few-shot examples.
    pub prompt: String,
    pub expected: String,
}

/// One answer of an arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub text: String,
    /// Generated tokens, the end-of-turn token included.
    pub tokens: usize,
    /// Whether the model ended its turn itself; otherwise the length limit cut it off.
    pub stopped: bool,
}

/// What an arm stands for in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The model as it was before training, with some prompt.
    Base,
    /// The model after training.
    Tuned,
}

/// One way to answer: a model with a prompt, and its answers in the order of the examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// As a reader should see it, such as "Base model, 8 examples in the prompt".
    pub name: String,
    pub role: Role,
    pub outputs: Vec<Output>,
    /// Wall time of the generation.
    pub seconds: f64,
}

/// What the answers are judged by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Task<'a> {
    /// The schema that answers must obey, if there is one.
    pub schema: Option<&'a Schema>,
    /// The field whose value is the label; without it the label is looked for (see [`crate::labels::place`]).
    pub label: Option<&'a str>,
}

/// A counted share with its Wilson 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub hits: usize,
    pub n: usize,
    pub share: f64,
    pub low: f64,
    pub high: f64,
}

impl Rate {
    /// `hits` of `n`; a share of nothing counts as 0, with the whole range as its interval.
    pub fn of(hits: usize, n: usize) -> Self {
        let interval = wilson(hits, n);
        let share = if n == 0 { 0.0 } else { hits as f64 / n as f64 };
        Self { hits, n, share, low: interval.low, high: interval.high }
    }
}

/// All figures of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Held-out examples.
    pub n: usize,
    /// Whether the expected answers are JSON objects or lists, so that JSON rates say something.
    pub structured: bool,
    pub arms: Vec<ArmScores>,
    /// Every two arms, the earlier one as `a`.
    pub pairs: Vec<Pair>,
    /// `None` where the answers are free text.
    pub labels: Option<Labels>,
    /// The base arm to beat: most exact answers, then most that are exact once dug out, then most valid JSON.
    pub better_base: Option<usize>,
    /// The first tuned arm.
    pub tuned: Option<usize>,
}

/// The figures of one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmScores {
    pub name: String,
    pub role: Role,
    pub exact: Rate,
    /// Exact, or exact once the first JSON object is dug out of the prose around it.
    pub found_exact: Rate,
    pub json_valid: Rate,
    /// `None` when there is no schema.
    pub schema_valid: Option<Rate>,
    /// Agreement on each top-level field, over the examples whose expected answer has it.
    pub fields: Vec<FieldRate>,
    pub mean_tokens: f64,
    /// Answers that the length limit cut off.
    pub cut_off: usize,
    pub seconds: f64,
    /// One for each example.
    pub marks: Vec<Mark>,
}

/// Agreement on one field of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldRate {
    pub field: String,
    pub rate: Rate,
}

/// Two arms on the same examples, by exact match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Indices of the arms.
    pub a: usize,
    pub b: usize,
    pub both: usize,
    pub only_a: usize,
    pub only_b: usize,
    pub neither: usize,
    /// McNemar's exact two-sided p.
    pub p: f64,
    /// Share of b minus share of a, with Newcombe's interval.
    pub difference: Difference,
}

impl Scores {
    /// Judges every output and counts.
    ///
    /// Errors if there is nothing to count, if an arm's outputs do not match the examples, if
    /// two arms share a name, or if the named label field is missing in an expected answer.
    pub fn of(examples: &[Example], arms: &[Arm], task: Task) -> Result<Scores> {
        check(examples, arms)?;
        let scored: Vec<ArmScores> = arms.iter().map(|arm| score(examples, arm, task.schema)).collect();
        let structured = examples.iter().all(|example| parse(&example.expected).is_some_and(|value| value.is_object() || value.is_array()));
        let tuned = arms.iter().position(|arm| arm.role == Role::Tuned);
        let better_base = better_base(&scored);
        let labels = Labels::of(examples, arms, task.label, tuned.unwrap_or(0))?;
        let pairs = (0..arms.len()).flat_map(|a| (a + 1..arms.len()).map(move |b| (a, b)));
        let pairs = pairs.map(|(a, b)| Pair::of(a, b, &scored[a].marks, &scored[b].marks)).collect();
        Ok(Scores { n: examples.len(), structured, arms: scored, pairs, labels, better_base, tuned })
    }

    /// The comparison of two arms, seen from `from` to `to`: `only_a` is what `from` alone got right.
    pub fn pair(&self, from: usize, to: usize) -> Option<Pair> {
        let pair = self.pairs.iter().find(|pair| (pair.a, pair.b) == (from.min(to), from.max(to)))?;
        Some(if pair.a == from { pair.clone() } else { pair.turned() })
    }
}

impl Pair {
    fn of(a: usize, b: usize, marks_a: &[Mark], marks_b: &[Mark]) -> Pair {
        let count = |in_a: bool, in_b: bool| marks_a.iter().zip(marks_b).filter(|(a, b)| a.exact == in_a && b.exact == in_b).count();
        let (both, only_a, only_b, neither) = (count(true, true), count(true, false), count(false, true), count(false, false));
        let difference = paired_difference(both, only_b, only_a, neither);
        Pair { a, b, both, only_a, only_b, neither, p: mcnemar(only_a, only_b), difference }
    }

    fn turned(&self) -> Pair {
        let Difference { value, low, high } = self.difference;
        let difference = Difference { value: -value, low: -high, high: -low };
        Pair { a: self.b, b: self.a, only_a: self.only_b, only_b: self.only_a, difference, ..*self }
    }
}

fn check(examples: &[Example], arms: &[Arm]) -> Result<()> {
    if examples.is_empty() {
        return Err(Error::NoExamples);
    }
    if arms.is_empty() {
        return Err(Error::NoArms);
    }
    for (at, arm) in arms.iter().enumerate() {
        if arms[..at].iter().any(|other| other.name == arm.name) {
            return Err(Error::SameName { name: arm.name.clone() });
        }
        if arm.outputs.len() != examples.len() {
            return Err(Error::Outputs { arm: arm.name.clone(), found: arm.outputs.len(), expected: examples.len() });
        }
    }
    Ok(())
}

fn score(examples: &[Example], arm: &Arm, schema: Option<&Schema>) -> ArmScores {
    let n = examples.len();
    let marks: Vec<Mark> =
        examples.iter().zip(&arm.outputs).map(|(example, output)| mark(&output.text, &example.expected, schema)).collect();
    let rate = |holds: fn(&Mark) -> bool| Rate::of(marks.iter().filter(|mark| holds(mark)).count(), n);
    ArmScores {
        name: arm.name.clone(),
        role: arm.role,
        exact: rate(|mark| mark.exact),
        found_exact: rate(|mark| mark.found_exact),
        json_valid: rate(|mark| mark.json),
        schema_valid: schema.map(|_| rate(|mark| mark.schema == Some(true))),
        fields: fields(&marks),
        mean_tokens: arm.outputs.iter().map(|output| output.tokens as f64).sum::<f64>() / n as f64,
        cut_off: arm.outputs.iter().filter(|output| !output.stopped).count(),
        seconds: arm.seconds,
        marks,
    }
}

/// Counts each field where it is expected, in the order in which the fields first appear.
fn fields(marks: &[Mark]) -> Vec<FieldRate> {
    let mut order: Vec<&str> = Vec::new();
    let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
    for (field, agrees) in marks.iter().flat_map(|mark| &mark.fields) {
        let count = counts.entry(field).or_insert_with(|| {
            order.push(field);
            (0, 0)
        });
        *count = (count.0 + usize::from(*agrees), count.1 + 1);
    }
    order.into_iter().map(|field| FieldRate { field: field.to_string(), rate: Rate::of(counts[field].0, counts[field].1) }).collect()
}

fn better_base(arms: &[ArmScores]) -> Option<usize> {
    let merit = |arm: &ArmScores| (arm.exact.hits, arm.found_exact.hits, arm.json_valid.hits);
    // max_by_key returns the last of equals; the first one named is the plainer prompt, so the order is turned.
    (0..arms.len()).rev().filter(|&at| arms[at].role == Role::Base).max_by_key(|&at| merit(&arms[at]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example(at: usize, expected: &str) -> Example {
        Example { id: format!("test.jsonl:{}", at + 1), prompt: format!("question {at}"), expected: expected.into() }
    }

    pub(crate) fn arm(name: &str, role: Role, outputs: &[&str]) -> Arm {
        let outputs = outputs.iter().map(|text| Output { text: text.to_string(), tokens: 4, stopped: !text.is_empty() }).collect();
        Arm { name: name.into(), role, outputs, seconds: 1.5 }
    }

    const A: &str = r#"{"intent":"a","urgent":true}"#;
    const B: &str = r#"{"intent":"b","urgent":true}"#;

    fn four() -> (Vec<Example>, Vec<Arm>) {
        let examples = [A, A, B, B].iter().enumerate().map(|(at, expected)| example(at, expected)).collect();
        let arms = vec![
            arm("plain", Role::Base, &["", "so: {\"intent\":\"a\",\"urgent\":true}", "b", "b"]),
            arm("shots", Role::Base, &[A, "{\"intent\":\"z\",\"urgent\":true}", A, "oops"]),
            arm("tuned", Role::Tuned, &["{ \"urgent\":true, \"intent\":\"a\" }", A, B, A]),
        ];
        (examples, arms)
    }

    #[test]
    fn arms_are_counted() {
        let (examples, arms) = four();
        let schema = Schema::parse("s", r#"{"type":"object","properties":{"intent":{"enum":["a","b"]}}}"#).unwrap();
        let scores = Scores::of(&examples, &arms, Task { schema: Some(&schema), label: None }).unwrap();
        let counts: Vec<_> = scores
            .arms
            .iter()
            .map(|arm| (arm.exact.hits, arm.found_exact.hits, arm.json_valid.hits, arm.schema_valid.unwrap().hits, arm.cut_off))
            .collect();
        assert_eq!(counts, [(0, 1, 0, 0, 1), (1, 1, 3, 2, 0), (3, 3, 4, 4, 0)]);
        assert_eq!((scores.better_base, scores.tuned, scores.structured, scores.n), (Some(1), Some(2), true, 4));
        let fields: Vec<_> = scores.arms[2].fields.iter().map(|f| (f.field.as_str(), f.rate.hits, f.rate.n)).collect();
        assert_eq!(fields, [("intent", 3, 4), ("urgent", 4, 4)]);
        assert_eq!(scores.arms[0].mean_tokens, 4.0);
    }

    #[test]
    fn pairs_are_compared_both_ways() {
        let (examples, arms) = four();
        let scores = Scores::of(&examples, &arms, Task::default()).unwrap();
        assert_eq!(scores.pairs.len(), 3);
        let pair = scores.pair(1, 2).unwrap();
        assert_eq!((pair.both, pair.only_a, pair.only_b, pair.neither), (1, 0, 2, 1));
        assert!((pair.p - 0.5).abs() < 1e-12, "{}", pair.p);
        assert_eq!(pair.difference.value, 0.5);
        let back = scores.pair(2, 1).unwrap();
        assert_eq!((back.only_a, back.only_b, back.difference.value), (2, 0, -0.5));
        assert_eq!((back.difference.low, back.difference.high), (-pair.difference.high, -pair.difference.low));
        assert!(scores.pair(0, 7).is_none());
    }

    #[test]
    fn labels_are_counted() {
        let (examples, arms) = four();
        let labels = Scores::of(&examples, &arms, Task::default()).unwrap().labels.unwrap();
        let rows: Vec<_> = labels.rows.iter().map(|row| (row.label.as_str(), row.n, row.arms[2].hits, row.arms[1].hits)).collect();
        assert_eq!(rows, [("a", 2, 2, 1), ("b", 2, 1, 0)]);
        assert_eq!(labels.macro_average, [0.0, 0.25, 0.75]);
        assert_eq!(labels.micro_average[2].hits, 3);
        assert_eq!((labels.confused_arm, labels.confusions.len()), (2, 1));
        assert_eq!((labels.confusions[0].expected.as_str(), labels.confusions[0].given.as_str()), ("b", "a"));
    }

    #[test]
    fn ties_of_base_arms_go_to_the_first() {
        let examples = [example(0, "x"), example(1, "y")];
        let arms = [arm("plain", Role::Base, &["x", "n"]), arm("shots", Role::Base, &["n", "y"])];
        let scores = Scores::of(&examples, &arms, Task::default()).unwrap();
        assert_eq!((scores.better_base, scores.tuned, scores.structured), (Some(0), None, false));
        assert!(scores.labels.is_none());
    }

    #[test]
    fn faults_are_named() {
        let (examples, mut arms) = four();
        let said = |examples: &[Example], arms: &[Arm], task: Task| Scores::of(examples, arms, task).unwrap_err().to_string();
        assert_eq!(said(&[], &arms, Task::default()), "no held-out example to score, expected at least 1");
        assert_eq!(said(&examples, &[], Task::default()), "no arm to score, expected at least 1");
        assert_eq!(
            said(&examples, &arms, Task { schema: None, label: Some("topic") }),
            "the expected answer of example test.jsonl:1 has no field \"topic\", which was named as the label"
        );
        arms[1].outputs.pop();
        assert_eq!(said(&examples, &arms, Task::default()), "arm \"shots\" has 3 outputs, expected 4 (one for each example)");
        arms[1] = arms[0].clone();
        assert_eq!(said(&examples, &arms, Task::default()), "two arms are named \"plain\", expected different names");
    }

    #[test]
    fn scores_survive_being_written() {
        let (examples, arms) = four();
        let scores = Scores::of(&examples, &arms, Task::default()).unwrap();
        let text = serde_json::to_string(&scores).unwrap();
        let back: Scores = serde_json::from_str(&text).unwrap();
        // The last bit of a float may be lost in decimal, so nine digits are compared.
        assert_eq!(format!("{back:.9?}"), format!("{scores:.9?}"));
    }
}
