//! All repairs of one text, in their order.

use super::row::Speaker;
use super::{escapes, html, mail, mojibake, unicode};

/// Its name in the list of changes, and what it does.
struct Repair {
    what: &'static str,
    /// Whether answers are repaired so too: what a model is to say is changed as little as can be.
    answers: bool,
    make: fn(&str) -> Option<String>,
}

const REPAIRS: [Repair; 10] = [
    Repair { what: "mojibake", answers: true, make: mojibake::repair },
    Repair { what: "unicode", answers: true, make: unicode::repair },
    Repair { what: "line_ends", answers: true, make: unicode::line_ends },
    Repair { what: "html_to_text", answers: false, make: html::to_text },
    Repair { what: "escapes", answers: false, make: escapes::repair },
    Repair { what: "form_cut", answers: false, make: mail::without_form },
    Repair { what: "quote_cut", answers: false, make: mail::without_quote },
    Repair { what: "notice_cut", answers: false, make: mail::without_notice },
    Repair { what: "signature_cut", answers: false, make: mail::without_signature },
    Repair { what: "blanks", answers: true, make: unicode::blanks },
];

/// What one repair did.
pub(super) struct Done {
    pub what: &'static str,
    pub before: String,
    pub after: String,
}

/// Repairs a text and tells each step.
pub(super) fn repair(text: &str, speaker: Speaker, quotes: bool) -> (String, Vec<Done>) {
    let mut now = text.to_string();
    let mut done = Vec::new();
    let mut step = |now: &mut String, what, make: &dyn Fn(&str) -> Option<String>| {
        if let Some(next) = make(now) {
            let before = std::mem::replace(now, next);
            done.push(Done { what, before, after: now.clone() });
        }
    };
    let fitting = REPAIRS.iter().filter(|repair| match speaker {
        Speaker::Asking => true,
        Speaker::Answering => repair.answers,
        // Inside of JSON only what is plainly broken is mended.
        Speaker::Data => repair.what == "mojibake" || repair.what == "unicode",
    });
    for repair in fitting {
        step(&mut now, repair.what, &repair.make);
    }
    if quotes && speaker != Speaker::Data {
        step(&mut now, "quotes", &unicode::quotes);
    }
    (now, done)
}
