//! The text of a mail: the parts that a person reads, decoded; attachments are named and never read.

use crate::charset;
use crate::conversation::short;
use crate::html;
use crate::row::Fix;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Encoding, Message, MessageParser, MessagePart, MimeHeaders, PartType};

/// What a mail says.
#[derive(Debug, Default)]
pub struct Body {
    pub text: String,
    pub fixed: Vec<Fix>,
    pub attached: Vec<String>,
    /// The sender of a mail that is attached whole, if it is all that this one says.
    pub forwarded_from: Option<String>,
}

/// Mails within mails beyond this are an attack on those who read them one inside the other.
const NESTED: usize = 20;
/// How deep an attached mail is looked into.
const ATTACHED: usize = 2;

/// The parts of a mail; `Err` says what is wrong with it.
pub fn parse(raw: &[u8]) -> Result<Message<'_>, String> {
    let nested = count(raw, b"message/rfc822") + count(raw, b"message/global") + count(raw, b"multipart/digest");
    if nested > NESTED {
        return Err(format!("{nested} mails lie one inside the other, expected at most {NESTED}: a mail made to harm its reader"));
    }
    let found = MessageParser::default().parse(raw).filter(|mail| !mail.parts.is_empty() && !mail.headers().is_empty());
    found.ok_or_else(|| "no header was found: expected lines such as `From: …` above the text".to_string())
}

fn count(raw: &[u8], what: &[u8]) -> usize {
    raw.windows(what.len()).filter(|found| found[0].eq_ignore_ascii_case(&what[0]) && found.eq_ignore_ascii_case(what)).count()
}

/// What a mail says, or what is wrong with it.
pub fn read(mail: &Message) -> Result<Body, String> {
    read_within(mail, ATTACHED)
}

fn read_within(mail: &Message, depth: usize) -> Result<Body, String> {
    let mut body = Body::default();
    for part in mail.attachments() {
        body.attached.extend(attachment_name(part));
    }
    // What could not be decoded was named as text, perhaps as an attachment, by the parser.
    for part in mail.parts.iter().filter(|part| part.is_encoding_problem) {
        if is_shown(part) {
            return Err(broken(part));
        }
        body.fixed.push(Fix { what: "broken_attachment", before: attachment_name(part).unwrap_or_default(), after: String::new() });
    }
    let mut texts = Vec::new();
    let plain = shown(mail, &mail.text_body, &mut body.fixed)?;
    let chosen = if plain.iter().all(|text| text.trim().is_empty()) { shown(mail, &mail.html_body, &mut body.fixed)? } else { plain };
    texts.extend(chosen.into_iter().filter(|text| !text.trim().is_empty()));
    if texts.is_empty()
        && depth > 0
        && let Some(inner) = mail.attachments().find_map(MessagePart::message)
    {
        let inside = read_within(inner, depth - 1)?;
        let from = inner.from().and_then(|a| a.first()).and_then(|a| a.address()).map(str::to_string);
        body.fixed.push(Fix {
            what: "attached_mail_taken",
            before: inner.subject().unwrap_or_default().to_string(),
            after: short(&inside.text),
        });
        body.fixed.extend(inside.fixed);
        body.attached.extend(inside.attached);
        body.text = inside.text;
        body.forwarded_from = from;
        return Ok(body);
    }
    body.text = texts.join("\n\n");
    Ok(body)
}

/// The texts of some parts.
fn shown(mail: &Message, parts: &[u32], fixed: &mut Vec<Fix>) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    for part in parts.iter().filter_map(|id| mail.part(*id)) {
        let is_html = matches!(part.body, PartType::Html(_));
        if !is_html && !matches!(part.body, PartType::Text(_)) {
            continue;
        }
        let (text, fix) = decoded(mail, part)?;
        fixed.extend(fix);
        if is_html {
            let plain = html::text(&text);
            fixed.push(Fix { what: "html_to_text", before: short(&text), after: short(&plain) });
            texts.push(plain);
        } else if part.content_type().and_then(|ct| ct.attribute("format")).is_some_and(|f| f.eq_ignore_ascii_case("flowed")) {
            let joined = part.content_type().and_then(|ct| ct.attribute("delsp")).is_some_and(|d| d.eq_ignore_ascii_case("yes"));
            texts.push(unflowed(&text, joined));
        } else {
            texts.push(text);
        }
    }
    Ok(texts)
}

/// A part's bytes as text. The parser's own text has lost what its charset cannot say, so its bytes are read again.
fn decoded(mail: &Message, part: &MessagePart) -> Result<(String, Option<Fix>), String> {
    let range = part.raw_body_offset() as usize..part.raw_end_offset() as usize;
    let Some(raw) = mail.raw_message.get(range) else { return Ok((part.text_contents().unwrap_or_default().to_string(), None)) };
    let bytes = match part.encoding {
        Encoding::None => Some(raw.to_vec()),
        Encoding::Base64 => base64_decode(raw),
        Encoding::QuotedPrintable => quoted_printable_decode(raw),
    };
    let bytes = bytes.ok_or_else(|| broken(part))?;
    let label = part.content_type().and_then(|ct| ct.attribute("charset"));
    Ok(charset::decode(&bytes, label))
}

fn broken(part: &MessagePart) -> String {
    let coding = part.content_transfer_encoding().unwrap_or("none");
    let kind = part.content_type().map_or("text/plain".to_string(), |ct| format!("{}/{}", ct.ctype(), ct.subtype().unwrap_or("?")));
    format!("its {kind} part is said to be {coding} and is not: expected a part that can be decoded; get the mail again from its server")
}

/// Whether a part is text that a person would be shown.
fn is_shown(part: &MessagePart) -> bool {
    let text = part.content_type().is_none_or(|ct| ct.ctype() == "text" && matches!(ct.subtype(), Some("plain" | "html") | None));
    text && !part.content_disposition().is_some_and(|d| d.is_attachment())
}

fn attachment_name(part: &MessagePart) -> Option<String> {
    if matches!(part.body, PartType::Text(_) | PartType::Html(_)) && is_shown(part) && part.attachment_name().is_none() {
        return None;
    }
    let kind = || part.content_type().map(|ct| format!("{}/{}", ct.ctype(), ct.subtype().unwrap_or("?")));
    part.attachment_name().map(str::to_string).or_else(kind)
}

/// Lines that a mail program broke are joined again (RFC 3676); `joined` drops the space at which it broke them.
fn unflowed(text: &str, joined: bool) -> String {
    let mut out = String::new();
    let mut open: Option<usize> = None;
    for line in text.lines() {
        let line = line.trim_end_matches('\r');
        let depth = line.bytes().take_while(|b| *b == b'>').count();
        let rest = &line[depth..];
        let said = rest.strip_prefix(' ').unwrap_or(rest);
        if open == Some(depth) && said != "-- " {
            out.push_str(said);
        } else {
            if open.is_some() || !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&line[..depth]);
            out.push_str(if depth > 0 { " " } else { "" });
            out.push_str(said);
        }
        let flows = said.ends_with(' ') && said != "-- ";
        if flows && joined {
            out.pop();
        }
        open = flows.then_some(depth);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flowed_lines_are_joined() {
        let text = "A line that \nflows.\nFixed.\n> quoted \n> flows\n>> deeper\n-- \nAnn";
        assert_eq!(unflowed(text, false), "A line that flows.\nFixed.\n> quoted flows\n>> deeper\n-- \nAnn");
        assert_eq!(unflowed("ab \ncd", true), "abcd");
    }
}
