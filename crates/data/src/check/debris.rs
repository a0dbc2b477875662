//! Signs that a text is not what its author wrote: what mail, web forms and readers left behind.

/// A kind of debris: how it is told, and what shows it in a text.
pub(super) struct Debris {
    pub what: &'static str,
    pub sign: fn(&str) -> Option<String>,
}

/// What parsing errors look like.
pub(super) const DEBRIS: &[Debris] = &[
    Debris { what: "an older mail of the thread pasted in", sign: quoted },
    Debris { what: "HTML left in", sign: html },
    Debris { what: "escapes of a string left in", sign: escapes },
    Debris { what: "the fields of a web form", sign: form },
    Debris { what: "a legal disclaimer", sign: disclaimer },
    Debris { what: "a block of base64", sign: base64 },
    Debris { what: "text that repeats itself", sign: repeated },
];

/// What stands around a place, as evidence.
fn around(text: &str, at: usize) -> Option<String> {
    let from = (0..=at.saturating_sub(30)).rev().find(|from| text.is_char_boundary(*from)).unwrap_or(0);
    // What is shown begins with a word, unless the sign itself stands in the first one.
    let word = text[from..at].find(char::is_whitespace).filter(|_| from > 0).map_or(from, |space| from + space);
    Some(super::shown(&text[word..], 90))
}

fn quoted(text: &str) -> Option<String> {
    let mark = |line: &str| {
        let line = line.trim();
        let wrote = ["wrote:", "schrieb:", "a écrit :", "a écrit:", "escribió:", "ha scritto:"];
        let original = [
            "-----Original Message",
            "-----Ursprüngliche Nachricht",
            "----- Forwarded message",
            "---------- Forwarded message",
            "________________________________",
        ];
        original.iter().any(|mark| line.starts_with(mark)) || (line.len() < 160 && wrote.iter().any(|mark| line.ends_with(mark)))
    };
    let mut at = 0;
    let mut quotes = 0;
    let mut sender = false;
    for line in text.split_inclusive('\n') {
        quotes += usize::from(line.trim_start().starts_with('>'));
        let header = line.starts_with("From: ") || line.starts_with("Von: ") || line.starts_with("De: ");
        let after = sender
            && (line.starts_with("Sent: ") || line.starts_with("To: ") || line.starts_with("Date: ") || line.starts_with("Gesendet: "));
        if mark(line) || quotes >= 3 || after {
            return around(text, at);
        }
        sender = header || (sender && line.contains(": "));
        at += line.len();
    }
    None
}

fn html(text: &str) -> Option<String> {
    const TAGS: [&str; 14] =
        ["</p>", "</div>", "<br>", "<br/>", "<br />", "</span>", "</td>", "</tr>", "</a>", "<div ", "<p>", "</li>", "</b>", "</html>"];
    const ENTITIES: [&str; 8] = ["&nbsp;", "&#x27;", "&#39;", "&quot;", "&amp;", "&lt;", "&gt;", "&#160;"];
    // Text about HTML names a tag in a fence or between backticks.
    if text.contains('`') {
        return None;
    }
    let found: Vec<usize> = TAGS.iter().chain(&ENTITIES).filter_map(|mark| text.find(mark)).collect();
    let strong = ["&nbsp;", "&#x27;", "&#39;", "&quot;", "</div>", "</p>"].iter().any(|mark| text.contains(mark));
    (strong || found.len() >= 2).then(|| found.iter().min().copied()).flatten().and_then(|at| around(text, at))
}

fn escapes(text: &str) -> Option<String> {
    if text.contains('`') || text.contains("\\\\") && !text.contains("\\n\\n") {
        return None;
    }
    ["\\n\\n", "\\r\\n", "\\'", "\\\"", "\\u00"].iter().find_map(|mark| text.find(mark)).and_then(|at| around(text, at))
}

fn form(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.windows(2).filter(|pair| pair[0].starts_with("Field:") && pair[1].starts_with("Value:")).count();
    let agent = text.contains("user_agent") || text.contains("User-Agent:") || text.contains("Mozilla/5.0 (");
    (pairs > 0 || agent && lines.len() > 2).then(|| super::shown(text, 90))
}

fn disclaimer(text: &str) -> Option<String> {
    const SIGNS: [&str; 12] = [
        "confidential information",
        "intended recipient",
        "notify the sender",
        "think before you print",
        "consider the environment",
        "delete this e-mail",
        "delete this email",
        "privileged and confidential",
        "nicht der richtige adressat",
        "vertrauliche informationen",
        "destinataire",
        "virenfrei",
    ];
    let lower = text.to_lowercase();
    let found: Vec<usize> = SIGNS.iter().filter_map(|sign| lower.find(sign)).collect();
    // One phrase alone is talk about such things.
    let first = found.iter().min().filter(|_| found.len() >= 2)?;
    Some(super::shown(&lower[*first..], 90))
}

fn base64(text: &str) -> Option<String> {
    let block = |word: &&str| {
        let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
        let mixed = [u8::is_ascii_uppercase as fn(&u8) -> bool, u8::is_ascii_lowercase, u8::is_ascii_digit]
            .iter()
            .all(|kind| word.bytes().any(|b| kind(&b)));
        plain && mixed
    };
    // Mail wraps base64 at 76 characters.
    let lines = text.split_whitespace().filter(|word| word.len() >= 60).filter(block).collect::<Vec<_>>();
    let length: usize = lines.iter().map(|line| line.len()).sum();
    (length >= 180).then(|| super::shown(lines[0], 60))
}

fn repeated(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() < 40 {
        return None;
    }
    let mut runs: Vec<&[&str]> = words.windows(5).collect();
    let all = runs.len();
    runs.sort_unstable();
    let most = runs.chunk_by(|a, b| a == b).max_by_key(|group| group.len())?;
    let (times, run) = (most.len(), most[0].join(" "));
    runs.dedup();
    (runs.len() * 2 < all && times >= 4).then(|| format!("{times} times {}", super::shown(&run, 60)))
}

/// UTF-8 that was read as Windows-1252: pairs such as "Ã©" and "â€™".
pub(super) fn mojibake(text: &str) -> Option<String> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let Some(next) = chars.peek().map(|(_, next)| *next) else { break };
        let continues = matches!(
            next,
            '\u{80}'
                ..='\u{bf}'
                    | '€'
                    | '‚'
                    | 'ƒ'
                    | '„'
                    | '…'
                    | '†'
                    | '‡'
                    | 'ˆ'
                    | '‰'
                    | 'Š'
                    | '‹'
                    | 'Œ'
                    | 'Ž'
                    | '‘'
                    | '’'
                    | '“'
                    | '”'
                    | '•'
                    | '–'
                    | '—'
                    | '˜'
                    | '™'
                    | 'š'
                    | '›'
                    | 'œ'
                    | 'ž'
                    | 'Ÿ'
        );
        let leads = match c {
            'Ã' | 'Â' | 'ð' => true,
            'â' => matches!(next, '€' | '‚' | '„' | '†' | '\u{80}'..='\u{9f}'),
            _ => false,
        };
        if leads && continues {
            return around(text, at);
        }
    }
    None
}

/// What a decoder put where it understood nothing, and control characters.
pub(super) fn lost(text: &str) -> Option<String> {
    let at = text.find(|c: char| c == '\u{fffd}' || (c.is_control() && !matches!(c, '\n' | '\t' | '\r')))?;
    around(text, at)
}

/// What chat templates write around messages.
pub(super) fn control_token(text: &str) -> Option<String> {
    const TOKENS: [&str; 12] = [
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "[INST]",
        "[/INST]",
        "<start_of_turn>",
        "<end_of_turn>",
        "<|end|>",
        "<<SYS>>",
    ];
    TOKENS.iter().find_map(|token| text.find(token)).and_then(|at| around(text, at))
}
