//! What is kept in memory of each mail: where it lies, what it answers, who wrote to whom and when.

use super::automatic;
use mail_parser::{Address, HeaderValue, Message, MessageParser};
use std::collections::HashMap;

/// Strings by number; each is kept once.
#[derive(Debug, Default)]
pub struct Names {
    numbers: HashMap<Box<str>, u32>,
    strings: Vec<Box<str>>,
}

impl Names {
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.strings.len() as u32;
        self.strings.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }

    pub fn get(&self, number: u32) -> &str {
        self.strings.get(number as usize).map_or("", |name| name)
    }

    pub fn len(&self) -> usize {
        self.strings.len()
    }
}

/// Where a mail lies.
#[derive(Debug, Clone, Copy)]
pub struct Spot {
    pub file: u32,
    /// From 1 in its file.
    pub number: u32,
    pub offset: u64,
    pub length: u64,
    /// It lies in an mbox, where lines that begin with `From ` are escaped.
    pub escaped: bool,
}

#[derive(Debug)]
pub struct Head {
    pub spot: Spot,
    pub id: Option<u32>,
    /// Mails that it answers, the oldest first.
    pub refs: Box<[u32]>,
    /// Without `Re:` and the like; none if nothing is left.
    pub subject: Option<u32>,
    pub reply: bool,
    pub forward: bool,
    /// Who speaks: the sender, or whom a form of a website names.
    pub from: Option<u32>,
    pub to: Box<[u32]>,
    pub at: Option<i64>,
    /// The date is not the one that its header names.
    pub redated: bool,
    pub automatic: bool,
}

/// More recipients than this say nothing about who talks with whom.
const RECIPIENTS: usize = 30;
/// A longer chain keeps its beginning and its end.
const REFERENCES: usize = 50;
/// How far a date may lie from the one at which a server took the mail.
const DAY: i64 = 86_400;

/// Reads the header of a mail. One without any header keeps its spot, and is told of when it is read.
pub fn read(raw: &[u8], spot: Spot, ids: &mut Names, people: &mut Names, subjects: &mut Names) -> Head {
    let blank = Head {
        spot,
        id: None,
        refs: [].into(),
        subject: None,
        reply: false,
        forward: false,
        from: None,
        to: [].into(),
        at: None,
        redated: false,
        automatic: false,
    };
    let Some(mail) = MessageParser::default().parse_headers(raw) else { return blank };
    let title = mail.subject().map(subject);
    let own = mail.message_id().map(str::trim).filter(|id| !id.is_empty()).map(|id| ids.number(id));
    let (at, redated) = date(&mail);
    let refs = references(&mail, ids).into_iter().filter(|id| Some(*id) != own).collect();
    Head {
        id: own,
        refs,
        subject: title.as_ref().filter(|t| !t.bare.is_empty()).map(|t| subjects.number(&t.bare)),
        reply: title.as_ref().is_some_and(|t| t.reply),
        forward: title.is_some_and(|t| t.forward),
        from: speaker(&mail).map(|from| people.number(&from)),
        to: recipients(&mail).iter().map(|to| people.number(to)).collect(),
        at,
        redated,
        automatic: automatic::reason(&mail).is_some(),
        ..blank
    }
}

fn references(mail: &Message, ids: &mut Names) -> Vec<u32> {
    let mut refs: Vec<u32> = Vec::new();
    for value in [mail.references(), mail.in_reply_to()] {
        let listed: Vec<&str> = match value {
            HeaderValue::Text(id) => vec![id],
            HeaderValue::TextList(list) => list.iter().map(|id| id.as_ref()).collect(),
            _ => continue,
        };
        for id in listed.into_iter().map(str::trim).filter(|id| !id.is_empty()) {
            let number = ids.number(id);
            refs.retain(|known| *known != number);
            refs.push(number);
        }
    }
    if refs.len() > REFERENCES {
        refs.drain(REFERENCES / 2..refs.len() - REFERENCES / 2);
    }
    refs
}

/// A subject without the marks of replies.
pub struct Subject {
    pub bare: String,
    pub reply: bool,
    pub forward: bool,
}

const REPLY_MARKS: &[&str] = &["re", "aw", "antw", "sv", "vs", "odp", "ref", "rép", "r", "res", "rv", "ynt", "回复", "答复", "回覆"];
const FORWARD_MARKS: &[&str] = &["fw", "fwd", "wg", "tr", "rv", "enc", "doorst", "i", "vb", "vl", "pd", "转发", "轉寄"];

/// Takes the marks of replies, forwards and help desks off a subject.
pub fn subject(text: &str) -> Subject {
    let mut rest = text.trim();
    let (mut reply, mut forward) = (false, false);
    loop {
        // `[Ticket #12]` and `[EXT]` come and go within a thread.
        if let Some(after) = rest.strip_prefix('[').and_then(|r| r.split_once(']')).filter(|(tag, _)| tag.chars().count() <= 40) {
            rest = after.1.trim_start();
            continue;
        }
        let Some((mark, after)) = rest.split_once([':', ':']) else { break };
        // `Re[2]:` and `Re (3):` count.
        let word = mark.split(['[', '(', '^']).next().unwrap_or_default().trim().to_lowercase();
        if word.is_empty() || mark.len() > 20 {
            break;
        }
        let is_forward = FORWARD_MARKS.contains(&word.as_str());
        if !is_forward && !REPLY_MARKS.contains(&word.as_str()) {
            break;
        }
        reply |= !is_forward;
        forward |= is_forward && !reply;
        rest = after.trim_start();
    }
    let bare = rest.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    Subject { bare, reply, forward }
}

fn addresses(value: Option<&Address>) -> Vec<String> {
    value.map(|list| list.iter().filter_map(|a| a.address()).map(str::to_lowercase).collect()).unwrap_or_default()
}

/// The sender; for a form of a website the person whom it names to be answered.
pub fn speaker(mail: &Message) -> Option<String> {
    let from = addresses(mail.from()).into_iter().next().or_else(|| addresses(mail.sender()).into_iter().next());
    let is_form = from.as_deref().is_none_or(|from| {
        automatic::is_robot(from) || ["form@", "website@", "webform@", "wordpress@", "kontaktformular@"].iter().any(|f| from.starts_with(f))
    });
    let answer = addresses(mail.reply_to()).into_iter().next().filter(|_| is_form);
    answer.or(from)
}

fn recipients(mail: &Message) -> Vec<String> {
    let mut all = addresses(mail.to());
    all.extend(addresses(mail.cc()));
    all.extend(addresses(mail.bcc()));
    all.truncate(RECIPIENTS);
    all
}

/// When a mail was sent: what its header says, unless that is no date or far from when the last server took it.
fn date(mail: &Message) -> (Option<i64>, bool) {
    let sane = |date: &&mail_parser::DateTime| date.is_valid() && (1980..2200).contains(&date.year);
    let said = mail.date().filter(sane).map(|d| d.to_timestamp());
    let taken = mail.received_all().find_map(|r| r.date).filter(|d| sane(&d)).map(|d| d.to_timestamp());
    match (said, taken) {
        (Some(said), Some(taken)) if said > taken + DAY || said < taken - 30 * DAY => (Some(taken), true),
        (Some(said), _) => (Some(said), false),
        (None, taken) => (taken, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_lose_their_marks() {
        let bare = |text| subject(text).bare;
        assert_eq!(bare("Re: AW: [Ticket #12] SV:  My   invoice"), "my invoice");
        assert_eq!(bare("Re[2]: invoice: May"), "invoice: may");
        assert_eq!(bare("Question: how?"), "question: how?");
        assert!(subject("Fwd: x").forward && !subject("Re: Fwd: x").forward && subject("Re: Fwd: x").reply);
        assert!(subject("WG: Rechnung").forward && subject("TR: facture").forward && !subject("Rechnung").reply);
        assert_eq!(bare("Re:"), "");
    }
}
