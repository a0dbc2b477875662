//! Exports of ticket systems to conversations: Zendesk, Intercom, and any JSON whose fields a mapping names.
//!
//! Private notes, events and robots never become answers. HTML becomes text; it is neither executed nor shown.

mod elements;
mod intercom;
mod mapping;
mod zendesk;

pub use mapping::Mapping;

use crate::conversation::{self, Conversation, Said, Side, Unanswered, short};
use crate::error::Error;
use crate::html;
use crate::mail::cut;
use crate::row::{Fix, Place, Quarantined, Row};
use elements::{Element, Elements};
use serde_json::Value;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Who wrote the export.
#[derive(Debug, Clone)]
pub enum System {
    Zendesk,
    Intercom,
    /// Fields by name.
    Mapped(Box<Mapping>),
}

/// How an export is read.
#[derive(Debug, Clone)]
pub struct Settings {
    pub system: System,
    pub unanswered: Unanswered,
}

/// One ticket as its system tells it.
#[derive(Debug, Default)]
struct Ticket {
    id: String,
    subject: Option<String>,
    messages: Vec<Message>,
}

/// One message of a ticket.
#[derive(Debug, Default)]
struct Message {
    id: Option<String>,
    /// Who speaks; or why what they say is no part of the conversation.
    side: Option<Side>,
    left: Option<String>,
    text: String,
    at: Option<i64>,
    author: Option<String>,
    attached: Vec<String>,
}

/// What turns an element of the export into a ticket, or says what is wrong with it.
type Reader = Box<dyn FnMut(&Value) -> Result<Ticket, String>>;

/// The tickets of an export, one conversation at a time.
pub struct Tickets {
    path: PathBuf,
    elements: Elements,
    read: Reader,
    events: Option<zendesk::Events>,
    unanswered: Unanswered,
    made: VecDeque<Result<Row, Quarantined>>,
    used: std::collections::HashSet<String>,
}

/// Opens an export. Who is an agent may need a first pass over it.
pub fn open(path: &Path, settings: &Settings) -> Result<Tickets, Error> {
    let mut events = None;
    let (read, lists): (Reader, Vec<Vec<String>>) = match &settings.system {
        System::Zendesk => {
            let people = zendesk::people(path)?;
            events = zendesk::events(path, &people)?;
            (Box::new(move |value| zendesk::ticket(value, &people)), named(&["tickets"]))
        }
        System::Intercom => (Box::new(intercom::ticket), named(&["conversations", "data"])),
        System::Mapped(mapping) => {
            let mapping = mapping.as_ref().clone().checked()?;
            let lists = mapping.tickets.iter().map(|path| path.split('.').map(str::to_string).collect()).collect();
            (Box::new(move |value| mapping.ticket(value)), lists)
        }
    };
    let mut elements = Elements::open(path, lists)?;
    if events.is_some() {
        // Tickets beside their events tell who asked; what was said is in the events.
        elements.by_ref().for_each(drop);
    }
    let (unanswered, made, used) = (settings.unanswered, VecDeque::new(), Default::default());
    Ok(Tickets { path: path.to_path_buf(), elements, read, events, unanswered, made, used })
}

fn named(lists: &[&str]) -> Vec<Vec<String>> {
    lists.iter().map(|name| vec![name.to_string()]).collect()
}

/// The system that an export looks like, by the names of its fields.
pub fn recognised(path: &Path) -> Result<Option<System>, Error> {
    let lists = named(&["tickets", "ticket_events", "conversations", "data"]);
    for element in Elements::open(path, lists)?.take(5) {
        let Ok(value) = serde_json::from_slice::<Value>(&element.bytes) else { continue };
        if value.get("conversation_parts").is_some() {
            return Ok(Some(System::Intercom));
        }
        let zendesk = ["comments", "requester_id", "child_events", "requester"].iter().filter(|name| value.get(**name).is_some()).count();
        if value.get("child_events").is_some() || zendesk >= 2 {
            return Ok(Some(System::Zendesk));
        }
    }
    Ok(None)
}

impl Iterator for Tickets {
    /// A conversation, a text, or a message or ticket that is in no row.
    type Item = Result<Row, Quarantined>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(made) = self.made.pop_front() {
                return Some(made);
            }
            let (ticket, line) = match self.elements.next() {
                Some(element) => (self.element(&element), element.number),
                None => (Ok(self.events.as_mut()?.next()?), 0),
            };
            match ticket {
                Ok(ticket) => self.ticket(ticket, line),
                Err(left) => self.made.push_back(Err(left)),
            }
        }
    }
}

impl Tickets {
    /// Bytes of the export that were read.
    pub fn bytes(&self) -> u64 {
        self.elements.at()
    }

    fn element(&mut self, element: &Element) -> Result<Ticket, Quarantined> {
        let raw = || short(&String::from_utf8_lossy(&element.bytes[..element.bytes.len().min(2000)]));
        let source = Place { file: self.path.display().to_string(), line: Some(element.number), message: None };
        let read = match &element.broken {
            Some(why) => Err(why.clone()),
            None => {
                serde_json::from_slice::<Value>(&element.bytes).map_err(|cause| format!("no JSON: {cause}")).and_then(|v| (self.read)(&v))
            }
        };
        read.map_err(|why| Quarantined { source, why, raw: raw() })
    }

    fn ticket(&mut self, ticket: Ticket, line: u64) {
        let mut id = format!("ticket:{}", ticket.id);
        if !self.used.insert(id.clone()) {
            id = format!("{id}@{line}");
            self.used.insert(id.clone());
        }
        let mut conversation = Conversation { id, subject: ticket.subject, ..Conversation::default() };
        for (n, message) in ticket.messages.into_iter().enumerate() {
            let name = message.id.clone().unwrap_or_else(|| (n + 1).to_string());
            let line = (line > 0).then_some(line);
            let source = Place { file: self.path.display().to_string(), line, message: Some(format!("{}/{name}", ticket.id)) };
            match said(message, source) {
                Ok(said) => conversation.said.push(said),
                Err(left) => conversation.left.push(left),
            }
        }
        // Messages without a time stay where the export has them.
        if conversation.said.iter().all(|said| said.at.is_some()) {
            conversation.said.sort_by_key(|said| said.at);
        }
        self.made.extend(conversation::rows(conversation, self.unanswered));
    }
}

/// A message as plain text, without quotes and signatures.
fn said(message: Message, place: Place) -> Result<Said, Quarantined> {
    let left = |why: String, place| Err(Quarantined { source: place, why, raw: short(&plain(&message.text)) });
    if let Some(why) = message.left {
        return left(why, place);
    }
    let Some(side) = message.side else { return left("it is not known whether a customer or an agent says this".to_string(), place) };
    let mut fixed = Vec::new();
    let text = plain(&message.text);
    if text != message.text {
        fixed.push(Fix { what: "html_to_text", before: short(&message.text), after: short(&text) });
    }
    let clean = cut::cut(&text, cut::About { sender: message.author.as_deref(), reply: false, forward: false });
    fixed.extend(clean.fixed);
    if clean.text.is_empty() {
        return left("it says nothing of its own: no text is left without quotes, signature and notices".to_string(), place);
    }
    let author = message.author.filter(|_| side == Side::Agent);
    Ok(Said { side, text: clean.text, at: message.at, author, place, fixed, attached: message.attached })
}

fn plain(text: &str) -> String {
    if html::is_html(text) { html::text(text) } else { text.to_string() }
}

/// A time: RFC 3339, or seconds or milliseconds since 1970.
fn time(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => {
            let seconds = number.as_i64().or_else(|| number.as_f64().map(|n| n as i64))?;
            Some(if seconds > 100_000_000_000 { seconds / 1000 } else { seconds })
        }
        Value::String(text) => {
            let text = text.trim().replacen(' ', "T", 1);
            let zoned = text.ends_with('Z') || text.get(19..).is_some_and(|zone| zone.contains(['+', '-']));
            let text = if zoned { text } else { format!("{text}Z") };
            let parsed = mail_parser::DateTime::parse_rfc3339(&text).filter(mail_parser::DateTime::is_valid);
            parsed.map(|date| date.to_timestamp()).or_else(|| text.trim_end_matches('Z').parse::<i64>().ok())
        }
        _ => None,
    }
}

/// A string or number as text.
fn word(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The names of attachments.
fn names(list: Option<&Value>, fields: &[&str]) -> Vec<String> {
    let each = list.and_then(Value::as_array).into_iter().flatten();
    each.filter_map(|a| fields.iter().find_map(|field| word(a.get(*field)))).collect()
}
