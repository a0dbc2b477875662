//! What mail and web forms leave in a text: earlier messages, signatures, legal notes, the names of fields.

use std::sync::LazyLock;

use regex::Regex;

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("patterns are constants and each is used by a test")
}

/// Where an earlier message begins.
static EARLIER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?m)^[ >]*(?:-{2,}|_{2,}) ?(?i:original message|forwarded message|ursprüngliche nachricht|weitergeleitete nachricht|message d'origine|message transféré|mensaje original|messaggio originale|oorspronkelijk bericht|wiadomość oryginalna|mensagem original)",
        r"|^[ ]*(?:On\b[^\n]{4,120}\bwrote:|Am\b[^\n]{4,120}\bschrieb\b[^\n]{0,80}:|Le\b[^\n]{4,120}\ba écrit ?:|El\b[^\n]{4,120}\bescribió:|Il\b[^\n]{4,120}\bha scritto:|Op\b[^\n]{4,120}\bschreef\b[^\n]{0,80}:|Em\b[^\n]{4,120}\bescreveu:|W dniu\b[^\n]{4,120}\bnapisał\w*:)[ ]*$",
        r"|^[ ]*\*?(?:From|Von|De|Da|Van|Od):\*? [^\n]+\n[ ]*\*?(?:Sent|Date|Gesendet|Datum|Envoyé|Enviado|Fecha|Inviato|Data|Verzonden|Wysłano):\*? [^\n]+\n(?:[ ]*\*?(?:To|Cc|An|À|Para|A|Aan|Do):\*? [^\n]+\n)*[ ]*\*?(?:Subject|Betreff|Objet|Asunto|Oggetto|Onderwerp|Temat):"
    ))
});
/// Lines at the end that an earlier message has before each line.
static QUOTED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:\n[ ]*>[^\n]*){2,}\s*\z"));
static SIGNED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?m)^-- ?\n(?s:.{0,600})\z|^(?i:sent from my \w+[\w ]*|get outlook for \w+|von meinem \w+ gesendet|gesendet von \w+[\w ]*|envoyé de mon \w+|enviado desde mi \w+|inviato da \w+[\w ]*|verstuurd vanaf mijn \w+)\.?\s*\z",
    )
});
static FIELD: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m)^Field: ?([^\n]+)\nValue: ?"));
const LEGAL: [&str; 17] = [
    "confidential",
    "intended recipient",
    "notify the sender",
    "delete it",
    "disclaimer",
    "before printing",
    "unauthorised",
    "unauthorized",
    "privileged",
    "vertraulich",
    "empfänger",
    "vernichten",
    "confidentiel",
    "destinataire",
    "confidencial",
    "destinatario",
    "riservat",
];

/// The text before an earlier message, where anything stands before it.
pub(super) fn without_quote(text: &str) -> Option<String> {
    let cut = EARLIER.find(text).or_else(|| QUOTED.find(text))?.start();
    kept(&text[..cut])
}

/// The text without its signature block or the line of its program.
pub(super) fn without_signature(text: &str) -> Option<String> {
    kept(&text[..SIGNED.find(text)?.start()])
}

/// The text without the legal note at its end: a paragraph with at least two of the words that such notes have.
pub(super) fn without_notice(text: &str) -> Option<String> {
    let trimmed = text.trim_end();
    let start = trimmed.rfind("\n\n").map(|at| at + 2).or_else(|| trimmed.rfind('\n').map(|at| at + 1))?;
    let last = trimmed[start..].to_lowercase();
    (LEGAL.iter().filter(|word| last.contains(**word)).count() >= 2).then(|| kept(&trimmed[..start]))?
}

/// What somebody wrote into a form whose fields were all put into one text.
pub(super) fn without_form(text: &str) -> Option<String> {
    const SAID: [&str; 9] = ["message", "comment", "comments", "body", "description", "question", "text", "nachricht", "mensaje"];
    let fields: Vec<(String, usize, usize)> = FIELD
        .captures_iter(text)
        .filter_map(|field| Some((field[1].trim().to_lowercase(), field.get(0)?.start(), field.get(0)?.end())))
        .collect();
    let values = fields.iter().enumerate().filter(|(_, (name, ..))| SAID.contains(&name.as_str()));
    let values: Vec<&str> =
        values.map(|(at, (_, _, from))| text[*from..fields.get(at + 1).map_or(text.len(), |next| next.1)].trim()).collect();
    let before = fields.first().map_or("", |(_, start, _)| text[..*start].trim());
    let whole: Vec<&str> = std::iter::once(before).chain(values).filter(|part| !part.is_empty()).collect();
    (!fields.is_empty() && !whole.is_empty()).then(|| whole.join("\n\n"))
}

/// A text that still says something.
fn kept(text: &str) -> Option<String> {
    let text = text.trim_end();
    (text.chars().filter(|c| c.is_alphanumeric()).count() >= 2).then(|| text.to_string())
}
