//! Cuts from a mail what its sender did not write for this answer: quotes, signatures, disclaimers, banners.

mod disclaimer;
mod phrases;
mod quote;
mod signature;

use crate::conversation::short;
use crate::row::Fix;

/// Why a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Quote,
    ForwardHeader,
    Signature,
    Disclaimer,
    Banner,
}

/// What is known of a mail beside its text.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// The sender's name, as in its header.
    pub sender: Option<&'a str>,
    /// It answers another mail.
    pub reply: bool,
    /// It passes another mail on.
    pub forward: bool,
}

/// A text without them.
#[derive(Debug, Default, PartialEq)]
pub struct Clean {
    pub text: String,
    /// Each cut, with what was there.
    pub fixed: Vec<Fix>,
    /// The sender of a mail that was passed on, as its header in the text names it.
    pub forwarded_from: Option<String>,
    /// It says nothing of its own above the mail that it passes on.
    pub only_forwards: bool,
}

/// The lines of a mail, and which of them go.
struct Lines<'a> {
    lines: Vec<&'a str>,
    cut: Vec<Option<Cut>>,
}

impl Lines<'_> {
    /// Numbers of the lines that are still there and say something.
    fn said(&self) -> Vec<usize> {
        (0..self.lines.len()).filter(|n| self.cut[*n].is_none() && !self.lines[*n].trim().is_empty()).collect()
    }

    fn mark(&mut self, range: std::ops::Range<usize>, why: Cut) {
        for cut in &mut self.cut[range] {
            cut.get_or_insert(why);
        }
    }
}

impl Cut {
    fn what(self) -> &'static str {
        match self {
            Cut::Quote => "quote_cut",
            Cut::ForwardHeader => "forward_header_cut",
            Cut::Signature => "signature_cut",
            Cut::Disclaimer => "disclaimer_cut",
            Cut::Banner => "banner_cut",
        }
    }
}

/// Cuts; what was said stays as it was, line by line.
pub fn cut(text: &str, about: About) -> Clean {
    let lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches(['\r', '\u{a0}'])).flat_map(parted).collect();
    let mut lines = Lines { cut: vec![None; lines.len()], lines };
    let forward = quote::mark(&mut lines, about);
    disclaimer::mark(&mut lines);
    signature::mark(&mut lines, about.sender);
    let only_forwards = forward.at.is_some_and(|at| lines.said().first().is_none_or(|first| *first > at));
    Clean { text: kept(&lines), fixed: fixes(&lines), forwarded_from: forward.from, only_forwards }
}

/// A line, or two where an attribution follows own words on one.
fn parted(line: &str) -> impl Iterator<Item = &str> {
    let found = line.ends_with("wrote:").then(|| phrases::PARTED.captures(line)).flatten();
    let part = |name| found.as_ref().and_then(|f| f.name(name)).map(|m| m.as_str());
    let (first, second) = (part("own").unwrap_or(line), part("quote"));
    std::iter::once(first).chain(second)
}

fn kept(lines: &Lines) -> String {
    let mut text = String::new();
    let mut blank = false;
    let mut gap = false;
    for (line, cut) in lines.lines.iter().zip(&lines.cut) {
        if line.trim().is_empty() || cut.is_some() {
            blank |= line.trim().is_empty();
            gap |= cut.is_some();
            continue;
        }
        if !text.is_empty() {
            text.push_str(if blank || gap { "\n\n" } else { "\n" });
        }
        (blank, gap) = (false, false);
        text.push_str(line.trim_end());
    }
    text
}

/// One fix for each run of lines that went for one reason.
fn fixes(lines: &Lines) -> Vec<Fix> {
    let mut runs: Vec<(Cut, String)> = Vec::new();
    let mut last = None;
    for (line, cut) in lines.lines.iter().zip(&lines.cut) {
        match cut {
            Some(why) if last == Some(*why) => {
                let (_, text) = runs.last_mut().expect("a run has begun");
                text.push('\n');
                text.push_str(line);
            }
            Some(why) => runs.push((*why, line.to_string())),
            None if line.trim().is_empty() => continue,
            None => {}
        }
        last = *cut;
    }
    let told = runs.into_iter().filter(|(_, text)| !text.trim().is_empty());
    told.map(|(why, text)| Fix { what: why.what(), before: short(&text), after: String::new() }).collect()
}
