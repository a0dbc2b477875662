//! The verdict: what the figures allow to be said, in one sentence, and not more.

use crate::arms::{Pair, Scores};
use crate::uncertainty::detectable;
use serde::{Deserialize, Serialize};

/// Below this p a difference counts as shown.
const SHOWN: f64 = 0.05;

/// The kinds of outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// The tuned model beats the better base prompt.
    Improved,
    /// The better base prompt beats the tuned model.
    Worse,
    /// The examples do not show a difference.
    NotShown,
    /// There are not both a base and a tuned arm.
    NoComparison,
}

/// The outcome in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub finding: Finding,
    /// One sentence with the two shares and p.
    pub sentence: String,
    /// What else a careful reader should know before acting on it.
    pub detail: String,
}

/// The verdict on `scores`, whose examples are called `noun` ("tickets").
pub fn verdict(scores: &Scores, noun: &str) -> Verdict {
    let n = scores.n;
    let share = |arm: usize| percent(scores.arms[arm].exact.share);
    match (scores.tuned, scores.better_base) {
        (Some(tuned), Some(base)) => compared(scores, tuned, base, noun),
        (Some(arm), None) => {
            let sentence = format!("The tuned model answers {} of {n} held-out {noun} exactly.", share(arm));
            Verdict {
                finding: Finding::NoComparison,
                sentence,
                detail: "No base model was asked, so nothing says that training helped.".into(),
            }
        }
        (None, base) => {
            let arm = base.unwrap_or(0);
            let sentence = format!("{} answers {} of {n} held-out {noun} exactly.", scores.arms[arm].name, share(arm));
            Verdict { finding: Finding::NoComparison, sentence, detail: "No tuned model was asked.".into() }
        }
    }
}

fn compared(scores: &Scores, tuned: usize, base: usize, noun: &str) -> Verdict {
    let Some(pair) = scores.pair(base, tuned) else {
        return Verdict { finding: Finding::NoComparison, sentence: String::new(), detail: String::new() };
    };
    let (share, rival) = (percent(scores.arms[tuned].exact.share), percent(scores.arms[base].exact.share));
    let several = scores.arms.iter().filter(|arm| arm.role == crate::Role::Base).count() > 1;
    let base_name = if several { "the better base prompt" } else { "the base model" };
    let (n, p) = (scores.n, p_value(pair.p));
    let finding = match () {
        _ if pair.p >= SHOWN => Finding::NotShown,
        _ if pair.only_b > pair.only_a => Finding::Improved,
        _ => Finding::Worse,
    };
    let sentence = match finding {
        Finding::NotShown => {
            format!("No difference is shown: the tuned model answers {share} of {n} held-out {noun} exactly, {base_name} {rival} ({p}).")
        }
        Finding::Worse => {
            format!("The tuned model is worse: it answers {share} of {n} held-out {noun} exactly, {base_name} {rival} ({p}).")
        }
        _ => format!("The tuned model answers {share} of {n} held-out {noun} exactly; {base_name} {rival} ({p})."),
    };
    Verdict { finding, sentence, detail: detail(&pair, n, finding) }
}

fn detail(pair: &Pair, n: usize, finding: Finding) -> String {
    let d = pair.difference;
    let mut text = format!(
        "The difference is {} points (95 % interval {} to {}): {} gained, {} lost.",
        points(d.value),
        points(d.low),
        points(d.high),
        pair.only_b,
        pair.only_a
    );
    if finding == Finding::NotShown {
        // With hardly any discordant pairs seen, the share to expect is unknown; one in ten is a usual one.
        let discordant = ((pair.only_a + pair.only_b) as f64 / n as f64).max(0.1);
        let least = 100.0 * detectable(n, discordant);
        text.push_str(&format!(" With {n} examples a true difference under about {least:.0} points can easily stay unseen."));
    }
    text
}

/// A share as a percentage with one decimal: `74.5 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}

/// A difference of shares in points with its sign: `+62.5`.
pub fn points(difference: f64) -> String {
    let text = format!("{:+.1}", 100.0 * difference).replace('-', "\u{2212}");
    if text == "\u{2212}0.0" || text == "+0.0" { "0.0".to_string() } else { text }
}

/// p as it is reported: `p < 0.001`, `p = 0.021`, `p = 0.34`.
pub fn p_value(p: f64) -> String {
    match p {
        p if p < 0.001 => "p < 0.001".to_string(),
        p if p < 0.1 => format!("p = {p:.3}"),
        p => format!("p = {p:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arms::tests::{arm, example};
    use crate::arms::{Arm, Role, Task};

    /// Scores where the base is right on the first `base` of `n` questions and the tuned arm on the last `tuned`.
    fn scores(n: usize, base: usize, tuned: usize) -> Scores {
        let examples: Vec<_> = (0..n).map(|at| example(at, "yes, that is it")).collect();
        let answers = |right: &dyn Fn(usize) -> bool| (0..n).map(|at| if right(at) { "yes, that is it" } else { "no" }).collect::<Vec<_>>();
        let arms: Vec<Arm> = vec![
            arm("plain", Role::Base, &answers(&|_| false)),
            arm("shots", Role::Base, &answers(&|at| at < base)),
            arm("tuned", Role::Tuned, &answers(&|at| at >= n - tuned)),
        ];
        Scores::of(&examples, &arms, Task::default()).unwrap()
    }

    #[test]
    fn verdicts_say_what_the_figures_allow() {
        let found = verdict(&scores(200, 24, 149), "tickets");
        assert_eq!(found.finding, Finding::Improved);
        let expected =
            "The tuned model answers 74.5\u{a0}% of 200 held-out tickets exactly; the better base prompt 12.0\u{a0}% (p < 0.001).";
        assert_eq!(found.sentence, expected);
        assert!(found.detail.starts_with("The difference is +62.5 points (95 % interval +"), "{}", found.detail);

        let found = verdict(&scores(20, 5, 8), "tickets");
        assert_eq!(found.finding, Finding::NotShown);
        assert!(found.sentence.starts_with("No difference is shown: "), "{}", found.sentence);
        assert!(found.detail.ends_with("points can easily stay unseen."), "{}", found.detail);

        let found = verdict(&scores(100, 60, 10), "tickets");
        assert_eq!(found.finding, Finding::Worse);
        assert!(found.sentence.starts_with("The tuned model is worse: "), "{}", found.sentence);
    }

    #[test]
    fn one_arm_is_no_comparison() {
        let only = Scores::of(&[example(0, "x")], &[arm("tuned", Role::Tuned, &["x"])], Task::default()).unwrap();
        let found = verdict(&only, "tickets");
        assert_eq!(found.finding, Finding::NoComparison);
        assert_eq!(found.sentence, "The tuned model answers 100.0\u{a0}% of 1 held-out tickets exactly.");
    }

    #[test]
    fn figures_are_written_for_readers() {
        assert_eq!(points(-0.0001), "0.0");
        assert_eq!(points(-0.125), "\u{2212}12.5");
        assert_eq!([p_value(0.0004), p_value(0.0212), p_value(0.5)], ["p < 0.001", "p = 0.021", "p = 0.50"]);
    }
}
