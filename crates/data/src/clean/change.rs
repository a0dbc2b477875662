//! One change of one text: what was done, what stood there, what stands there now.

use serde_json::{Value, json};

use crate::private::{Kind, Talk, masked};

/// Characters of a text that the list shows.
const SHOWN: usize = 160;

/// A change.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub id: Value,
    pub line: u32,
    pub field: String,
    pub what: &'static str,
    /// Of personal data its kind.
    pub kind: Option<Kind>,
    pub before: String,
    pub after: String,
}

impl Change {
    /// As it is listed. Personal data is masked unless it is to be shown, also where it stands in a text that was repaired.
    pub(super) fn to_json(&self, show: bool) -> Value {
        let (before, after) = match self.kind {
            _ if show => (self.before.clone(), self.after.clone()),
            Some(_) => (masked(&self.before), self.after.clone()),
            None => (discreet(&self.before), discreet(&self.after)),
        };
        json!({ "id": self.id, "line": self.line, "field": self.field, "what": self.what, "before": before, "after": after })
    }
}

/// The part where two texts differ, with a little around it.
pub(super) fn differing(before: &str, after: &str) -> (String, String) {
    let (a, b): (Vec<char>, Vec<char>) = (before.chars().collect(), after.chars().collect());
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let tail = a[same..].iter().rev().zip(b[same..].iter().rev()).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(20);
    let part = |text: &[char]| {
        let to = (text.len() - tail + 20).min(text.len());
        let part: String = text[from..to].iter().take(SHOWN).collect();
        if to - from > SHOWN { format!("{part}…") } else { part }
    };
    (part(&a), part(&b))
}

/// A text without what is personal in it.
fn discreet(text: &str) -> String {
    let found = Talk::single().find(text);
    let mut out = String::new();
    let mut at = 0;
    for one in found {
        out.push_str(&text[at..one.start]);
        out.push_str(&masked(&text[one.start..one.end]));
        at = one.end;
    }
    out.push_str(&text[at..]);
    out
}
