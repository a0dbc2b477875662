//! Zendesk: tickets with their comments, and the incremental export of ticket events.

use super::elements::{Elements, again};
use super::{Message, Ticket, named, names, time, word};
use crate::conversation::Side;
use crate::error::Error;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::rc::Rc;

/// Who is who, as far as the export tells.
#[derive(Debug, Default)]
pub struct People {
    agents: HashSet<String>,
    customers: HashSet<String>,
    names: HashMap<String, String>,
    /// Who asked, by ticket.
    requesters: HashMap<String, String>,
}

fn parsed(elements: Elements) -> impl Iterator<Item = (u64, u64, Value)> {
    elements.filter_map(|e| Some((e.offset, e.bytes.len() as u64, serde_json::from_slice(&e.bytes).ok()?)))
}

/// Collects who is an agent: by role, by assignment, and by private comments, which only agents write.
pub fn people(path: &Path) -> Result<Rc<People>, Error> {
    let mut people = People::default();
    for (_, _, user) in parsed(Elements::open(path, named(&["users"]))?.only_listed()) {
        people.user(&user);
    }
    let tickets = Elements::open(path, named(&["tickets"]))?;
    let events = Elements::open(path, named(&["ticket_events"]))?.is_listed();
    for (_, _, ticket) in parsed(if events { tickets.only_listed() } else { tickets }) {
        let (Some(id), Some(requester)) = (word(ticket.get("id")), requester(&ticket)) else { continue };
        if ticket.get("comments").is_none() && ticket.get("requester_id").is_none() {
            continue;
        }
        people.customers.insert(requester.clone());
        people.requesters.insert(id, requester.clone());
        people.agents.extend(word(ticket.get("assignee_id")).filter(|assignee| *assignee != requester));
        for name in ["requester", "submitter", "assignee"] {
            ticket.get(name).into_iter().for_each(|user| people.user(user));
        }
        for comment in ticket.get("comments").and_then(Value::as_array).into_iter().flatten() {
            if comment.get("public") == Some(&Value::Bool(false)) {
                people.agents.extend(word(comment.get("author_id")));
            }
        }
    }
    Ok(Rc::new(people))
}

impl People {
    fn user(&mut self, user: &Value) {
        let Some(id) = word(user.get("id")) else { return };
        match user.get("role").and_then(Value::as_str) {
            Some("end-user") => drop(self.customers.insert(id.clone())),
            Some("agent" | "admin") => drop(self.agents.insert(id.clone())),
            _ => {}
        }
        if let Some(name) = word(user.get("name")) {
            self.names.insert(id, name);
        }
    }

    /// Who speaks in a ticket. Who asked in it is its customer, even an agent who asks for help.
    fn side(&self, author: &str, requester: Option<&str>) -> Option<Side> {
        if Some(author) == requester {
            return Some(Side::Customer);
        }
        match (self.agents.contains(author), self.customers.contains(author)) {
            (true, _) => Some(Side::Agent),
            (false, true) => Some(Side::Customer),
            (false, false) => None,
        }
    }
}

fn requester(ticket: &Value) -> Option<String> {
    word(ticket.get("requester_id")).or_else(|| word(ticket.get("requester")?.get("id")))
}

/// A ticket with its comments.
pub fn ticket(value: &Value, people: &People) -> Result<Ticket, String> {
    if value.get("ticket_events").is_some() || value.get("child_events").is_some() {
        return Err("an event outside of a list `ticket_events`: expected a ticket with `id` and `comments`".to_string());
    }
    let id = word(value.get("id")).ok_or("no ticket: expected an object with `id` and `comments`")?;
    let asked = requester(value);
    let subject = word(value.get("subject"));
    let Some(comments) = value.get("comments").and_then(Value::as_array) else {
        // The incremental export of tickets holds the first message only.
        let text = word(value.get("description")).ok_or("no `comments` and no `description`: expected a list of comments")?;
        let first = Message { side: Some(Side::Customer), text, at: time(value.get("created_at")), ..Message::default() };
        return Ok(Ticket { id, subject, messages: vec![first] });
    };
    let messages = comments.iter().map(|c| comment(c, people, asked.as_deref())).collect();
    Ok(Ticket { id, subject, messages })
}

fn comment(value: &Value, people: &People, requester: Option<&str>) -> Message {
    let text = ["plain_body", "body", "html_body"].iter().find_map(|name| word(value.get(*name))).unwrap_or_default();
    let author = word(value.get("author_id")).or_else(|| word(value.get("author")?.get("id")));
    let left = match value.get("public") {
        Some(Value::Bool(true)) => None,
        Some(Value::Bool(false)) => Some("a private note".to_string()),
        _ => Some("not said to be public: expected `public` to be true or false".to_string()),
    };
    let side = author.as_deref().and_then(|author| people.side(author, requester));
    let name = author.map(|author| people.names.get(&author).cloned().unwrap_or(author));
    let attached = names(value.get("attachments"), &["file_name", "filename"]);
    Message { id: word(value.get("id")), side, left, text, at: time(value.get("created_at")), author: name, attached }
}

/// The comments of an incremental export of events, ticket by ticket: places are kept, the events are read again.
pub struct Events {
    file: File,
    people: Rc<People>,
    tickets: std::vec::IntoIter<(String, Vec<(u64, u64)>)>,
}

/// Finds the comments of an export of events; none if it is no such export.
pub fn events(path: &Path, people: &Rc<People>) -> Result<Option<Events>, Error> {
    let mut order: HashMap<String, usize> = HashMap::new();
    let mut tickets: Vec<(String, Vec<(u64, u64)>)> = Vec::new();
    for (offset, length, event) in parsed(Elements::open(path, named(&["ticket_events"]))?.only_listed()) {
        let Some(ticket) = word(event.get("ticket_id")) else { continue };
        if comments(&event).next().is_none() {
            continue;
        }
        let at = *order.entry(ticket.clone()).or_insert(tickets.len());
        if at == tickets.len() {
            tickets.push((ticket, Vec::new()));
        }
        tickets[at].1.push((offset, length));
    }
    if tickets.is_empty() {
        return Ok(None);
    }
    let file = File::open(path).map_err(|cause| Error::io("read", path.to_path_buf(), cause))?;
    Ok(Some(Events { file, people: people.clone(), tickets: tickets.into_iter() }))
}

fn comments(event: &Value) -> impl Iterator<Item = &Value> {
    let all = event.get("child_events").and_then(Value::as_array).into_iter().flatten();
    all.filter(|child| child.get("event_type").and_then(Value::as_str) == Some("Comment"))
}

impl Events {
    pub fn next(&mut self) -> Option<Ticket> {
        let (id, places) = self.tickets.next()?;
        let mut ticket = Ticket { id: id.clone(), ..Ticket::default() };
        let mut requester = self.people.requesters.get(&id).cloned();
        for (offset, length) in places {
            let event = again(&mut self.file, offset, length).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
            let Some(event) = event else {
                let left = Some("it cannot be read again: the file changed while it was read".to_string());
                ticket.messages.push(Message { left, ..Message::default() });
                continue;
            };
            for child in comments(&event) {
                // Without the tickets themselves, who spoke first has asked.
                let author = word(child.get("author_id")).or_else(|| word(event.get("updater_id")));
                requester = requester.or_else(|| author.clone().filter(|author| !self.people.agents.contains(author)));
                let mut message = comment(child, &self.people, requester.as_deref());
                message.at = message.at.or_else(|| time(event.get("created_at"))).or_else(|| time(event.get("timestamp")));
                if message.side.is_none() {
                    message.side = author.as_deref().and_then(|author| self.people.side(author, requester.as_deref()));
                }
                ticket.messages.push(message);
            }
        }
        Some(ticket)
    }
}
